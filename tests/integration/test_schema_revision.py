"""One revision per transaction that changes something, and one notification for it."""

import asyncio

import asyncpg
import pytest

from tests.integration.sql import connected, enable_all, history_since, insert_provider, refused, revision


async def store_state(db: asyncpg.Connection) -> asyncpg.Record:
    return await db.fetchrow("SELECT * FROM llm_provider_store")


async def test_the_store_has_one_row(database: str) -> None:
    async with connected(database) as db:
        with pytest.raises(asyncpg.UniqueViolationError):
            await db.execute("INSERT INTO llm_provider_store DEFAULT VALUES")
        with pytest.raises(asyncpg.CheckViolationError):
            await db.execute("INSERT INTO llm_provider_store (only_row) VALUES (FALSE)")


async def test_a_transaction_is_one_revision(database: str) -> None:
    async with connected(database) as db:
        before = await revision(db)
        async with db.transaction():
            await enable_all(db)
            await insert_provider(db)
            await db.execute("SELECT switch_active_provider('mine', 'me')")
            await db.execute("DELETE FROM llm_provider_configs WHERE provider_name = 'groq'")
        assert await revision(db) == before + 1
        assert len(await history_since(db, before)) == 3 + 1 + 2 + 1
        await insert_provider(db, "other")
        assert await revision(db) == before + 2


async def test_a_savepoint_rolled_back_takes_its_revision_along(database: str) -> None:
    async with connected(database) as db:
        before = await revision(db)
        async with db.transaction():
            savepoint = db.transaction()
            await savepoint.start()
            await insert_provider(db, "lost")
            await savepoint.rollback()
            await insert_provider(db, "kept")
        assert await revision(db) == before + 1
        assert await history_since(db, before) == [("kept", "created")]


async def test_a_transaction_rolled_back_leaves_no_gap(database: str) -> None:
    async with connected(database) as db:
        before = await revision(db)
        transaction = db.transaction()
        await transaction.start()
        await insert_provider(db, "lost")
        await transaction.rollback()
        await insert_provider(db, "kept")
        assert await revision(db) == before + 1


@pytest.mark.parametrize(
    "change",
    [
        "SET updated_at = NOW(), updated_by = 'somebody', config_version = 7, created_at = NOW()",
        "SET display_name = display_name",
        "SET is_active = is_active",
        "SET model_capabilities = model_capabilities || '{}'",
        "SET display_name = 'x' WHERE provider_name = 'nobody'",
    ],
)
async def test_an_update_that_changes_nothing_leaves_no_trace(database: str, change: str) -> None:
    async with connected(database) as db:
        rows = await db.fetch("SELECT * FROM llm_provider_configs ORDER BY id")
        store = await store_state(db)
        heard: asyncio.Queue[str] = asyncio.Queue()
        await db.add_listener("llm_provider_changes", lambda *event: heard.put_nowait(event[-1]))
        await db.execute(f"UPDATE llm_provider_configs {change}")
        assert await db.fetch("SELECT * FROM llm_provider_configs ORDER BY id") == rows
        assert await store_state(db) == store
        assert await history_since(db, store["revision"]) == []
        # A notification is delivered in the order of commits: this one is the first that was sent.
        await insert_provider(db)
        assert (await heard.get()).endswith(f":{store['revision'] + 1}")


async def test_a_notification_carries_store_and_revision_and_comes_once(database: str) -> None:
    async with connected(database) as db:
        store = await store_state(db)
        heard: asyncio.Queue[str] = asyncio.Queue()
        await db.add_listener("llm_provider_changes", lambda *event: heard.put_nowait(event[-1]))
        async with db.transaction():
            await enable_all(db)
            await db.execute("SELECT switch_active_provider('chatgpt', 'me')")
        await insert_provider(db)
        expected = [f"{store['store_id']}:{store['revision'] + n}" for n in (1, 2)]
        assert [await heard.get(), await heard.get()] == expected
        assert heard.empty()


async def test_the_lock_gives_the_revision_and_makes_writers_wait(database: str) -> None:
    async with connected(database) as holder, connected(database) as waiting:
        async with holder.transaction():
            locked = await holder.fetchrow("SELECT * FROM lock_provider_store()")
            assert dict(locked) == {
                "store_id": (await store_state(holder))["store_id"],
                "revision": await revision(holder),
            }
            await waiting.execute("SET lock_timeout = '50ms'")
            for statement in (
                "SELECT switch_active_provider('groq', 'me')",
                "DELETE FROM llm_provider_configs WHERE FALSE",
                "UPDATE llm_provider_configs SET display_name = 'x' WHERE FALSE",
                "INSERT INTO llm_provider_configs SELECT * FROM llm_provider_configs WHERE FALSE",
            ):
                with pytest.raises(asyncpg.LockNotAvailableError):
                    await waiting.execute(statement)
            # Readers do not wait.
            assert await revision(waiting) == locked["revision"]
        await waiting.execute("SELECT switch_active_provider('groq', 'me')")


async def test_a_repeatable_read_transaction_that_was_overtaken_fails_to_serialize(database: str) -> None:
    async with connected(database) as early, connected(database) as late, late.transaction(isolation="repeatable_read"):
        await revision(late)
        await insert_provider(early)
        with pytest.raises(asyncpg.SerializationError):
            await late.execute("UPDATE llm_provider_configs SET display_name = 'x'")


async def test_a_store_restored_from_another_server_still_counts(database: str) -> None:
    async with connected(database) as db:
        before = await revision(db)
        async with db.transaction():
            # As if the server the backup is from had numbered its last transaction like this one.
            await db.execute("UPDATE llm_provider_store SET changed_in = pg_current_xact_id()")
            await insert_provider(db)
        assert await revision(db) == before + 1


async def test_without_its_row_the_store_says_what_to_do(database: str) -> None:
    async with connected(database) as db:
        await db.execute("DELETE FROM llm_provider_store")
        with refused("P0001", "llm_provider_store has no row") as caught:
            await insert_provider(db)
    assert "001_create_llm_provider_configs.sql" in caught.value.hint
