"""Fault 51: a role of the database without grants reads nothing and executes nothing, and a reader reads no key."""

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from tests.abuse.judge import complain
from tests.abuse.world import World
from tests.daemon import as_role
from tests.integration.sql import connected

KIND = "51 a role without rights"
READER = "51 a role that may read"

_RELATIONS = """
SELECT c.relname, c.relkind::text AS kind, array_agg(a.attname::text) AS columns
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
GROUP BY c.oid ORDER BY c.relname
"""
_FUNCTIONS = """
SELECT p.proname, p.prorettype = 'trigger'::regtype AS is_trigger,
    ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) t) AS arguments
FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
ORDER BY p.proname
"""
_SOMETHING = {"text": "'c30d04'", "jsonb": "'{}'", "integer": "1", "text[]": "'{}'"}

# insufficient_privilege
_DENIED = "42501"


def on_relation(name: str, kind: str, columns: list[str]) -> Iterator[str]:
    """Everything that may be done to a table or a sequence."""
    if kind == "S":
        yield from (f"SELECT * FROM {name}", f"SELECT nextval('{name}')", f"SELECT setval('{name}', 1)")
        return
    yield from (f"SELECT {column} FROM {name}" for column in columns)
    yield from (
        f"SELECT * FROM {name}", f"SELECT count(*) FROM {name}", f"TABLE {name}", f"SELECT 1 FROM {name} FOR UPDATE",
        f"COPY {name} TO STDOUT", f"COPY {name} FROM STDIN", f"INSERT INTO {name} DEFAULT VALUES",
        f"DELETE FROM {name}",
        f"UPDATE {name} SET {columns[0]} = {columns[0]}", f"TRUNCATE {name}", f"LOCK TABLE {name}",
        f"DROP TABLE {name}",
        f"ALTER TABLE {name} DISABLE TRIGGER USER", f"ALTER TABLE {name} DISABLE ROW LEVEL SECURITY",
        f"CREATE TRIGGER mine BEFORE INSERT ON {name} EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        f"CREATE POLICY mine ON {name} USING (TRUE)", f"GRANT ALL ON {name} TO PUBLIC",
        f"CREATE RULE mine AS ON SELECT TO {name} DO INSTEAD NOTHING", f"CREATE INDEX ON {name} ({columns[0]})",
    )  # fmt: skip


def on_function(name: str, arguments: list[str], is_trigger: bool) -> Iterator[str]:
    """Everything that may be done with a function."""
    types = ", ".join(arguments)
    yield f"ALTER FUNCTION {name}({types}) SECURITY INVOKER"
    yield f"DROP FUNCTION {name}({types})"
    if is_trigger:
        yield f"CREATE TEMP TABLE mine (a int); CREATE TRIGGER t BEFORE INSERT ON mine EXECUTE FUNCTION {name}()"
    else:
        # With something in it: of nothing, PostgreSQL knows the answer without the function.
        yield f"SELECT {name}({', '.join(_SOMETHING.get(each, f'NULL::{each}') for each in arguments)})"


ELSEWHERE = (
    "CREATE TABLE public.mine ()", "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE SCHEMA mine", "SET ROLE providerd_daemon", "SET ROLE providerd_reader", "SET ROLE providerd",
    "SET SESSION AUTHORIZATION providerd", "COPY (SELECT 1) TO PROGRAM 'true'", "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_reload_conf()", "CREATE EXTENSION dblink", "ALTER ROLE providerd_daemon LOGIN", "CREATE ROLE mine",
    "SELECT rolpassword FROM pg_authid", "SET session_replication_role = replica",
)  # fmt: skip


@pytest.fixture
async def stranger(world: World) -> AsyncIterator[str]:
    """The database as somebody who may connect and nothing else."""
    async with connected(world.dsn) as owner:
        await owner.execute("CREATE ROLE stranger LOGIN")
        yield as_role(world.dsn, "stranger")
        await owner.execute("DROP OWNED BY stranger; DROP ROLE stranger")


async def test_a_stranger_reads_and_executes_nothing(world: World, stranger: str) -> None:
    async with connected(world.dsn) as owner:
        relations, functions = await owner.fetch(_RELATIONS), await owner.fetch(_FUNCTIONS)
    assert len(relations) > 5
    assert len(functions) > 20
    statements = [
        *(each for row in relations for each in on_relation(*row)),
        *(each for row in functions for each in on_function(row["proname"], row["arguments"], row["is_trigger"])),
        *ELSEWHERE,
    ]
    await all_denied(world, KIND, stranger, statements)


async def test_a_reader_reads_no_key_and_changes_nothing(world: World) -> None:
    async with connected(world.dsn) as owner:
        await owner.execute("CREATE ROLE curious LOGIN IN ROLE providerd_reader")
        relations, functions = await owner.fetch(_RELATIONS), await owner.fetch(_FUNCTIONS)
    reader = as_role(world.dsn, "curious")
    may = ("llm_provider_configs", "llm_provider_config_history", "llm_provider_store")
    secret = ("api_key_encrypted", "api_key_mac")
    statements = [f"SELECT {column} FROM llm_provider_configs" for column in secret]
    statements += [
        each
        for name, kind, columns in relations
        for each in on_relation(name, kind, columns)
        # Granting nothing on what one has is no error.
        if not each.startswith("GRANT")
        if name not in may or "FOR UPDATE" in each or not each.startswith(("SELECT", "TABLE", f"COPY {name} TO"))
    ]
    configs = "llm_provider_configs"
    statements += [f"SELECT * FROM {configs}", f"TABLE {configs}", f"COPY {configs} TO STDOUT"]
    statements += [
        each
        for row in functions
        if row["proname"] != "get_active_provider"
        for each in on_function(row["proname"], row["arguments"], row["is_trigger"])
    ]
    try:
        await all_denied(world, READER, reader, [*statements, *(each for each in ELSEWHERE if "reader" not in each)])
    finally:
        async with connected(world.dsn) as owner:
            await owner.execute("DROP OWNED BY curious; DROP ROLE curious")


async def all_denied(world: World, kind: str, dsn: str, statements: list[str]) -> None:
    """Runs each by itself, and wants it to be refused for want of the privilege."""
    wrong = []
    async with world.attacked(), connected(dsn) as db:
        for statement in statements:
            outcome = await outcome_of(db, statement)
            world.judge.tally.tried(kind, wrongly_accepted=outcome == "done")
            if outcome != _DENIED:
                wrong.append(f"{statement}: {outcome}")
        complain(wrong)


async def outcome_of(db: asyncpg.Connection, statement: str) -> str:
    """The SQLSTATE that a statement is refused with."""
    transaction = db.transaction()
    await transaction.start()
    try:
        await db.execute(statement)
    except asyncpg.PostgresError as error:
        return str(error.sqlstate)
    finally:
        await transaction.rollback()
    return "done"
