"""Runs the examples of a Markdown page in their order, as printed, and compares what they print.

An example is a line that begins with ``$ `` in a block of the language ``console``; lines with ``> `` right below it
are more of it. What follows, up to the next example, is what it must print on either stream; where nothing follows it
must succeed. ``...`` stands for anything within a line, and on a line of its own for any number of lines. A block below
``<!-- not run: WHY -->`` is left out.
"""

import difflib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from providerd_server.embedded import EmbeddedPostgres
from tests.daemon import PROVIDERD, clean_environment

ROOT = Path(__file__).parents[1]

# Where the pages say that the daemon listens.
ADDRESS = "localhost:50051"

_BLOCK = re.compile(r"^(<!-- not run: .+? -->\n+)?```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXAMPLE = re.compile(r"^\$ (.*\n(?:> .*\n)*)((?:(?!\$ ).*\n)*)", re.MULTILINE)

# What is another each time, and the widths of columns that follow from it.
_VARIABLE = (
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d(?::?\d\d)?)?", "TIME"),
    (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "STORE"),
    (r"\b[0-9a-f]{12}(?:[0-9a-f]{4})?\b", "HASH"),
    (r'("age": )"?[\d.e-]+s?"?', r"\1AGE"),
    (r"\b[\d.]+ (m?s) ago", r"AGE \1 ago"),
    (r"(PostgreSQL|providerd) \d+(?:\.\d+)+\S*", r"\1 VERSION"),
    (r"-{2,}", "--"),
    (r"[ \t]+", " "),
)


@dataclass(frozen=True, slots=True)
class Example:
    """One command of a page, the line it is on, and what the page says that it prints."""

    line: int
    command: str
    printed: str

    @property
    def runnable(self) -> bool:
        """Whether the tools it needs are here; make would work on the developer's own database."""
        tools = set(re.findall(r"\b(grpcurl|jq)\b", self.command))
        return all(map(shutil.which, tools)) and not self.command.startswith("make ")


class Shell:
    """Where examples run: a directory like a checkout, with the program, psql and a daemon at hand.

    Args:
        directory: The working directory; it gets links to ``migrations`` and ``scripts``.
        address: Where the daemon listens; it stands in for the address of the pages.
        postgres: Whose psql it is.
        environment: Further variables, such as ``SUPABASE_DB_URL``.
    """

    def __init__(
        self, directory: Path, address: str, postgres: EmbeddedPostgres, environment: Mapping[str, str]
    ) -> None:
        self._directory = directory
        self._address = address
        for name in ("migrations", "scripts"):
            (directory / name).symlink_to(ROOT / name)
        tools = directory / ".tools"
        tools.mkdir()
        variables = " ".join(f"{name}='{value}'" for name, value in postgres.environment.items())
        (tools / "psql").write_text(f'#!/bin/sh\n{variables} exec {postgres.binaries}/psql -X "$@"\n')
        (tools / "psql").chmod(0o755)
        self._environment = {
            **clean_environment(),
            "PATH": os.pathsep.join([str(tools), str(PROVIDERD.parent), os.environ["PATH"]]),
            "PROVIDERD_SERVER": address,
            "LOGNAME": "dana",  # who changes things on the pages
            **environment,
        }

    def run(self, command: str) -> tuple[int, str]:
        """Runs a command; returns its exit code and what it printed, as the page would have it."""
        done = subprocess.run(
            ["bash", "-c", command.replace(ADDRESS, self._address)],
            cwd=self._directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout.replace(self._address, ADDRESS)


def examples(page: Path) -> Iterator[Example]:
    """The examples of a page, but those that are marked."""
    text = page.read_text(encoding="utf-8")
    for block in _BLOCK.finditer(text):
        for found in _EXAMPLE.finditer(block[2]) if not block[1] else ():
            line = text.count("\n", 0, block.start(2) + found.start()) + 1
            command = re.sub(r"^> ", "", found[1], flags=re.MULTILINE)
            yield Example(line, command.strip(), found[2])


def check(page: Path, shell: Shell) -> int:
    """Runs the examples of a page; returns how many ran.

    Raises:
        AssertionError: One printed something else, or failed where nothing is printed.
    """
    ran = 0
    for example in examples(page):
        if not example.runnable:
            continue
        ran += 1
        code, printed = shell.run(example.command)
        right = matches(example.printed, printed) if example.printed.strip() else code == 0
        assert right, f"{page.name}:{example.line}: {_difference(example, printed)}"
    return ran


def matches(expected: str, printed: str) -> bool:
    """Whether the page's text says what was printed, but for what is another each time."""
    lines = [r"(?:.*\n)*?" if line == "..." else f"{_pattern(line)}\n" for line in _normal(expected)]
    return re.fullmatch("".join(lines), "".join(f"{line}\n" for line in _normal(printed))) is not None


def _pattern(line: str) -> str:
    return ".*".join(map(re.escape, line.split("...")))


def _normal(text: str) -> list[str]:
    for pattern, name in _VARIABLE:
        text = re.sub(pattern, name, text)
    return [line.strip() for line in text.splitlines() if line.strip()]


def _difference(example: Example, printed: str) -> str:
    both = (example.printed.splitlines(), printed.splitlines())
    return "\n".join([example.command, *difflib.unified_diff(*both, "the page", "printed", n=99, lineterm="")])
