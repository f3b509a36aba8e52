"""What the schema refuses, in the words of the daemon: one line, with a reason, and no more than the caller may see."""

import asyncpg
import pytest

from providerd_server.errors import Kind, Refusal
from providerd_server.source.schema import SchemaError, check_schema
from providerd_server.store.failures import refusal_from
from tests.conftest import Psql
from tests.daemon import DAEMON_ROLE, as_role
from tests.integration.sql import FILES, KEYS, connected

SET_KEY = "UPDATE llm_provider_configs SET api_key_encrypted = {} WHERE provider_name = '{}'"
ENCRYPTED = "pgp_sym_encrypt('sk-clear', 'p')"
BOUND = (
    "Provider groq has a key, which is bound to its scheme, host and port: give the key again along with the new "
    "base_url"
)
OF_GROQ = "(SELECT api_key_encrypted FROM llm_provider_configs WHERE provider_name = 'groq')"


async def refusal_of(db: asyncpg.Connection, statement: str) -> Refusal:
    with pytest.raises(asyncpg.PostgresError) as caught:
        await db.execute(statement)
    return refusal_from(caught.value)


@pytest.mark.parametrize(
    ("statement", "reason", "message"),
    [
        (
            "UPDATE llm_provider_configs SET base_url = 'https://evil.example' WHERE provider_name = 'groq'",
            "KEY_BOUND_TO_DESTINATION",
            BOUND,
        ),
        (
            SET_KEY.format(OF_GROQ, "openrouter"),
            "KEY_OF_ANOTHER_PROVIDER",
            "The key stored for provider openrouter is that of another provider",
        ),
    ],
    ids=["destination", "provider"],
)
async def test_a_key_that_may_not_go_there(database: str, statement: str, reason: str, message: str) -> None:
    async with connected(database) as db:
        await db.execute(SET_KEY.format(ENCRYPTED, "groq"))
        refusal = await refusal_of(db, statement)
    assert (refusal.kind, refusal.reason, refusal.message) == (Kind.FAILED_PRECONDITION, reason, message)
    assert refusal.metadata["provider_name"] in message


async def test_what_is_no_ciphertext_is_told_in_one_line(database: str) -> None:
    async with connected(database) as db:
        refusal = await refusal_of(db, SET_KEY.format("'sk-clear'", "groq"))
    assert refusal.kind is Kind.INVALID_ARGUMENT
    [violation] = refusal.violations
    assert violation.description == "api_key_encrypted must be a message of pgp_sym_encrypt"


async def test_a_role_that_is_too_weak_is_told_what_to_run(psql: Psql, database: str) -> None:
    # Run again alone, 001 takes from its functions the rights of their owner.
    assert psql(database, "-f", str(FILES[0])).returncode == 0
    async with connected(as_role(database, DAEMON_ROLE)) as db:
        switch = "SELECT switch_active_provider('groq')"
        refusal = await refusal_of(db, switch)
        assert (refusal.kind, refusal.reason) == (Kind.INTERNAL, "DATABASE_ERROR")
        assert refusal.message.endswith("run migrations/004 and then migrations/roles.sql again")
        assert psql(database, "-f", str(KEYS)).returncode == 0
        await db.execute(switch)


async def test_a_request_that_leads_elsewhere_is_told_by_its_fields(database: str) -> None:
    async with connected(database) as db:
        refusal = await refusal_of(
            db,
            """
            UPDATE llm_provider_configs SET additional_headers = '{"Host": "evil.example"}',
                auth_header_template = E'X: {api_key}\\r\\nHost: evil.example' WHERE provider_name = 'groq'
            """,
        )
    assert (refusal.kind, refusal.reason) == (Kind.INVALID_ARGUMENT, "INVALID_FIELDS")
    assert [(each.field, each.description) for each in refusal.violations] == [
        (
            "provider.auth_header_template",
            'auth_header_template must be a header name, ":" and a value of ASCII characters without line breaks',
        ),
        (
            "provider.additional_headers",
            "additional_headers must not set Host: HTTP clients and proxies say it themselves",
        ),
    ]


@pytest.mark.parametrize(
    ("relation", "trigger"),
    [
        ("llm_provider_configs", "trg_vet_provider_key"),
        ("llm_provider_config_history", "trg_trim_provider_snapshot"),
        ("llm_provider_config_history", "trg_refuse_provider_truncate"),
        ("llm_provider_store", "trg_refuse_provider_truncate"),
        ("llm_provider_key_bindings", "trg_refuse_provider_truncate"),
    ],
)
async def test_a_trigger_that_is_gone_or_off_is_named_with_its_table(
    database: str, relation: str, trigger: str
) -> None:
    async with connected(database) as db:
        await check_schema(db)
        for state in ("", "REPLICA"):
            await db.execute(f"ALTER TABLE {relation} {'ENABLE' if state else 'DISABLE'} {state} TRIGGER {trigger}")
            with pytest.raises(SchemaError, match=f"disabled trigger {trigger} on {relation}: .* ENABLE ALWAYS"):
                await check_schema(db)
        await db.execute(f"ALTER TABLE {relation} ENABLE ALWAYS TRIGGER {trigger}")
        await check_schema(db)
        await db.execute(f"DROP TRIGGER {trigger} ON {relation}")
        with pytest.raises(SchemaError, match=f"missing trigger {trigger} on {relation}; .*001 and 004 again"):
            await check_schema(db)


@pytest.mark.parametrize("rule", ["key_is_framed_plainly", "key_id_is_a_name", "key_mac_is_of_a_key"])
async def test_a_constraint_of_keys_that_is_gone_or_off_is_named(psql: Psql, database: str, rule: str) -> None:
    name = f"llm_provider_configs_api_{rule}"
    async with connected(database) as db:
        await db.execute(f"ALTER TABLE llm_provider_configs DROP CONSTRAINT {name}")
        with pytest.raises(SchemaError, match=f"missing constraint {name} on llm_provider_configs; .*004 again"):
            await check_schema(db)
        if db.get_server_version().major >= 18:
            unenforced = f"ADD CONSTRAINT {name} CHECK (api_key_id IS NULL) NOT ENFORCED"
            await db.execute(f"ALTER TABLE llm_provider_configs {unenforced}")
            with pytest.raises(SchemaError, match=f"missing constraint {name}"):
                await check_schema(db)
        assert psql(database, "-f", str(KEYS)).returncode == 0
        await check_schema(db)


async def test_a_schema_from_before_is_told_to_migrate(psql: Psql, empty_database: str) -> None:
    for file in FILES[: FILES.index(KEYS)]:
        assert psql(empty_database, "-f", str(file)).returncode == 0
    async with connected(empty_database) as db:
        with pytest.raises(SchemaError, match="llm_provider_key_bindings; run `providerd migrate up`"):
            await check_schema(db)
        assert psql(empty_database, "-f", str(KEYS)).returncode == 0
        await check_schema(db)
