"""docs/reference/schema.md, from a database that the migrations have just made."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg
from scripts.reference import markdown
from scripts.reference.comments import comments
from scripts.reference.markdown import bullets, code, fenced, link, prose, table

from providerd_server import logs, migrate
from providerd_server.embedded import EmbeddedPostgres

_INTRODUCTION = """\
What `providerd migrate up` makes of an empty database, as PostgreSQL tells it, with the comments of the migrations.
[The schema in prose](../../migrations/README_MIGRATIONS.md) says what its rules mean, who may read, and which SQL to
use; the errors it raises are in [errors](errors.md#sqlstates-of-the-schema)."""

_TABLES = """
SELECT c.oid, c.relname AS name, c.relrowsecurity AS row_security
FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' ORDER BY c.relname
"""
_COLUMNS = """
SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS required,
       pg_get_expr(d.adbin, d.adrelid) AS preset
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
# Not 'n': since PostgreSQL 18 each NOT NULL is a constraint as well, and the columns say it already.
_CONSTRAINTS = """
SELECT c.conname AS name, pg_get_constraintdef(c.oid) AS definition
FROM pg_constraint c WHERE c.conrelid = $1 AND c.contype <> 'n' ORDER BY c.conname
"""
_INDEXES = """
SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition
FROM pg_index i WHERE i.indrelid = $1 ORDER BY 1
"""
_TRIGGERS = """
SELECT t.tgname AS name, pg_get_triggerdef(t.oid, true) AS definition, t.tgenabled::text AS enabled
FROM pg_trigger t WHERE t.tgrelid = $1 AND NOT t.tgisinternal ORDER BY t.tgname
"""
# Functions of extensions, such as pgcrypto's, are not ours to describe.
_FUNCTIONS = """
SELECT p.proname AS name, pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result,
       l.lanname AS language, p.provolatile::text AS volatility,
       ARRAY(SELECT DISTINCT t.tgname::text FROM pg_trigger t WHERE t.tgfoid = p.oid ORDER BY 1) AS triggers
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = 'public'::regnamespace
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e') ORDER BY p.proname
"""
_ENABLED = {"O": "ordinarily", "A": "ALWAYS", "R": "on replicas only", "D": "disabled"}
_VOLATILITY = {"i": "IMMUTABLE", "s": "STABLE", "v": "VOLATILE"}

Rows = Sequence[Mapping[str, str]]


def page() -> str:
    """Returns the page. It runs a PostgreSQL of its own for as long as it takes."""
    logs.configure("error", "console")  # that this PostgreSQL is for development is no news here
    with tempfile.TemporaryDirectory(prefix="providerd-docs-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # for root's PostgreSQL, which runs as another account
        with EmbeddedPostgres(directory / "data", settings={"fsync": "off"}) as postgres:
            return asyncio.run(_page(postgres.dsn()))


async def _page(dsn: str) -> str:
    await migrate.up(dsn)
    connection = await asyncpg.connect(dsn)
    try:
        notes = comments()
        tables = await connection.fetch(_TABLES)
        sections = [await _table(connection, each, notes) for each in tables]
        functions = await connection.fetch(_FUNCTIONS)
    finally:
        await connection.close()
    return markdown.page(
        "# The schema",
        "Source: a database migrated with `migrations/0*.sql`.",
        _INTRODUCTION,
        "## Tables",
        bullets(link(each["name"]) for each in tables),
        *sections,
        "## Functions",
        *(_function(each, notes) for each in functions),
    )


async def _table(connection: asyncpg.Connection, row: Mapping[str, str], notes: Mapping[str, str]) -> str:
    name = row["name"]
    columns, constraints, indexes, triggers = [
        await connection.fetch(query, row["oid"]) for query in (_COLUMNS, _CONSTRAINTS, _INDEXES, _TRIGGERS)
    ]
    return markdown.page(
        f"### {name}",
        prose(notes.get(name, "")),
        f"Row security is {'on' if row['row_security'] else 'off'}.",
        table(
            ("Column", "Type", "NULL", "Default", "Comment"),
            [
                (
                    code(each["name"]),
                    code(each["type"]),
                    "" if each["required"] else "allowed",
                    code(each["preset"] or ""),
                    prose(notes.get(f"{name}.{each['name']}", "")),
                )
                for each in columns
            ],
        ),
        _definitions("Constraint", constraints, notes),
        _definitions("Index", indexes, notes),
        table(
            ("Trigger", "Fires", "Definition"),
            [(code(each["name"]), _ENABLED[each["enabled"]], code(each["definition"])) for each in triggers],
        ),
    )


def _definitions(head: str, rows: Rows, notes: Mapping[str, str]) -> str:
    return table(
        (head, "Definition", "Comment"),
        [(code(each["name"]), code(each["definition"]), prose(notes.get(each["name"], ""))) for each in rows],
    )


def _function(row: Mapping[str, Any], notes: Mapping[str, str]) -> str:
    signature = f"{row['name']}({row['arguments']}) RETURNS {row['result']}"
    return markdown.page(
        f"### {row['name']}",
        prose(notes.get(row["name"], "")),
        fenced("sql", signature),
        f"Language {row['language']}, {_VOLATILITY[row['volatility']]}."
        + (f" Called by {', '.join(map(code, row['triggers']))}." if row["triggers"] else ""),
    )
