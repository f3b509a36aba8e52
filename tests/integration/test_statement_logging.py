"""A real PostgreSQL that logs all it can: keys are nowhere in its log, or the operator is told."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from providerd.secret import Secret
from providerd_server import migrate
from providerd_server.embedded import EmbeddedPostgres
from providerd_server.store import Database
from providerd_server.store.statement_logging import logging_warnings
from tests.conftest import Psql
from tests.integration.database_server import database_server, server_directory
from tests.integration.serving import serving

# Everything that was ever seen to write bind parameters, at its most talkative.
TALKATIVE = {
    "log_min_messages": "notice",
    "log_statement": "all",
    "log_min_duration_statement": "0",
    "log_min_duration_sample": "0",
    "log_transaction_sample_rate": "1",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "-1",
    "log_error_verbosity": "verbose",
    "debug_print_plan": "on",
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_verbose": "on",
    "auto_explain.log_parameter_max_length": "-1",
}
WRONGLY = "SELECT pgp_sym_decrypt(decode(api_key_encrypted, 'hex'), $1) FROM llm_provider_configs WHERE id = 1"
GUARDED = ("log_parameter_max_length", "auto_explain.log_parameter_max_length", "auto_explain.log_verbose")


@dataclass(frozen=True)
class Server:
    postgres: EmbeddedPostgres
    psql: Psql
    log: Path

    def run(self, sql: str) -> None:
        done = self.psql(self.postgres.dsn(), "-c", sql)
        assert done.returncode == 0, done.stderr

    async def database_of(self, role: str) -> str:
        """The URL of a new database that a role owns, with the schema."""
        self.run(f"CREATE DATABASE {role} OWNER {role}")
        dsn = self.postgres.dsn(role).replace("providerd@", f"{role}@", 1)
        await migrate.up(dsn)
        return dsn


@dataclass(frozen=True)
class Canaries:
    """Secrets that are nowhere else, so that one found in the log came from the daemon."""

    key: str
    passphrase: str

    def in_log(self, log: Path) -> set[str]:
        # The log breaks long lines.
        text = "".join(log.read_text().split())
        return {name for name in ("key", "passphrase") if any(form in text for form in _forms(getattr(self, name)))}


def _forms(secret: str) -> tuple[str, str, str]:
    """As it is, in hex, and as a printed plan spells its bytes."""
    content = secret.encode()
    return secret, content.hex(), "".join(map(str, content))


@pytest.fixture(scope="module")
def server(psql: Psql) -> Iterator[Server]:
    with (
        server_directory() as directory,
        database_server(directory, TALKATIVE, hba="local all all trust\n") as postgres,
    ):
        yield Server(postgres, psql, directory / "data" / "postgres.log")


@pytest.fixture
def canaries() -> Canaries:
    return Canaries(f"key-{secrets.token_hex(16)}", f"passphrase-{secrets.token_hex(16)}")


async def use(dsn: str, canaries: Canaries) -> None:
    """Stores a key with one daemon, has another one read it, and fails to decrypt it as neither would."""
    async with serving(dsn, db_encryption_key=canaries.passphrase) as daemon:
        await daemon.call("UpsertProvider", provider={"provider_name": "groq"}, new_api_key=canaries.key)
    async with serving(dsn, db_encryption_key=canaries.passphrase) as daemon:
        answer = await daemon.call("GetActiveProvider", include_credential=True)
        assert answer.credential.api_key == canaries.key
    connection = await Database(Secret(dsn)).connect()
    with pytest.raises(asyncpg.ExternalRoutineInvocationError):
        await connection.fetchval(WRONGLY, f"not-{canaries.passphrase}")
    await connection.close()


async def warnings(dsn: str) -> list[str]:
    connection = await Database(Secret(dsn)).connect()
    try:
        return await logging_warnings(connection)
    finally:
        await connection.close()


async def test_what_a_superuser_stores_and_reads_is_in_no_log(server: Server, canaries: Canaries) -> None:
    server.run("CREATE ROLE super SUPERUSER LOGIN")
    dsn = await server.database_of("super")
    await use(dsn, canaries)
    assert "pgp_sym_encrypt" in server.log.read_text()
    assert canaries.in_log(server.log) == set()
    assert await warnings(dsn) == []


async def test_nor_what_a_role_does_that_was_granted_the_settings(server: Server, canaries: Canaries) -> None:
    server.run("CREATE ROLE granted LOGIN")
    server.run(f"GRANT SET ON PARAMETER {', '.join(GUARDED)} TO granted")
    dsn = await server.database_of("granted")
    await use(dsn, canaries)
    assert canaries.in_log(server.log) == set()
    assert await warnings(dsn) == []


async def test_a_role_that_may_not_is_told_what_to_do_and_that_helps(server: Server, canaries: Canaries) -> None:
    server.run("CREATE ROLE modest LOGIN")
    dsn = await server.database_of("modest")
    await use(dsn, canaries)
    assert canaries.in_log(server.log) == {"key", "passphrase"}
    told = await warnings(dsn)
    causes = ("log_statement=all", "log_min_duration_statement=0", "log_min_duration_sample=0")
    assert [each.partition(", PostgreSQL")[0] for each in told] == [
        f"with {', '.join(causes)}, log_transaction_sample_rate=1",
        "with auto_explain.log_min_duration",
        "with auto_explain.log_verbose",
    ]
    for each in told:
        server.run(each.partition("run ")[2].partition(", then")[0])
    others = Canaries(f"{canaries.key}-2", f"{canaries.passphrase}-2")
    await use(dsn, others)
    assert others.in_log(server.log) == set()
    assert await warnings(dsn) == []


async def test_a_connection_of_a_pool_stays_quiet_when_it_is_used_again(server: Server) -> None:
    server.run("CREATE ROLE again SUPERUSER LOGIN")
    database = Database(Secret(await server.database_of("again")), pool_size=1)
    pool = await database.create_pool()
    seen = []
    for _ in range(3):
        async with pool.acquire() as connection:
            seen.append(
                await connection.fetchrow(
                    "SELECT pg_backend_pid(), current_setting('log_parameter_max_length'),"
                    " current_setting('log_parameter_max_length_on_error'), current_setting('debug_print_plan'),"
                    " current_setting('auto_explain.log_parameter_max_length')"
                )
            )
    await pool.close()
    assert tuple(seen[0])[1:] == ("0", "0", "off", "0")
    assert seen[0] == seen[1] == seen[2]


async def test_behind_a_transaction_pooler_nothing_is_set_but_it_is_told(server: Server) -> None:
    server.run("CREATE ROLE pooled SUPERUSER LOGIN")
    dsn = await server.database_of("pooled")

    class Pooled(Database):
        pooled = True

    connection = await Pooled(Secret(dsn)).connect()
    try:
        assert await connection.fetchval("SHOW log_parameter_max_length") == "-1"
        assert "with log_parameter_max_length_on_error" in str(await logging_warnings(connection))
    finally:
        await connection.close()


async def test_only_the_sessions_of_providerd_are_quiet(server: Server) -> None:
    server.run("CREATE ROLE neighbour LOGIN")
    dsn = await server.database_of("neighbour")
    connection = await Database(Secret(dsn)).connect()
    assert await connection.fetchval("SHOW log_parameter_max_length_on_error") == "0"
    other = await asyncpg.connect(dsn)
    assert await other.fetchval("SHOW log_parameter_max_length_on_error") == "-1"
    await connection.close()
    await other.close()
