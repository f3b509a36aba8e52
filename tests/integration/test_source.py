"""Following PostgreSQL through what goes wrong: nothing is missed, and staleness is said."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import pytest
from structlog.testing import capture_logs

from providerd.secret import Secret
from providerd_server.embedded import EmbeddedPostgres
from providerd_server.hub import Hub
from providerd_server.source.listener import CHANNEL, Health
from providerd_server.source.postgres import PostgresSource
from providerd_server.store import Database, Keys
from providerd_server.store.keyring import Keyring, derive
from tests.daemon import DAEMON_ROLE, as_role


@asynccontextmanager
async def following(dsn: str, *, poll: float = 60, probe: float = 0.5) -> AsyncIterator[tuple[PostgresSource, Hub]]:
    source = PostgresSource(
        Database(Secret(as_role(dsn, DAEMON_ROLE)), connect_timeout=1, command_timeout=1),
        Keys(Keyring((derive(Secret("passphrase"), "a test"),))),
        poll_interval=poll,
        probe_interval=probe,
    )
    hub = Hub()
    task = asyncio.create_task(source.run(hub.publish))
    try:
        yield source, hub
    finally:
        task.cancel()
        await asyncio.wait({task})


async def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def number(hub: Hub) -> int:
    return hub.state.revision.number if hub.state else -1


async def change(connection: asyncpg.Connection) -> int:
    await connection.execute("UPDATE llm_provider_configs SET description = gen_random_uuid()::text WHERE is_active")
    found: int = await connection.fetchval("SELECT revision FROM llm_provider_store")
    return found


async def listener_pid(sql: asyncpg.Connection) -> int:
    """The backend that last probed by pg_notify: the one that listens. Its activity may show a moment late."""
    async with asyncio.timeout(10):
        while True:
            pid: int | None = await sql.fetchval(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_notify%'"
                " AND pid <> pg_backend_pid()"
            )
            if pid is not None:
                return pid
            await asyncio.sleep(0.02)


async def test_a_notification_brings_a_change_long_before_the_poll(database: str) -> None:
    sql = await asyncpg.connect(database)
    async with following(database, poll=600) as (source, hub):
        await until(lambda: source.listener.health is Health.LISTENING)
        for _ in range(20):
            expected = await change(sql)
            await until(lambda expected=expected: number(hub) == expected, 5)
    await sql.close()


async def test_without_notifications_the_poll_brings_it(database: str) -> None:
    sql = await asyncpg.connect(database)
    async with following(database, poll=0.2) as (_, hub):
        await until(lambda: hub.state is not None)
        await sql.execute("UPDATE llm_provider_store SET revision = revision + 1")  # announces nothing
        expected = await sql.fetchval("SELECT revision FROM llm_provider_store")
        await until(lambda: number(hub) == expected, 5)
    await sql.close()


async def test_a_listener_whose_backend_is_killed_again_and_again_misses_nothing(database: str) -> None:
    sql = await asyncpg.connect(database)
    async with following(database, poll=600, probe=0.2) as (source, hub):
        for _ in range(5):
            await until(lambda: source.listener.health is Health.LISTENING)
            assert await sql.fetchval("SELECT pg_terminate_backend($1)", await listener_pid(sql))
            expected = await change(sql)
            await until(lambda expected=expected: number(hub) == expected)
    await sql.close()


async def test_an_unlisten_behind_our_back_is_noticed(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only the listening connection itself can UNLISTEN, as the reset of a pooler would make it.
    opened: list[asyncpg.Connection] = []
    add_listener = asyncpg.Connection.add_listener

    async def remember(self: asyncpg.Connection, *args: object) -> None:
        opened.append(self)
        await add_listener(self, *args)

    monkeypatch.setattr(asyncpg.Connection, "add_listener", remember)
    sql = await asyncpg.connect(database)
    async with following(database, poll=600, probe=0.3) as (source, hub):
        await until(lambda: source.listener.health is Health.LISTENING)
        await opened[-1].execute(f"UNLISTEN {CHANNEL}")
        expected = await change(sql)
        await until(lambda: number(hub) == expected)
        await until(lambda: len(opened) > 1 and source.listener.health is Health.LISTENING)
    await sql.close()


async def test_all_backends_killed_at_once_is_survived(database: str) -> None:
    sql = await asyncpg.connect(database)
    async with following(database, poll=0.2, probe=0.2) as (source, hub):
        for _ in range(5):
            await until(lambda: source.age < 1)
            await sql.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            expected = await change(sql)
            await until(lambda expected=expected: number(hub) == expected)
    await sql.close()


async def test_a_database_that_is_not_there_yet_is_waited_for(database: str, cluster: EmbeddedPostgres) -> None:
    admin = await asyncpg.connect(cluster.dsn("postgres"))
    name = urlsplit(database).path.lstrip("/")
    await admin.execute(f"ALTER DATABASE {name} RENAME TO {name}_away")
    async with following(database) as (source, hub):
        await asyncio.sleep(0.5)
        assert hub.state is None
        assert source.age == float("inf")
        await admin.execute(f"ALTER DATABASE {name}_away RENAME TO {name}")
        await until(lambda: hub.state is not None)
        assert source.age < 60
    await admin.close()


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        ("DROP TABLE llm_provider_configs CASCADE", "missing table llm_provider_configs; run `providerd migrate up`"),
        (
            "ALTER TABLE llm_provider_configs DISABLE TRIGGER trg_log_provider_config_change",
            "disabled trigger trg_log_provider_config_change",
        ),
        (
            "DROP TRIGGER trg_validate_provider_config ON llm_provider_configs",
            "missing trigger trg_validate_provider_config",
        ),
    ],
)
async def test_a_schema_that_would_not_number_changes_is_not_served_from(
    database: str, break_it: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    sql = await asyncpg.connect(database)
    await sql.execute(break_it)
    async with following(database) as (_, hub):
        output = ""
        async with asyncio.timeout(10):
            while said not in output:
                output += "".join(capfd.readouterr())
                await asyncio.sleep(0.05)
        assert hub.state is None
    await sql.close()


async def test_a_provider_that_cannot_be_read_is_left_out_alone(database: str) -> None:
    sql = await asyncpg.connect(database)
    deep = """UPDATE llm_provider_configs SET model_capabilities =
        ('{"a":' || repeat('[', 3000) || repeat(']', 3000) || '}')::jsonb WHERE provider_name = 'chatgpt'"""
    with pytest.raises(asyncpg.PostgresError, match="model_capabilities must not be nested deeper than 32 levels"):
        await sql.execute(deep)
    await sql.execute("ALTER TABLE llm_provider_configs DISABLE TRIGGER trg_validate_provider_config")
    await sql.execute(deep)
    await sql.execute("ALTER TABLE llm_provider_configs ENABLE ALWAYS TRIGGER trg_validate_provider_config")
    async with following(database) as (_, hub):
        await until(lambda: hub.state is not None)
        assert hub.state is not None
        assert set(hub.state.snapshot.providers) == {"google_ai", "groq", "openrouter"}
    await sql.close()


async def test_what_nobody_foresaw_does_not_end_the_source(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = iter([RuntimeError("unforeseen"), RuntimeError("again")])
    snapshot = PostgresSource._snapshot

    async def failing(self: PostgresSource, connection: asyncpg.Connection) -> object:
        for failure in failures:
            raise failure
        return await snapshot(self, connection)

    monkeypatch.setattr(PostgresSource, "_snapshot", failing)
    async with following(database) as (_, hub):
        await until(lambda: hub.state is not None)


async def test_a_connection_that_is_given_up_in_the_middle_of_a_read_is_a_lost_one(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = iter(range(8))
    snapshot = PostgresSource._snapshot

    async def given_up(self: PostgresSource, connection: asyncpg.Connection) -> object:
        for attempt in attempts:
            asyncio.get_running_loop().call_later(0.005 + attempt / 5000, self.reconnect)
            # Each of them is prepared first, so that there are several steps to be given up in.
            for turn in itertools.count():
                await connection.fetchrow(f"SELECT {turn}")
        return await snapshot(self, connection)

    monkeypatch.setattr(PostgresSource, "_snapshot", given_up)
    with capture_logs() as lines:
        async with following(database) as (_, hub):
            await until(lambda: hub.state is not None, 30)
    assert [line["event"] for line in lines if line["log_level"] == "error"] == []


async def test_verify_returns_only_after_a_read_that_began_later(database: str) -> None:
    sql = await asyncpg.connect(database)
    async with following(database, poll=600) as (source, hub):
        await until(lambda: hub.state is not None)
        for _ in range(50):
            expected = await change(sql)
            await source.verify()
            assert number(hub) >= expected
    await sql.close()


async def test_a_change_committed_while_connecting_is_not_missed(database: str) -> None:
    sql = await asyncpg.connect(database)
    for _ in range(30):
        async with following(database, poll=600) as (_, hub):
            await until(lambda: hub.state is not None)
            expected = await change(sql)
            await until(lambda expected=expected: number(hub) == expected, 5)
    await sql.close()
