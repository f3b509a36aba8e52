"""Every relative link of every Markdown file leads to a file that is there, and to a heading in it."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from scripts.reference.markdown import anchor

from tests.docs_runner import ROOT

PAGES = sorted(
    page
    for folder in (".", "docs", "migrations", "client", "server", "deploy")
    for page in (ROOT.glob("*.md") if folder == "." else (ROOT / folder).rglob("*.md"))
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    assert [problem for target in links(page.read_text()) if (problem := broken(page, target))] == []


def test_index_leads_to_every_page() -> None:
    index = ROOT / "docs/index.md"
    linked = {(index.parent / target.partition("#")[0]).resolve() for target in links(index.read_text())}
    assert {page for page in PAGES if page.is_relative_to(ROOT / "docs")} - {index} <= linked


@pytest.mark.parametrize("target", ["gone.md", "README.md#gone", "docs/../gone.md#five-minutes", "#gone"])
def test_a_broken_link_is_found(target: str) -> None:
    assert broken(ROOT / "README.md", target)


def test_anchors_are_those_of_github() -> None:
    text = "# One `two`\n## One, two: *three*!\n```\n# no heading\n```\n## Same\n## Same\n### [A link](x.md) here\n"
    assert anchors(text) == {"one-two", "one-two-three", "same", "same-1", "a-link-here"}


def broken(page: Path, target: str) -> str:
    """What is wrong with a link; empty for nothing."""
    if re.match(r"[a-z][a-z+.-]*:", target):
        return ""
    path, _, fragment = unquote(target).partition("#")
    file = page.parent / path if path else page
    if not file.exists():
        return f"{target}: no such file"
    if fragment and fragment not in anchors(file.read_text()):
        return f"{target}: no such heading"
    return ""


def links(text: str) -> Iterator[str]:
    for found in re.finditer(r"\]\(([^()\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(text))):
        yield found[1]


def anchors(text: str) -> set[str]:
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.*)$", prose(text), re.MULTILINE):
        name = anchor(re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading))
        unique = (name, *(f"{name}-{number}" for number in range(1, 100)))
        found.add(next(each for each in unique if each not in found))
    return found


def prose(text: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
