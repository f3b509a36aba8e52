"""Many writers at once: nobody fails, revisions come without gaps, and in the order of commits."""

import asyncio
import random
from contextlib import AsyncExitStack

import asyncpg
import pytest

from tests.integration.sql import connected, enable_all, insert_provider, revision

WRITERS = 16
SWITCHES = 100
PROVIDERS = ["chatgpt", "google_ai", "groq", "openrouter"]


async def switch_often(db: asyncpg.Connection, seed: int) -> None:
    choose = random.Random(seed)
    for _ in range(SWITCHES):
        await db.execute("SELECT switch_active_provider($1, $2)", choose.choice(PROVIDERS), f"writer {seed}")


async def watch_prefixes(db: asyncpg.Connection, done: asyncio.Event) -> int:
    """Checks that what is visible at any moment is a prefix of the history, and returns how often it looked."""
    looks = 0
    while not done.is_set():
        newest, numbers, highest = await db.fetchrow("""
            SELECT (SELECT revision FROM llm_provider_store), count(DISTINCT revision), max(revision)
            FROM llm_provider_config_history
        """)
        assert newest == numbers == highest
        looks += 1
    return looks


async def test_concurrent_switches(database: str) -> None:
    async with AsyncExitStack() as stack:
        writers = [await stack.enter_async_context(connected(database)) for _ in range(WRITERS)]
        reader = await stack.enter_async_context(connected(database))
        await enable_all(reader)
        first = await revision(reader)
        heard: asyncio.Queue[int] = asyncio.Queue()
        await reader.add_listener(
            "llm_provider_changes", lambda *event: heard.put_nowait(int(event[-1].rpartition(":")[2]))
        )
        done = asyncio.Event()
        looking = asyncio.create_task(watch_prefixes(reader, done))
        await asyncio.gather(*(switch_often(db, seed) for seed, db in enumerate(writers)))
        done.set()
        assert await looking > 0

        last = await revision(reader)
        # A quarter of the switches meet a provider that is active already, give or take.
        assert last > first + WRITERS * SWITCHES // 2
        # Notifications are delivered in the order of commits.
        assert [await heard.get() for _ in range(first, last)] == list(range(first + 1, last + 1))
        assert heard.empty()

        rows = await reader.fetch(
            "SELECT revision, provider_name, action FROM llm_provider_config_history ORDER BY revision, id"
        )
    active = {"groq"}
    seen = []
    for row in rows:
        if row["revision"] <= first:
            continue
        if row["action"] == "deactivated":
            active.remove(row["provider_name"])
        else:
            assert row["action"] == "activated"
            active.add(row["provider_name"])
            assert len(active) == 1
            seen.append(row["revision"])
    assert seen == list(range(first + 1, last + 1))


async def test_writers_of_different_providers_do_not_deadlock(database: str) -> None:
    async with AsyncExitStack() as stack:
        writers = [await stack.enter_async_context(connected(database)) for _ in range(WRITERS)]

        async def write_both_ways(db: asyncpg.Connection, number: int) -> None:
            order = PROVIDERS if number % 2 else PROVIDERS[::-1]
            for turn in range(20):
                async with db.transaction():
                    for name in order:
                        await db.execute(
                            "UPDATE llm_provider_configs SET description = $1 WHERE provider_name = $2",
                            f"{number}/{turn}", name,
                        )  # fmt: skip

        before = await revision(writers[0])
        await asyncio.gather(*(write_both_ways(db, number) for number, db in enumerate(writers)))
        assert await revision(writers[0]) == before + WRITERS * 20
        versions = await writers[0].fetch("SELECT config_version FROM llm_provider_configs")
    assert {row["config_version"] for row in versions} == {1 + WRITERS * 20}


@pytest.mark.parametrize("commits", [True, False])
async def test_a_switch_that_waited_goes_on_from_what_the_other_left(database: str, commits: bool) -> None:
    async with connected(database) as first, connected(database) as second, connected(database) as third:
        await enable_all(first)
        transaction = first.transaction()
        await transaction.start()
        await first.execute("DELETE FROM llm_provider_configs WHERE provider_name = 'chatgpt'")
        await first.execute("SELECT switch_active_provider('openrouter', 'first')")
        waiting = asyncio.create_task(second.fetchval("SELECT switch_active_provider('chatgpt', 'second')"))
        await until_waiting(third, second.get_server_pid())
        if commits:
            await transaction.commit()
            with pytest.raises(asyncpg.PostgresError, match="Provider chatgpt not found"):
                await waiting
        else:
            await transaction.rollback()
            assert await waiting is True


async def test_an_insert_that_waited_takes_the_active_flag_from_the_newest(database: str) -> None:
    async with connected(database) as first, connected(database) as second, connected(database) as third:
        await enable_all(first)
        transaction = first.transaction()
        await transaction.start()
        await first.execute("SELECT switch_active_provider('openrouter', 'first')")
        waiting = asyncio.create_task(insert_provider(second, is_active=True))
        await until_waiting(third, second.get_server_pid())
        await transaction.commit()
        await waiting
        rows = await first.fetch("SELECT provider_name FROM llm_provider_configs WHERE is_active")
    assert [row["provider_name"] for row in rows] == ["mine"]


async def until_waiting(db: asyncpg.Connection, pid: int) -> None:
    """Returns once another connection waits for a lock. PostgreSQL has no event for that, so this asks."""
    while not await db.fetchval("SELECT cardinality(pg_blocking_pids($1)) > 0", pid):
        pass
