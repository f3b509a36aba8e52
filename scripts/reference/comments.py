"""The ``--`` comments of the migrations, by the name of what they stand before."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

MIGRATIONS = Path("migrations")

_OBJECT = re.compile(
    r"(?:CREATE (?:OR REPLACE )?(?:TABLE|(?:UNIQUE )?INDEX|FUNCTION|TRIGGER)(?: IF NOT EXISTS)?|"
    r"ALTER TABLE (?P<table>\w+) ADD COLUMN(?: IF NOT EXISTS)?) (?P<name>\w+)"
)
_COLUMN = re.compile(r"    (?P<name>[a-z_]+) ")


def comments(migrations: Path = MIGRATIONS) -> Mapping[str, str]:
    """Returns the comments of tables, indexes, functions and triggers by name, those of columns by table.column."""
    found: dict[str, str] = {}
    for path in sorted(migrations.glob("0*.sql")):
        found |= dict(_of_file(path.read_text(encoding="utf-8").splitlines()))
    return found


def _of_file(lines: list[str]) -> Iterator[tuple[str, str]]:
    table, above = "", []
    for line in lines:
        text = line.strip()
        if text.startswith("-- "):
            above.append(text[3:])
            continue
        name, table = _named(line, table)
        if name and above:
            yield name, " ".join(above)
        above = []


def _named(line: str, table: str) -> tuple[str, str]:
    """The name of what a line begins to define, and the table whose columns follow."""
    if found := _OBJECT.match(line):
        if found["table"]:
            return f"{found['table']}.{found['name']}", ""
        return found["name"], found["name"] if "TABLE" in found[0] else ""
    column = _COLUMN.match(line) if table else None
    return (f"{table}.{column['name']}", table) if column else ("", "" if line.startswith(")") else table)
