"""Nobody gets past the triggers by accident, and nobody but the owner sees anything."""

import itertools
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.conftest import Psql
from tests.integration.sql import FILES, active_names, connected, history_since, insert_provider, refused, revision

TABLES = [
    "llm_provider_configs",
    "llm_provider_config_history",
    "llm_provider_store",
    "llm_provider_key_bindings",
]
CALLS = [
    "SELECT * FROM get_active_provider()",
    "SELECT switch_active_provider('groq', 'me')",
    "SELECT * FROM lock_provider_store()",
    "SELECT next_provider_revision()",
]

_numbers = itertools.count(1)


@pytest.fixture
async def stranger(database: str) -> AsyncIterator[str]:
    """A role without any grants."""
    name = f"stranger_{next(_numbers)}"
    async with connected(database) as db:
        await db.execute(f"CREATE ROLE {name}")
        yield name
        await db.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.fixture
async def web_roles(empty_database: str) -> AsyncIterator[list[str]]:
    """The two roles of a Supabase project, which are granted all that appears in public."""
    names = ["anon", "authenticated"]
    async with connected(empty_database) as db:
        for name in names:
            await db.execute(f"CREATE ROLE {name}")
            for kind in ("TABLES", "SEQUENCES", "FUNCTIONS"):
                await db.execute(f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON {kind} TO {name}")
        yield names
        for name in names:
            await db.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


async def own_functions(db: asyncpg.Connection) -> list[str]:
    rows = await db.fetch("""
        SELECT p.oid::regprocedure::text AS signature FROM pg_proc p WHERE pronamespace = 'public'::regnamespace
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
    """)
    return [row["signature"] for row in rows]


async def granted(db: asyncpg.Connection, role: str) -> list[str]:
    """What a role may do with the schema, in any way."""
    relations = [*TABLES, "llm_provider_configs_id_seq", "llm_provider_config_history_id_seq"]
    rights = "SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER"
    found = [
        function
        for function in await own_functions(db)
        if await db.fetchval("SELECT has_function_privilege($1, $2, 'EXECUTE')", role, function)
    ]
    for relation in relations:
        kind, wanted = ("sequence", "USAGE, SELECT, UPDATE") if relation.endswith("_seq") else ("table", rights)
        if await db.fetchval(f"SELECT has_{kind}_privilege($1, $2, $3)", role, relation, wanted):
            found.append(relation)
    return found


async def test_a_stranger_sees_and_executes_nothing(database: str, stranger: str) -> None:
    async with connected(database) as db:
        assert len(await own_functions(db)) > 10
        assert await granted(db, stranger) == []
        await db.execute(f"SET ROLE {stranger}")
        for statement in [f"SELECT * FROM {table}" for table in TABLES] + CALLS:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await db.execute(statement)


async def test_the_web_roles_of_supabase_are_granted_nothing(
    psql: Psql, empty_database: str, web_roles: list[str]
) -> None:
    for file in FILES:
        done = psql(empty_database, "-f", str(file))
        assert done.returncode == 0, done.stderr
    async with connected(empty_database) as db:
        assert {role: await granted(db, role) for role in web_roles} == {"anon": [], "authenticated": []}


async def test_rows_stay_hidden_even_from_whoever_is_granted_a_table(database: str, stranger: str) -> None:
    async with connected(database) as db:
        await db.execute(f"GRANT SELECT ON {', '.join(TABLES)} TO {stranger}")
        await db.execute(f"SET ROLE {stranger}")
        for table in TABLES:
            assert await db.fetch(f"SELECT * FROM {table}") == []


async def test_the_function_alone_tells_of_the_active_provider_and_no_more(database: str, stranger: str) -> None:
    async with connected(database) as db:
        await db.execute(f"GRANT EXECUTE ON FUNCTION get_active_provider() TO {stranger}")
        await db.execute(f"SET ROLE {stranger}")
        active = await db.fetchrow("SELECT * FROM get_active_provider()")
        assert active["provider_name"] == "groq"
        assert not {"api_key_encrypted", "api_key_mac"} & set(active.keys())
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await db.execute("SELECT * FROM llm_provider_configs")


async def test_functions_that_act_as_their_owner_are_these(database: str) -> None:
    async with connected(database) as db:
        rows = await db.fetch("""
            SELECT proname::text AS name FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace
        """)
    assert {row["name"] for row in rows} == {
        "lock_provider_store",
        "queue_provider_writers",
        "ensure_single_active_provider",
        "validate_provider_config",
        "vet_provider_key",
        "log_provider_config_change",
        "get_active_provider",
        "prune_provider_history",
    }


async def test_an_owner_who_is_no_superuser_needs_no_policy(psql: Psql, empty_database: str) -> None:
    owner = f"owner_{next(_numbers)}"
    async with connected(empty_database) as db:
        await db.execute("CREATE EXTENSION pgcrypto")
        await db.execute(f"CREATE ROLE {owner}; GRANT ALL ON SCHEMA public TO {owner}")
        try:
            files = [argument for file in FILES for argument in ("-f", str(file))]
            done = psql(empty_database, "-c", f"SET ROLE {owner}", *files)
            assert done.returncode == 0, done.stderr
            await db.execute(f"SET ROLE {owner}")
            await insert_provider(db)
            assert await db.fetchval("SELECT switch_active_provider('mine', 'me')")
            assert await active_names(db) == ["mine"]
        finally:
            await db.execute(f"RESET ROLE; DROP OWNED BY {owner}; DROP ROLE {owner}")


@pytest.mark.parametrize("table", TABLES)
async def test_truncate_is_refused(database: str, table: str) -> None:
    message = f"TRUNCATE of {table} is refused: it would bypass the history"
    async with connected(database) as db:
        await db.execute("SET session_replication_role = replica")
        with refused("PD005", message) as caught:
            await db.execute(f"TRUNCATE {table} CASCADE")
        assert caught.value.hint == "Use DELETE."
        assert await db.fetchval("SELECT count(*) FROM llm_provider_configs") == 4


async def test_a_replica_session_is_validated_and_recorded_too(database: str) -> None:
    async with connected(database) as db:
        before = await revision(db)
        await db.execute("SET session_replication_role = replica")
        with refused("PD003"):
            await insert_provider(db, request_builder_config={})
        with refused("PD004"):
            await db.execute("DELETE FROM llm_provider_configs")
        await insert_provider(db, is_active=True)
        assert await active_names(db) == ["mine"]
        assert await history_since(db, before) == [("groq", "deactivated"), ("mine", "created")]


async def test_functions_do_not_look_where_the_caller_says(database: str) -> None:
    async with connected(database) as db:
        before = await revision(db)
        await db.execute("CREATE TEMPORARY TABLE llm_provider_store (store_id uuid, revision bigint)")
        await db.execute("CREATE TEMPORARY TABLE llm_provider_config_history (LIKE public.llm_provider_config_history)")
        await db.execute("UPDATE public.llm_provider_configs SET display_name = 'x' WHERE provider_name = 'groq'")
        assert await db.fetchval("SELECT count(*) FROM pg_temp.llm_provider_config_history") == 0
        assert await db.fetchval("SELECT revision FROM public.llm_provider_store") == before + 1
        fixed = await db.fetch("""
            SELECT 'search_path=public, pg_temp' = ANY (proconfig) AS fixed, proname FROM pg_proc p
            WHERE pronamespace = 'public'::regnamespace
                AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
        """)
    assert [row["proname"] for row in fixed if not row["fixed"]] == []
