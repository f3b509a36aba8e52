"""What the history says of each change: what, who, why, and how the configuration was after it."""

from datetime import datetime
from typing import Any

import asyncpg
import pytest

from tests.integration.sql import connected, enable_all, insert_provider

KEY = "pgp_sym_encrypt('k', 'p')"


async def last_entry(db: asyncpg.Connection) -> asyncpg.Record:
    return await db.fetchrow("SELECT * FROM llm_provider_config_history ORDER BY id DESC LIMIT 1")


async def row_of(db: asyncpg.Connection, name: str) -> asyncpg.Record:
    return await db.fetchrow("SELECT * FROM llm_provider_configs WHERE provider_name = $1", name)


@pytest.mark.parametrize(
    ("change", "action"),
    [
        ("is_active = TRUE, display_name = 'x'", "activated"),
        (f"is_active = TRUE, api_key_encrypted = {KEY}", "activated"),
        (f"is_enabled = FALSE, api_key_encrypted = {KEY}, display_name = 'x'", "disabled"),
        (f"api_key_encrypted = {KEY}, display_name = 'x'", "key_changed"),
        ("display_name = 'x'", "updated"),
        ("provider_name = 'renamed'", "updated"),
    ],
)
async def test_the_most_telling_change_names_the_action(database: str, change: str, action: str) -> None:
    async with connected(database) as db:
        key = await insert_provider(db)
        await db.execute(f"UPDATE llm_provider_configs SET {change} WHERE id = $1", key)
        entry = await last_entry(db)
        name, version = await db.fetchrow(
            "SELECT provider_name, config_version FROM llm_provider_configs WHERE id = $1", key
        )
    assert (entry["action"], entry["provider_id"], entry["provider_name"]) == (action, key, name)
    assert version == 2


async def test_enabled_and_deactivated_are_told_apart_from_updated(database: str) -> None:
    async with connected(database) as db:
        await db.execute("""
            UPDATE llm_provider_configs SET is_enabled = TRUE, display_name = 'x' WHERE provider_name = 'chatgpt'
        """)
        assert (await last_entry(db))["action"] == "enabled"
        await db.execute("""
            UPDATE llm_provider_configs SET is_active = FALSE, is_enabled = FALSE WHERE provider_name = 'groq'
        """)
        assert (await last_entry(db))["action"] == "deactivated"


async def test_a_deleted_provider_lives_on_in_the_history(database: str) -> None:
    async with connected(database) as db:
        await db.execute("DELETE FROM llm_provider_configs WHERE provider_name = 'chatgpt'")
        rows = await db.fetch("""
            SELECT action, provider_id, config_snapshot FROM llm_provider_config_history
            WHERE provider_name = 'chatgpt' ORDER BY id
        """)
    assert [(row["action"], row["provider_id"]) for row in rows] == [("created", None), ("deleted", None)]
    assert rows[1]["config_snapshot"]["display_name"] == "ChatGPT (OpenAI)"


async def test_the_snapshot_is_the_whole_row_but_for_the_key(database: str) -> None:
    async with connected(database) as db:
        await insert_provider(db, supported_models=["a"], context_window_tokens=5, updated_by="me")
        row = await row_of(db, "mine")
        snapshot = (await last_entry(db))["config_snapshot"]
    expected: dict[str, Any] = dict(row)
    del expected["api_key_encrypted"], expected["api_key_mac"]
    for column in ("created_at", "updated_at"):
        assert datetime.fromisoformat(snapshot.pop(column)) == expected.pop(column)
    assert snapshot == {**expected, "key_fingerprint": None}


@pytest.mark.parametrize(
    ("actor", "updated_by", "expected"),
    [("ops", "row", "ops"), ("", "row", "row"), (None, "row", "row"), (None, None, "providerd")],
)
async def test_who_is_the_actor_else_the_column_else_the_session(
    database: str, actor: str | None, updated_by: str | None, expected: str
) -> None:
    async with connected(database) as db:
        async with db.transaction():
            if actor is not None:
                await db.execute("SELECT set_config('providerd.actor', $1, TRUE)", actor)
            await insert_provider(db, updated_by=updated_by)
        session_user = await db.fetchval("SELECT session_user")
        expected = session_user if expected == "providerd" else expected
        entry = await last_entry(db)
        assert (entry["changed_by"], entry["db_user"]) == (expected, session_user)
        assert (await row_of(db, "mine"))["updated_by"] == expected


async def test_an_update_that_does_not_say_who_is_not_put_down_to_whoever_was_before(database: str) -> None:
    async with connected(database) as db:
        for turn in range(2):  # the second time the column does not change, and is said all the same
            await db.execute(
                "UPDATE llm_provider_configs SET description = $1, updated_by = 'ann' WHERE provider_name = 'groq'",
                f"ann {turn}",
            )
            assert (await last_entry(db))["changed_by"] == "ann"
        await db.execute("UPDATE llm_provider_configs SET description = 'x' WHERE provider_name = 'groq'")
        assert (await last_entry(db))["changed_by"] == "providerd"
        assert (await row_of(db, "groq"))["updated_by"] == "providerd"


@pytest.mark.parametrize("actor", ["ops", None])
async def test_a_deletion_is_not_put_down_to_whoever_updated_last(database: str, actor: str | None) -> None:
    async with connected(database) as db:
        async with db.transaction():
            await db.execute("SELECT set_config('providerd.actor', $1, TRUE)", actor)
            await db.execute("DELETE FROM llm_provider_configs WHERE provider_name = 'chatgpt'")
        entry = await last_entry(db)
        assert entry["changed_by"] == (actor or await db.fetchval("SELECT session_user"))


async def test_why_is_the_reason_of_the_transaction(database: str) -> None:
    async with connected(database) as db:
        async with db.transaction():
            await db.execute("SET LOCAL providerd.reason = 'groq is slow today'")
            await enable_all(db)
        assert (await last_entry(db))["reason"] == "groq is slow today"
        # The setting is '' on this connection from now on, which is no reason.
        await insert_provider(db)
        assert (await last_entry(db))["reason"] is None


async def test_config_version_counts_content_and_nothing_else(database: str) -> None:
    async with connected(database) as db:
        await insert_provider(db, config_version=40)
        versions = []
        for change in (
            "display_name = 'x'",
            "display_name = 'x', updated_by = 'y', config_version = 99",
            "is_active = TRUE",
            f"api_key_encrypted = {KEY}",
            "is_active = FALSE, is_enabled = FALSE",
        ):
            await db.execute(f"UPDATE llm_provider_configs SET {change} WHERE provider_name = 'mine'")
            versions.append((await row_of(db, "mine"))["config_version"])
    assert versions == [2, 2, 2, 3, 4]


async def test_times_are_the_databases_own(database: str) -> None:
    async with connected(database) as db:
        await insert_provider(db, created_at=datetime(2001, 1, 1), updated_at=datetime(2001, 1, 1))
        created = await row_of(db, "mine")
        assert created["created_at"] == created["updated_at"]
        assert created["created_at"].year > 2001
        await db.execute("""
            UPDATE llm_provider_configs SET display_name = 'x', created_at = '2001-01-01' WHERE provider_name = 'mine'
        """)
        updated = await row_of(db, "mine")
    assert updated["created_at"] == created["created_at"]
    assert updated["updated_at"] > created["updated_at"]


async def test_changed_at_follows_the_order_of_revisions(database: str) -> None:
    async with connected(database) as early, connected(database) as late:
        async with early.transaction():
            await early.execute("SELECT NOW()")
            await insert_provider(late, "first")
            await insert_provider(early, "second")
        names = await late.fetch(
            "SELECT provider_name FROM llm_provider_config_history ORDER BY changed_at DESC LIMIT 2"
        )
    assert [row["provider_name"] for row in names] == ["second", "first"]
