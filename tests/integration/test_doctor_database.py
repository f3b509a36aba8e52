"""What the doctor finds wrong with a database: each thing is really broken, and told with what to do."""

import asyncio
import random
import re
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from providerd.secret import Secret
from providerd_server.doctor import database as checks
from providerd_server.doctor.examination import Finding, Outcome
from providerd_server.embedded import EmbeddedPostgres
from providerd_server.settings import load
from tests.conftest import Psql
from tests.daemon import DAEMON_ROLE, running_daemon
from tests.faults.cluster import running_cluster
from tests.faults.proxy import Proxy
from tests.faults.standby import Node
from tests.integration.database_server import server_directory
from tests.integration.doctored import NOWHERE, examined, is_told, proxied, run_sql, through
from tests.integration.test_database_tls import Server, names, plain, server  # noqa: F401 - fixtures

OK, WARNING, PROBLEM, SKIPPED = Outcome.OK, Outcome.WARNING, Outcome.PROBLEM, Outcome.SKIPPED


@pytest.fixture
def standby() -> Iterator[str]:
    """The URL of a database on a server that follows another."""
    with server_directory() as directory, server_directory() as copy, running_cluster(directory) as cluster:
        name = asyncio.run(cluster.create_database())
        node = Node(cluster, copy)
        node.copy(str(Path(cluster.socket.removeprefix("unix:")).parent), standby=True)
        node.start()
        try:
            asyncio.run(node.until("SELECT pg_is_in_recovery()"))
            yield node.dsn(name)
        finally:
            node.kill()
            shutil.rmtree(copy / "data", ignore_errors=True)


async def test_a_database_that_is_not_there() -> None:
    is_told((await examined(NOWHERE))["database"], PROBLEM, "cannot connect to the database: ", "SUPABASE_DB_URL")


async def test_a_database_of_another_name(database: str) -> None:
    found = await examined(database.replace("/test_", "/no_test_", 1))
    is_told(found["database"], PROBLEM, "does not exist", "SUPABASE_DB_URL")


@pytest.mark.parametrize(
    ("number", "outcome", "found", "hint"),
    [
        ("150016", PROBLEM, "PostgreSQL 15.16", "move to PostgreSQL 16 or newer"),
        ("160011", WARNING, "CVE-2026-2005", "update it to 16.12 or newer"),
        ("160012", OK, "PostgreSQL 16.12", ""),
    ],
)
async def test_the_version_of_the_server(number: str, outcome: Outcome, found: str, hint: str) -> None:
    async def fetchval(_: str) -> str:
        return number

    settings = load(supabase_db_url=Secret(NOWHERE))
    verdict = await checks.server_version(settings, SimpleNamespace(fetchval=fetchval))  # type: ignore[arg-type]
    is_told(Finding("server version", verdict.outcome, verdict.found, verdict.hint), outcome, found, hint)


async def test_a_verified_way(server: Server) -> None:  # noqa: F811
    found = await examined("", supabase_db_url=server.url(), database_ca_file=server.authority.ca_file)
    is_told(found["encryption"], OK, "TLSv1.3, verified", "")
    # Nothing was migrated there.
    is_told(found["tables"], PROBLEM, "missing table llm_provider_configs", "run `providerd migrate up`")


async def test_a_way_that_nobody_has_verified(server: Server, plain: Server) -> None:  # noqa: F811
    found = await examined("", supabase_db_url=server.url(sslmode="require"), database_insecure=True)
    is_told(found["encryption"], WARNING, "TLSv1.3, and nobody has proved to be", "PROVIDERD_DATABASE_CA_FILE")
    found = await examined("", supabase_db_url=plain.url(sslmode="disable"), database_insecure=True)
    is_told(found["encryption"], WARNING, "none, and nobody has proved to be", "unset PROVIDERD_DATABASE_INSECURE")


async def test_a_certificate_that_nobody_trusts_and_a_mode_that_is_refused(server: Server) -> None:  # noqa: F811
    found = await examined("", supabase_db_url=server.url())
    is_told(found["database"], PROBLEM, "PROVIDERD_DATABASE_CA_FILE", "SUPABASE_DB_URL")
    found = await examined("", supabase_db_url=server.url(sslmode="disable"))
    is_told(found["database"], PROBLEM, "would show passwords and keys", "use sslmode=verify-full")


async def test_a_transaction_pooler_by_its_port(database: str) -> None:
    async with on_port_6543(database) as address:
        found = await examined(f"postgresql://{DAEMON_ROLE}@{address}{path_of(database)}", role=None)
    is_told(found["pooler"], WARNING, "port 6543", "port 5432 in SUPABASE_DB_URL")
    is_told(found["LISTEN"], OK, "came back", "")


async def test_a_pooler_by_the_process_that_it_makes_up(database: str) -> None:
    async with proxied(database) as proxy:
        # BackendKeyData: https://www.postgresql.org/docs/current/protocol-message-formats.html
        proxy.down.edit = lambda data: re.sub(rb"(?<=K\0\0\0\x0c)....", b"\0\0\0\1", data, flags=re.DOTALL)
        found = await examined(through(proxy, database), role=None)
    is_told(found["pooler"], OK, "one is in between", "")


async def test_a_listen_that_is_swallowed(database: str) -> None:
    async with proxied(database) as proxy:
        proxy.up.edit = lambda data: re.sub(rb'(?<!UN)(LISTEN "?llm_provider_change)s', rb"\1z", data)
        found = await examined(through(proxy, database), role=None, poll_interval=7.0)
    is_told(found["LISTEN"], WARNING, "polled for, each 7 s", "session-pooled address in SUPABASE_DB_URL")
    is_told(found["schema"], OK, "at work", "")


async def test_no_notification_is_taken_for_a_change(database: str) -> None:
    """The daemons that listen hear the doctor's, and do not even read."""
    heard: list[str] = []
    connection = await asyncpg.connect(database)
    await connection.add_listener("llm_provider_changes", lambda *arguments: heard.append(arguments[3]))
    with running_daemon(database, PROVIDERD_PROBE_INTERVAL="600", PROVIDERD_LOG_LEVEL="debug") as daemon:
        await asyncio.sleep(0.5)
        heard.clear()
        is_told((await examined(database))["LISTEN"], OK, "came back", "")
        await connection.execute("SELECT 1")
        assert daemon.log.read_text().count("new revision") == 1
    assert len(heard) == 1
    assert heard[0].startswith("probe:")
    await connection.close()


async def test_a_database_that_takes_no_writes(database: str) -> None:
    name = path_of(database).strip("/")
    await run_sql(database, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    found = await examined(database)
    is_told(found["primary"], PROBLEM, "read-only", f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert found["LISTEN"].outcome is SKIPPED


async def test_a_standby(standby: str) -> None:
    is_told((await examined(standby, role=None))["primary"], PROBLEM, "a standby", "target_session_attrs=read-write")


@pytest.mark.parametrize(("limit", "outcome", "free"), [(3, WARNING, "2 are free"), (1, PROBLEM, "0 are free")])
async def test_too_few_connections(database: str, limit: int, outcome: Outcome, free: str) -> None:
    await run_sql(database, f"ALTER DATABASE {path_of(database).strip('/')} CONNECTION LIMIT {limit}")
    found = await examined(database)
    is_told(found["connections"], outcome, f"{free}, and a daemon uses up to 7", "PROVIDERD_POOL_SIZE")
    assert found["LISTEN"].outcome is (PROBLEM if limit == 1 else OK)
    assert found["keys"].outcome is OK


async def test_an_encoding_that_does_not_take_every_text(cluster: EmbeddedPostgres, psql: Psql) -> None:
    create = "CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE_PROVIDER libc LOCALE 'C'"
    assert psql(cluster.dsn("postgres"), "-c", create).returncode == 0
    try:
        found = await examined(cluster.dsn("ascii"), role=None)
    finally:
        assert psql(cluster.dsn("postgres"), "-c", "DROP DATABASE ascii WITH (FORCE)").returncode == 0
    is_told(found["encoding"], PROBLEM, "SQL_ASCII", "ENCODING 'UTF8'")


async def test_pgcrypto_that_is_not_there(database: str) -> None:
    await run_sql(database, "DROP EXTENSION pgcrypto CASCADE")
    found = await examined(database)
    is_told(found["pgcrypto"], PROBLEM, "not installed", "CREATE EXTENSION pgcrypto")
    assert found["keys"].outcome is SKIPPED


async def test_pgcrypto_where_the_role_does_not_look(database: str) -> None:
    await run_sql(database, "CREATE SCHEMA elsewhere", "ALTER EXTENSION pgcrypto SET SCHEMA elsewhere")
    hint = f"ALTER ROLE {DAEMON_ROLE} SET search_path = public, elsewhere"
    is_told((await examined(database))["pgcrypto"], PROBLEM, "in the schema elsewhere", hint)


async def test_a_clock_that_is_wrong(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead: Any = SimpleNamespace(time=lambda: time.time() - 60, monotonic=time.monotonic)
    monkeypatch.setattr(checks, "time", ahead)
    is_told((await examined(database))["clock"], WARNING, "60.0 s ahead of this machine's", "NTP")


async def test_a_server_that_would_log_keys(database: str) -> None:
    name = path_of(database).strip("/")
    await run_sql(database, "CREATE ROLE loud LOGIN", f"ALTER DATABASE {name} SET log_statement = 'all'")
    try:
        found = await examined(database, role="loud")
    finally:
        await run_sql(database, "DROP ROLE loud")
    hint = "ALTER ROLE loud SET log_parameter_max_length = 0"
    is_told(found["statement log"], WARNING, "with log_statement=all", hint)


def path_of(dsn: str) -> str:
    return dsn.partition("@")[2].partition("?")[0]


@asynccontextmanager
async def on_port_6543(dsn: str) -> AsyncIterator[str]:
    """The address of a way to the database that looks like Supabase's transaction pooler."""
    async with proxied(dsn) as inner:
        proxy = Proxy(inner.address)
        host = ".".join(["127", *(str(random.randint(1, 250)) for _ in range(3))])
        listening = await asyncio.start_server(proxy._serve, host, 6543)
        try:
            yield f"{host}:6543"
        finally:
            listening.close()
