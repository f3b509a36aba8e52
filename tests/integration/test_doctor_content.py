"""What the doctor finds wrong with the schema, the rights, the keys and the daemon of a database."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from access import AccessFile
from serving import free_port, serving

from providerd import __version__
from providerd_server.doctor.examination import Outcome
from providerd_server.doctor.roles import NEEDED_FUNCTIONS, NEEDED_ON_TABLES, NEEDED_SEQUENCE
from providerd_server.service import status
from tests.certificates import Authority
from tests.daemon import DAEMON_ROLE
from tests.integration.doctored import NOWHERE, eventually, examined, is_told, proxied, run_sql, store_key, through
from tests.integration.keyed import past_the_triggers
from tests.integration.sql import connected
from tests.integration.test_schema_roles import granted

OK, WARNING, PROBLEM, SKIPPED = Outcome.OK, Outcome.WARNING, Outcome.PROBLEM, Outcome.SKIPPED

CONFIGS = "llm_provider_configs"
MEDDLER = """
CREATE ROLE {0} LOGIN IN ROLE providerd_daemon;
GRANT UPDATE ON llm_provider_store TO {0};
GRANT INSERT ON llm_provider_config_history TO {0};
"""


async def test_migrations_as_their_owner_sees_them(database: str) -> None:
    is_told((await examined(database, role=None))["migrations"], OK, "all 4 are applied, as they are here", "")


@pytest.mark.parametrize(
    ("break_it", "found", "hint"),
    [
        ("DELETE FROM providerd_migrations WHERE version > 2", "not applied: 003_", "`providerd migrate up`"),
        ("DROP TABLE providerd_migrations", "not applied: 001_", "`providerd migrate up`"),
        ("UPDATE providerd_migrations SET checksum = 'x' WHERE version = 3", "was edited after it", "restore it"),
        (
            "INSERT INTO providerd_migrations VALUES (998, '998_newer.sql', 'x')",
            "998_newer.sql was applied to this database but is missing here",
            "use a release of providerd at least as new",
        ),
    ],
)
async def test_migrations_that_are_not_as_here(database: str, break_it: str, found: str, hint: str) -> None:
    await run_sql(database, break_it)
    is_told((await examined(database, role=None))["migrations"], PROBLEM, found, hint)


@pytest.mark.parametrize(
    ("break_it", "found", "hint"),
    [
        (
            f"ALTER TABLE {CONFIGS} DISABLE TRIGGER trg_log_provider_config_change",
            "disabled trigger trg_log_provider_config_change",
            f"run ALTER TABLE {CONFIGS} ENABLE ALWAYS TRIGGER",
        ),
        (
            f"DROP TRIGGER trg_vet_provider_key ON {CONFIGS}",
            "missing trigger trg_vet_provider_key",
            "run `providerd migrate up`, then migrations/001 and 004 again",
        ),
        (
            f"ALTER TABLE {CONFIGS} DROP CONSTRAINT llm_provider_configs_api_key_id_is_a_name",
            "missing constraint",
            "migrations/001 and 004 again",
        ),
    ],
)
async def test_a_schema_that_is_not_whole(database: str, break_it: str, found: str, hint: str) -> None:
    await run_sql(database, break_it)
    seen = await examined(database)
    is_told(seen["schema"], PROBLEM, found, hint)
    # What does not take it is looked at all the same.
    assert seen["keys"].outcome is OK


async def test_a_table_that_is_missing(database: str) -> None:
    await run_sql(database, f"DROP TABLE {CONFIGS} CASCADE")
    found = await examined(database)
    is_told(found["tables"], PROBLEM, f"missing table {CONFIGS}", "run `providerd migrate up`")
    for name in ("schema", "role", "strangers", "keys"):
        is_told(found[name], SKIPPED, "not looked at, for want of `tables`", "mend `tables` first")


async def test_what_the_daemon_needs_is_what_its_role_is_granted(database: str) -> None:
    needed = {f"{table}: {right}" for table, rights in NEEDED_ON_TABLES.items() for right in rights}
    needed |= {f"{NEEDED_SEQUENCE}: USAGE", *(f"{name}: EXECUTE" for name in NEEDED_FUNCTIONS)}
    async with connected(database) as db:
        assert await granted(db, DAEMON_ROLE) == needed


async def test_a_role_without_rights(database: str) -> None:
    async with role(database, "CREATE ROLE {} LOGIN") as name:
        found = await examined(database, role=name)
    is_told(found["role"], PROBLEM, f"{name} lacks {CONFIGS}: SELECT, ", f"GRANT providerd_daemon TO {name}")
    assert f"{CONFIGS}_id_seq: USAGE" in found["role"].found
    assert "lock_provider_store: EXECUTE" in found["role"].found
    assert found["keys"].outcome is SKIPPED


async def test_a_role_that_row_security_hides_everything_from(database: str) -> None:
    """Grants by hand are not enough: without a policy such a role sees tables that are empty."""
    async with role(database, "CREATE ROLE {} LOGIN") as name:
        await run_sql(
            database,
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON {CONFIGS} TO {name}",
            f"GRANT SELECT ON llm_provider_config_history, llm_provider_store TO {name}",
            f"GRANT USAGE ON SEQUENCE {NEEDED_SEQUENCE} TO {name}",
            f"GRANT EXECUTE ON FUNCTION {', '.join(NEEDED_FUNCTIONS)} TO {name}",
        )
        found = await examined(database, role=name)
    is_told(found["role"], PROBLEM, f"{CONFIGS}: a policy", f"GRANT providerd_daemon TO {name}")
    assert "SELECT" not in found["role"].found


@pytest.mark.parametrize(
    ("create", "found"),
    [
        ("CREATE ROLE {} LOGIN SUPERUSER", "is a superuser,"),
        ("CREATE ROLE {} LOGIN BYPASSRLS CREATEROLE IN ROLE providerd_daemon", "bypasses row security, may create"),
        ("CREATE ROLE {} LOGIN IN ROLE providerd", "owns the tables,"),
        (
            MEDDLER,
            "may write history, may number revisions,",
        ),
    ],
)
async def test_a_role_that_may_too_much(database: str, create: str, found: str) -> None:
    async with role(database, create) as name:
        seen = await examined(database, role=name)
    is_told(seen["role's powers"], WARNING, f"{name} {found}", "LOGIN IN ROLE providerd_daemon")
    assert seen["role"].outcome is OK


@pytest.mark.parametrize(
    ("grant", "found"),
    [
        ("GRANT SELECT ON llm_provider_configs TO anon", "anon may use llm_provider_configs"),
        (
            "GRANT SELECT (api_key_id) ON llm_provider_configs TO authenticated",
            "authenticated may use llm_provider_con",
        ),
        ("GRANT SELECT ON llm_provider_config_history TO PUBLIC", "PUBLIC may use llm_provider_config_history"),
        ("GRANT EXECUTE ON FUNCTION switch_active_provider TO anon", "anon may use switch_active_provider"),
    ],
)
async def test_strangers_who_may_something(database: str, grant: str, found: str) -> None:
    await run_sql(database, "CREATE ROLE anon", "CREATE ROLE authenticated")
    try:
        assert (await examined(database))["strangers"].outcome is OK
        await run_sql(database, grant)
        is_told((await examined(database))["strangers"], PROBLEM, found, "run migrations/roles.sql")
    finally:
        await run_sql(database, "DROP OWNED BY anon, authenticated", "DROP ROLE anon, authenticated")


async def test_a_table_without_row_security(database: str) -> None:
    await run_sql(database, "ALTER TABLE llm_provider_store DISABLE ROW LEVEL SECURITY")
    is_told((await examined(database))["strangers"], PROBLEM, "no row security", "ENABLE ROW LEVEL SECURITY")


async def test_a_wrong_passphrase(database: str) -> None:
    await store_key(database, "groq", "another passphrase than the daemon's")
    is_told((await examined(database))["keys"], PROBLEM, "the key of groq cannot be read", "DB_ENCRYPTION_KEY_PREVIOUS")


async def test_a_key_that_plain_sql_stored_with_another_passphrase(database: str) -> None:
    await store_key(database, "groq", "another passphrase than the daemon's", bound=False)
    is_told(
        (await examined(database))["keys"], PROBLEM, "the key of groq cannot be read", "check that DB_ENCRYPTION_KEY"
    )


async def test_a_key_under_the_previous_passphrase(database: str) -> None:
    await store_key(database, "groq", "the passphrase of before")
    found = await examined(database, db_encryption_key_previous="the passphrase of before")
    is_told(found["keys"], WARNING, "the key of groq is under k-", "`providerd keys rotate`")
    is_told(found["key ring"], OK, "encrypts, 1 more decrypt", "")


async def test_a_key_without_a_seal(database: str) -> None:
    await store_key(database, "groq", bound=False)
    found = (await examined(database))["keys"]
    is_told(found, WARNING, "is not bound to https://api.groq.com:443", "`providerd keys rotate` binds it")
    found = (await examined(database, require_seals=True))["keys"]
    is_told(found, PROBLEM, "it has no seal", "`providerd keys rotate`")


async def test_a_key_whose_row_was_changed_outside(database: str) -> None:
    await store_key(database, "groq")
    async with connected(database) as db:
        await past_the_triggers(db, f"UPDATE {CONFIGS} SET base_url = 'https://evil.example' WHERE is_active")
    is_told((await examined(database))["keys"], PROBLEM, "its seal does not fit", "find out who changed")


async def test_a_key_for_a_host_that_is_not_allowed(database: str) -> None:
    await run_sql(database, f"UPDATE {CONFIGS} SET base_url = 'https://gateway.internal' WHERE is_active")
    await store_key(database, "groq")
    is_told((await examined(database))["keys"], PROBLEM, "no place to send a key to", "PROVIDERD_ALLOWED_HOSTS")
    assert (await examined(database, allowed_hosts="gateway.internal"))["keys"].outcome is OK


async def test_nobody_is_active_or_has_no_key(database: str) -> None:
    is_told((await examined(database))["active provider"], WARNING, "groq has no key", "`providerd set-key groq`")
    await run_sql(database, f"UPDATE {CONFIGS} SET is_active = FALSE")
    is_told((await examined(database))["active provider"], WARNING, "none", "`providerd switch NAME`")


async def test_more_than_one_is_active(database: str) -> None:
    async with connected(database) as db:
        for index in await db.fetch(
            "SELECT indexname FROM pg_indexes WHERE tablename = $1 AND indexdef LIKE '%is_active%'", CONFIGS
        ):
            await db.execute(f"DROP INDEX {index['indexname']}")
        await past_the_triggers(db, f"UPDATE {CONFIGS} SET is_enabled = TRUE, is_active = TRUE")
    is_told((await examined(database))["active provider"], PROBLEM, "4 are active", "`providerd switch NAME`")


async def test_no_daemon_runs(database: str) -> None:
    found = await examined(database, listen="127.0.0.1:50059")
    is_told(found["daemon"], WARNING, "nobody answers at 127.0.0.1:50059, which is free", "`providerd serve`")
    is_told(found["daemon's revision"], SKIPPED, "no daemon answers", "`providerd serve`")


async def test_something_else_has_the_address(database: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        found = await examined(database, listen=f"127.0.0.1:{other.getsockname()[1]}")
    is_told(found["daemon"], PROBLEM, "it cannot be taken: Address already in use", "PROVIDERD_LISTEN")
    assert found["daemon's revision"].outcome is SKIPPED


async def test_an_address_of_another_machine(database: str) -> None:
    found = await examined(database, listen="192.0.2.1:50051", insecure=True)
    is_told(found["daemon"], PROBLEM, "Cannot assign requested address", "PROVIDERD_LISTEN")


async def test_a_daemon_that_waits_for_its_database(database: str) -> None:
    async with serving(NOWHERE, ready=False, role=None) as daemon:
        found = await examined(database, listen=daemon.address)
    is_told(found["daemon"], PROBLEM, "and does not serve", "its log")
    assert found["daemon's revision"].outcome is SKIPPED


async def test_one_of_two_addresses(database: str) -> None:
    async with serving(database) as daemon:
        listen = f"{daemon.address},127.0.0.1:{free_port()},127.0.0.1:0"
        found = await examined(database, listen=listen)
    is_told(found["daemon"], WARNING, "which is free", "start `providerd serve` anew")
    assert found["daemon's revision"].outcome is OK


async def test_a_daemon_that_does_not_keep_up(database: str) -> None:
    async with proxied(database) as proxy, serving(through(proxy, database), role=None) as daemon:
        proxy.hold()
        await run_sql(database, f"UPDATE {CONFIGS} SET description = 'another' WHERE is_active")
        found = await examined(database, listen=daemon.address, poll_interval=0.2)
        is_told(found["daemon's revision"], PROBLEM, "it is at revision 1, and the database at 2", "its log")
        proxy.reset()
        proxy.release()


async def test_a_daemon_whose_answers_are_stale(database: str) -> None:
    async with proxied(database) as proxy, serving(through(proxy, database), role=None, stale_after=0.5) as daemon:
        proxy.hold()
        await asyncio.sleep(3)
        found = await examined(database, listen=daemon.address)
        is_told(found["daemon's revision"], PROBLEM, "stale: revision 1", "its log")
        proxy.reset()
        proxy.release()


async def test_a_daemon_of_another_version(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(database) as daemon:
        found = await examined(database, listen=daemon.address)
        is_told(found["daemon's revision"], OK, f"ago, version {__version__}", "")
        monkeypatch.setattr(status, "__version__", "0.0.9")
        found = await examined(database, listen=daemon.address)
    is_told(
        found["daemon's revision"], WARNING, f"version 0.0.9; this program has version {__version__}", "start it anew"
    )


async def test_a_daemon_of_another_database(database: str, empty_database: str) -> None:
    from providerd_server import migrate

    await migrate.up(empty_database)
    async with serving(empty_database, role=None) as daemon:
        found = await examined(database, listen=daemon.address)
    is_told(found["daemon's revision"], PROBLEM, "another store", "`providerd serve --print-config`")


async def test_a_daemon_with_tls_and_tokens(
    database: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tmp_path_factory.mktemp("files")
    cert, key = Authority(files).issue("daemon", "daemon.example.com", days=90)
    access = AccessFile(files / "access.json")
    secret = files / "doctor.token"
    secret.write_text(access.token("doctor", "read"))
    secret.chmod(0o600)
    settings = {"tls_cert_file": cert, "tls_key_file": key, "access_file": access.path}
    async with serving(database, ready=False, **settings) as daemon:
        found = await eventually(lambda: examined(database, listen=daemon.address, **settings), "daemon", OK)
        is_told(found["daemon"], OK, f"serves at {daemon.address}", "")
        is_told(found["daemon's revision"], SKIPPED, "it refuses this program", "PROVIDERD_TOKEN_FILE")
        monkeypatch.setenv("PROVIDERD_TOKEN_FILE", str(secret))
        found = await examined(database, listen=daemon.address, **settings)
        is_told(found["daemon's revision"], OK, "revision 1", "")
        assert secret.read_text() not in str(found)


async def test_a_daemon_whose_clients_show_certificates(
    database: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path_factory.mktemp("files"))
    cert, key = authority.issue("daemon", "127.0.0.1", days=90)
    settings = {"tls_cert_file": cert, "tls_key_file": key, "tls_client_ca_file": authority.ca_file}
    async with serving(database, ready=False, **settings) as daemon:
        found = await examined(database, listen=daemon.address, **settings)
        is_told(found["daemon"], PROBLEM, "no daemon answers", "PROVIDERD_CERT_FILE")
        own_cert, own_key = authority.issue("doctor", "doctor.example.com")
        monkeypatch.setenv("PROVIDERD_CERT_FILE", str(own_cert))
        monkeypatch.setenv("PROVIDERD_KEY_FILE", str(own_key))
        found = await eventually(lambda: examined(database, listen=daemon.address, **settings), "daemon", OK)
        is_told(found["daemon's revision"], OK, "revision 1", "")


async def test_a_daemon_on_a_unix_socket(database: str, open_directory: object) -> None:
    address = f"unix://{open_directory}/d.sock"
    found = await examined(database, listen=address)
    is_told(found["daemon"], WARNING, "which is free", "`providerd serve`")
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(address.removeprefix("unix://"))
    found = await examined(database, listen=address)
    is_told(found["daemon"], WARNING, "which is free", "`providerd serve`")
    async with serving(database, address=address):
        found = await examined(database, listen=address)
    is_told(found["daemon"], OK, f"serves at {address}", "")
    is_told(found["daemon's revision"], OK, "revision 1", "")


@asynccontextmanager
async def role(database: str, create: str) -> AsyncIterator[str]:
    """A role for as long as the block."""
    name = "examined"
    await run_sql(database, create.format(name))
    try:
        yield name
    finally:
        await run_sql(database, f"DROP OWNED BY {name}", f"DROP ROLE {name}")
