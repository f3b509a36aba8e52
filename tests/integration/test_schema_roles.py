"""What the roles of migrations/roles.sql can do, and that they can do nothing else."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from providerd_server.embedded import EmbeddedPostgres
from tests.conftest import Psql
from tests.daemon import DAEMON_ROLE, as_role
from tests.docs_runner import ADDRESS, ROOT, Shell, check
from tests.integration.sql import ROLES, active_names, connected, insert_provider, refused, revision

CONFIGS, HISTORY, STORE, BINDINGS = (
    "llm_provider_configs", "llm_provider_config_history", "llm_provider_store", "llm_provider_key_bindings",
)  # fmt: skip
TABLES = (CONFIGS, HISTORY, STORE, BINDINGS)
SECRET_COLUMNS = {"api_key_encrypted", "api_key_mac"}

DENIED = "42501"
SET_KEY = """
UPDATE llm_provider_configs SET api_key_encrypted = pgp_sym_encrypt('sk-clear', 'p') WHERE provider_name = $1
"""

# Every right there is on what the migrations make: (kind and name, right), by has_*_privilege for one role.
RIGHTS = """
WITH ours(kind, name, rights) AS (
    SELECT CASE relkind WHEN 'S' THEN 'sequence' ELSE 'table' END, c.oid::regclass::text,
           CASE relkind WHEN 'S' THEN ARRAY['USAGE', 'SELECT', 'UPDATE']
               ELSE ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER'] END
    FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'S')
    UNION ALL
    SELECT 'function', p.oid::regprocedure::text, ARRAY['EXECUTE'] FROM pg_proc p
    WHERE p.pronamespace = 'public'::regnamespace
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
)
SELECT split_part(o.name, '(', 1) || ': ' || r AS granted FROM ours o, unnest(o.rights) r
WHERE CASE o.kind WHEN 'table' THEN has_table_privilege($1, o.name, r)
    WHEN 'sequence' THEN has_sequence_privilege($1, o.name, r) ELSE has_function_privilege($1, o.name, r) END
"""
COLUMNS = """
SELECT attname AS name FROM pg_attribute
WHERE attrelid = 'llm_provider_configs'::regclass AND attnum > 0 AND NOT attisdropped
    AND has_column_privilege($1, attrelid, attnum, 'SELECT')
"""

_numbers = itertools.count(1)


@pytest.fixture
async def daemon(database: str) -> AsyncIterator[asyncpg.Connection]:
    """Logged in as the daemon is."""
    async with connected(as_role(database, DAEMON_ROLE)) as db:
        yield db


@pytest.fixture
async def reader(database: str) -> AsyncIterator[asyncpg.Connection]:
    """Logged in as somebody who was granted providerd_reader."""
    name = f"somebody_{next(_numbers)}"
    async with connected(database) as owner:
        await owner.execute(f"CREATE ROLE {name} LOGIN IN ROLE providerd_reader")
        async with connected(as_role(database, name)) as db:
            yield db
        await owner.execute(f"DROP ROLE {name}")


async def granted(db: asyncpg.Connection, role: str) -> set[str]:
    return {row["granted"] for row in await db.fetch(RIGHTS, role)}


async def test_the_daemon_is_granted_this_and_nothing_else(database: str) -> None:
    async with connected(database) as db:
        assert await granted(db, DAEMON_ROLE) == {
            *(f"{CONFIGS}: {right}" for right in ("SELECT", "INSERT", "UPDATE", "DELETE")),
            f"{CONFIGS}_id_seq: USAGE",
            f"{HISTORY}: SELECT",
            f"{STORE}: SELECT",
            "lock_provider_store: EXECUTE",
            "switch_active_provider: EXECUTE",
            "prune_provider_history: EXECUTE",
            "get_active_provider: EXECUTE",
        }


async def test_the_reader_is_granted_this_and_nothing_else(database: str) -> None:
    async with connected(database) as db:
        assert await granted(db, "providerd_reader") == {
            f"{HISTORY}: SELECT", f"{STORE}: SELECT", "get_active_provider: EXECUTE",
        }  # fmt: skip
        seen = {row["name"] for row in await db.fetch(COLUMNS, "providerd_reader")}
        every = {row["name"] for row in await db.fetch(COLUMNS, "providerd")}
    assert every - seen == SECRET_COLUMNS


async def test_the_daemon_does_its_work(daemon: asyncpg.Connection) -> None:
    before = await revision(daemon)
    await daemon.execute(SET_KEY, "groq")
    assert (
        await daemon.fetchval("""
        SELECT pgp_sym_decrypt(decode(api_key_encrypted, 'hex'), 'p') FROM llm_provider_configs
        WHERE provider_name = 'groq'
    """)
        == "sk-clear"
    )
    async with daemon.transaction():
        await daemon.execute("SELECT lock_provider_store()")
        await insert_provider(daemon, is_active=True)
    assert await active_names(daemon) == ["mine"]
    assert await daemon.fetchval("SELECT switch_active_provider('groq', 'me')")
    await daemon.execute("DELETE FROM llm_provider_configs WHERE provider_name = 'mine'")
    assert await daemon.fetchval("SELECT provider_name FROM get_active_provider()") == "groq"
    assert await revision(daemon) == before + 4
    # Nothing is old enough yet.
    assert await daemon.fetchval("SELECT prune_provider_history(clock_timestamp())") == 0


async def test_the_history_records_who_was_logged_in(daemon: asyncpg.Connection) -> None:
    await daemon.execute("UPDATE llm_provider_configs SET display_name = 'x' WHERE provider_name = 'groq'")
    row = await daemon.fetchrow(f"SELECT db_user, changed_by FROM {HISTORY} ORDER BY id DESC LIMIT 1")
    assert tuple(row) == (DAEMON_ROLE, DAEMON_ROLE)


@pytest.mark.parametrize(
    "statement",
    [
        *(f"TRUNCATE {table}" for table in TABLES),
        *(f"DELETE FROM {table}" for table in (HISTORY, STORE, BINDINGS)),
        f"INSERT INTO {HISTORY} SELECT * FROM {HISTORY}",
        f"UPDATE {HISTORY} SET changed_by = 'another'",
        f"UPDATE {STORE} SET revision = revision + 1",
        f"UPDATE {STORE} SET shortest_retention = '0'",
        f"UPDATE {STORE} SET pruned_entries = 0, pruned_by = 'another'",
        f"ALTER TABLE {STORE} ALTER COLUMN shortest_retention SET DEFAULT '0'",
        "ALTER FUNCTION prune_provider_history SECURITY INVOKER",
        f"SELECT revision FROM {STORE} FOR UPDATE",
        f"SELECT * FROM {BINDINGS}",
        f"UPDATE {BINDINGS} SET destination = 'https://evil.example:443'",
        "SELECT * FROM providerd_migrations",
        f"ALTER TABLE {CONFIGS} DISABLE TRIGGER trg_vet_provider_key",
        f"ALTER TABLE {CONFIGS} DISABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {CONFIGS} ADD COLUMN extra TEXT",
        f"DROP TABLE {CONFIGS}",
        f"DROP TRIGGER trg_vet_provider_key ON {CONFIGS}",
        f"CREATE INDEX ON {CONFIGS} (updated_at)",
        f"CREATE POLICY everything ON {STORE} USING (TRUE)",
        "CREATE TABLE mine ()",
        "CREATE FUNCTION mine() RETURNS INTEGER LANGUAGE sql AS 'SELECT 1'",
        "CREATE OR REPLACE FUNCTION vet_provider_key() RETURNS TRIGGER LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "ALTER FUNCTION lock_provider_store() OWNER TO CURRENT_USER",
        "CREATE SCHEMA mine",
        "CREATE ROLE mine",
        "SET session_replication_role = replica",
        "SET ROLE providerd",
        "SET SESSION AUTHORIZATION providerd",
        "COPY llm_provider_configs TO PROGRAM 'cat'",
        "SELECT nextval('llm_provider_config_history_id_seq')",
        "SELECT setval('llm_provider_configs_id_seq', 1)",
        "SELECT next_provider_revision()",
        "SELECT provider_key_hex('c30d04')",
        "SELECT provider_destination('https://h', '/')",
        "SELECT provider_content(c) FROM llm_provider_configs c",
    ],
)
async def test_the_daemon_can_not(daemon: asyncpg.Connection, statement: str) -> None:
    with refused(DENIED):
        await daemon.execute(statement)


async def test_the_daemon_is_vetted_like_everybody(daemon: asyncpg.Connection) -> None:
    await daemon.execute(SET_KEY, "groq")
    with refused("PD007"):
        await daemon.execute("UPDATE llm_provider_configs SET base_url = 'https://evil.example' WHERE is_active")
    with refused("PD008"):
        await daemon.execute("""
            UPDATE llm_provider_configs SET api_key_encrypted =
                (SELECT api_key_encrypted FROM llm_provider_configs WHERE provider_name = 'groq')
            WHERE provider_name = 'openrouter'
        """)
    with refused("PD003"):
        await insert_provider(daemon, request_builder_config={})
    with refused("PD004"):
        await daemon.execute("DELETE FROM llm_provider_configs WHERE provider_name = 'groq'")


async def test_temporary_objects_do_not_capture_the_functions_of_the_owner(daemon: asyncpg.Connection) -> None:
    await daemon.execute("""
        CREATE TABLE pg_temp.llm_provider_key_bindings (LIKE llm_provider_configs);
        CREATE TABLE pg_temp.llm_provider_store (store_id uuid, revision bigint);
        CREATE FUNCTION pg_temp.provider_destinations(llm_provider_configs) RETURNS TEXT
            LANGUAGE sql AS 'SELECT ''anywhere''';
        CREATE FUNCTION pg_temp.next_provider_revision() RETURNS BIGINT LANGUAGE sql AS 'SELECT 0::BIGINT';
    """)
    before = await daemon.fetchval("SELECT revision FROM public.llm_provider_store")
    await daemon.execute(SET_KEY, "groq")
    with refused("PD007"):
        await daemon.execute("UPDATE llm_provider_configs SET base_url = 'https://evil.example' WHERE is_active")
    assert await daemon.fetchval("SELECT revision FROM public.llm_provider_store") == before + 1


async def test_the_reader_sees_all_but_the_keys(database: str, reader: asyncpg.Connection) -> None:
    async with connected(database) as owner:
        await owner.execute(SET_KEY, "groq")
    assert await reader.fetchval("SELECT has_api_key FROM get_active_provider()")
    assert await reader.fetchval(f"SELECT count(provider_name) FROM {CONFIGS}") == 4
    assert await reader.fetchval(f"SELECT count(*) FROM {HISTORY}") == 5
    assert await reader.fetchval(f"SELECT revision FROM {STORE}") == 2
    for expression in ("*", "api_key_encrypted", "api_key_mac", "c", "to_jsonb(c)", "provider_content(c)"):
        with refused(DENIED):
            await reader.execute(f"SELECT {expression} FROM {CONFIGS} c")
    with refused(DENIED):
        await reader.execute(f"SELECT id FROM {CONFIGS} WHERE api_key_encrypted LIKE 'c3%'")
    for statement in (
        f"UPDATE {CONFIGS} SET display_name = 'x'",
        f"INSERT INTO {CONFIGS} (provider_name) VALUES ('x')",
        f"DELETE FROM {CONFIGS}",
        f"SELECT * FROM {BINDINGS}",
        "SELECT switch_active_provider('groq')",
        "SELECT lock_provider_store()",
        "SELECT prune_provider_history(clock_timestamp())",
    ):
        with refused(DENIED):
            await reader.execute(statement)


async def test_roles_run_again_take_back_what_was_granted_besides(psql: Psql, database: str) -> None:
    async with connected(database) as db:
        before = await granted(db, "providerd_daemon"), await granted(db, "providerd_reader")
        await db.execute(f"GRANT ALL ON {BINDINGS}, {CONFIGS} TO providerd_daemon, providerd_reader, PUBLIC")
        await db.execute(f"GRANT SELECT (api_key_encrypted) ON {CONFIGS} TO providerd_reader")
        await db.execute(f"GRANT UPDATE (shortest_retention) ON {STORE} TO providerd_daemon, PUBLIC")
        await db.execute("GRANT EXECUTE ON FUNCTION next_provider_revision TO providerd_daemon, PUBLIC")
        for _ in range(2):
            done = psql(database, "-f", str(ROLES))
            assert done.returncode == 0, done.stderr
            assert done.stderr == ""
        assert (await granted(db, "providerd_daemon"), await granted(db, "providerd_reader")) == before
        assert SECRET_COLUMNS.isdisjoint(row["name"] for row in await db.fetch(COLUMNS, "providerd_reader"))
        shorten = "SELECT has_column_privilege($1, $2, 'shortest_retention', 'INSERT, UPDATE, REFERENCES')"
        assert not await db.fetchval(shorten, DAEMON_ROLE, STORE)


async def test_roles_run_among_readers_and_writers_end_nobody_in_a_deadlock(psql: Psql, database: str) -> None:
    waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = $1::regclass)"
    async with connected(database) as db, connected(database) as other:
        # It has one table, and asks for the others while they are locked for policies.
        async with db.transaction():
            await db.execute(f"SELECT FROM {HISTORY}")
            running = asyncio.create_task(asyncio.to_thread(psql, database, "-f", str(ROLES)))
            while not await other.fetchval(waits, HISTORY):
                await asyncio.sleep(0.01)
            await db.execute(f"SELECT FROM {CONFIGS}, {STORE}")
        done = await running
        assert done.returncode == 0, done.stderr


async def test_a_schema_that_anybody_may_create_in_is_warned_of(psql: Psql, database: str) -> None:
    done = psql(database, "-c", "GRANT CREATE ON SCHEMA public TO PUBLIC", "-f", str(ROLES))
    assert done.returncode == 0, done.stderr
    assert "WARNING:  public may create objects in the schema public" in done.stderr
    assert "HINT:  Run REVOKE CREATE ON SCHEMA public FROM public." in done.stderr


async def test_the_how_to_page(tmp_path: Path, database: str, cluster: EmbeddedPostgres) -> None:
    shell = Shell(tmp_path, ADDRESS, cluster, {"SUPABASE_DB_URL": database})
    try:
        assert check(ROOT / "docs/how-to/database-roles.md", shell) == 5
    finally:
        async with connected(database) as db:
            await db.execute("DROP ROLE IF EXISTS fleet_daemon, fleet_reader")
