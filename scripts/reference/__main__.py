"""Writes the generated pages of docs/reference, or with ``--check`` compares them."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable
from pathlib import Path

from scripts.reference import api, commands, errors, metrics, schema, settings
from scripts.reference.markdown import MARK

REFERENCE = Path("docs/reference")

PAGES: dict[str, Callable[[], str]] = {
    "api.md": api.page,
    "commands.md": commands.page,
    "errors.md": errors.page,
    "metrics.md": metrics.page,
    "schema.md": schema.page,
    "settings.md": settings.page,
}


def main() -> int:
    """Runs the program in the root of the repository; returns its exit code."""
    parser = argparse.ArgumentParser(prog="scripts/docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a page is stale")
    check = parser.parse_args().check
    stale = [name for name, make in PAGES.items() if not _settle(REFERENCE / name, f"{MARK}\n\n{make()}", check=check)]
    if stale:
        sys.stderr.write(f"stale in {REFERENCE}: {', '.join(stale)}: run make docs\n")
    return 1 if stale else 0


def _settle(path: Path, text: str, *, check: bool) -> bool:
    """Brings the file to this text; with ``check`` only tells whether it is, and shows what is different."""
    if not check:
        path.write_text(text, encoding="utf-8")
        return True
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    sys.stderr.writelines(
        difflib.unified_diff(old.splitlines(True), text.splitlines(True), str(path), "generated", n=1)
    )
    return old == text


if __name__ == "__main__":
    sys.exit(main())
