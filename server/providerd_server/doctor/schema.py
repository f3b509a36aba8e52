"""Checks of the schema: what was applied, and what is at work."""

from __future__ import annotations

from providerd_server import migrate
from providerd_server.doctor.examination import Verdict, ok, problem, skipped
from providerd_server.source.schema import check_schema, check_tables
from providerd_server.store.database import Connection

_LEDGER = """
SELECT CASE WHEN to_regclass('public.providerd_migrations') IS NULL THEN NULL
    ELSE has_table_privilege('public.providerd_migrations', 'SELECT') END AS readable, current_user AS role
"""


async def migrations(connection: Connection) -> Verdict:
    """Whether all are applied, as they are here."""
    row = await connection.fetchrow(_LEDGER)
    if row["readable"] is False:
        return skipped(
            f"which are applied is not for {row['role']} to read",
            "run `providerd migrate status` as the owner of the tables",
        )
    listed = await migrate.status(connection)
    if pending := [each.name for each in listed if each.applied_at is None]:
        return problem(
            f"not applied: {', '.join(pending)}",
            "`providerd migrate up`, as the owner of the tables; what was run by psql -f it only records",
        )
    return ok(f"all {len(listed)} are applied, as they are here")


async def tables(connection: Connection) -> Verdict:
    """Whether the tables are there."""
    await check_tables(connection)
    return ok("all are there")


async def schema(connection: Connection) -> Verdict:
    """Whether the triggers and constraints are there and at work."""
    await check_schema(connection)
    return ok("triggers and constraints are there and at work")
