"""At most one provider is active, whichever way it becomes so, and it is enabled."""

import asyncpg
import pytest

from tests.integration.sql import active_names, connected, enable_all, history_since, insert_provider, refused, revision


async def test_switch_says_whether_anything_changed(database: str) -> None:
    async with connected(database) as db:
        await enable_all(db)
        assert await db.fetchval("SELECT switch_active_provider('chatgpt', 'me')") is True
        before = await revision(db)
        assert await db.fetchval("SELECT switch_active_provider('chatgpt', 'me')") is False
        assert await revision(db) == before


async def test_switch_is_one_revision_with_both_sides_of_it(database: str) -> None:
    async with connected(database) as db:
        await enable_all(db)
        before = await revision(db)
        await db.execute("SELECT switch_active_provider('chatgpt', 'me')")
        assert await revision(db) == before + 1
        assert await history_since(db, before) == [("groq", "deactivated"), ("chatgpt", "activated")]
        rows = await db.fetch("SELECT updated_by, config_version FROM llm_provider_configs WHERE updated_by = 'me'")
        # A switch changes no configuration; enabling did, but groq was enabled from the start.
        assert sorted(row["config_version"] for row in rows) == [1, 2]


async def test_switch_to_an_unknown_provider_is_refused(database: str) -> None:
    async with connected(database) as db:
        with refused("PD001", "Provider nobody not found") as caught:
            await db.execute("SELECT switch_active_provider('nobody', 'me')")
    assert caught.value.column_name == "provider_name"


async def test_switch_to_a_disabled_provider_is_refused_with_what_to_do(database: str) -> None:
    async with connected(database) as db:
        with refused("PD002", "Provider chatgpt is disabled") as caught:
            await db.execute("SELECT switch_active_provider('chatgpt', 'me')")
    assert caught.value.column_name == "is_enabled"
    assert "Enable it first" in caught.value.hint


async def test_inserting_an_active_provider_deactivates_the_other(database: str) -> None:
    async with connected(database) as db:
        before = await revision(db)
        await insert_provider(db, is_active=True)
        assert await active_names(db) == ["mine"]
        assert await history_since(db, before) == [("groq", "deactivated"), ("mine", "created")]


@pytest.mark.parametrize("conflict", ["(provider_name) DO NOTHING", "(id) DO NOTHING"])
async def test_insert_turned_away_by_on_conflict_deactivates_nobody(database: str, conflict: str) -> None:
    name, key = ("chatgpt", "nextval('llm_provider_configs_id_seq')") if "name" in conflict else ("new", "4")
    async with connected(database) as db:
        before = await revision(db)
        done = await db.execute(f"""
            INSERT INTO llm_provider_configs (id, provider_name, display_name, base_url, endpoint_path_template,
                default_model, request_builder_config, response_extractor_config, is_active)
            SELECT {key}, '{name}', display_name, base_url, endpoint_path_template,
                default_model, request_builder_config, response_extractor_config, TRUE
            FROM llm_provider_configs WHERE id = 4 ON CONFLICT {conflict}
        """)
        assert done == "INSERT 0 0"
        assert await active_names(db) == ["groq"]
        assert await revision(db) == before


async def test_of_several_made_active_at_once_one_stays(database: str) -> None:
    async with connected(database) as db:
        await enable_all(db)
        await db.execute("UPDATE llm_provider_configs SET is_active = TRUE WHERE provider_name <> 'groq'")
        assert len(await active_names(db)) == 1


async def test_swapping_the_flag_of_two_rows_in_one_statement_is_refused_whole(database: str) -> None:
    async with connected(database) as db:
        await enable_all(db)
        await db.execute("SELECT switch_active_provider('openrouter', 'me')")
        # groq's row comes first, and its trigger changes openrouter's before the statement gets there.
        with refused("27000"):
            await db.execute("UPDATE llm_provider_configs SET is_active = (provider_name = 'groq')")
        assert await active_names(db) == ["openrouter"]


async def test_two_active_rows_are_refused_by_the_index_alone(database: str) -> None:
    async with connected(database) as db:
        await enable_all(db)
        await db.execute("ALTER TABLE llm_provider_configs DISABLE TRIGGER trg_ensure_single_active_provider")
        with pytest.raises(asyncpg.UniqueViolationError) as caught:
            await db.execute("UPDATE llm_provider_configs SET is_active = TRUE")
    assert caught.value.constraint_name == "llm_provider_configs_one_active"


@pytest.mark.parametrize(
    "change",
    [
        "SET is_active = TRUE WHERE provider_name = 'chatgpt'",
        "SET is_enabled = FALSE WHERE provider_name = 'groq'",
    ],
)
async def test_active_but_disabled_is_refused(database: str, change: str) -> None:
    async with connected(database) as db:
        with pytest.raises(asyncpg.CheckViolationError) as caught:
            await db.execute(f"UPDATE llm_provider_configs {change}")
        assert caught.value.constraint_name == "llm_provider_configs_active_is_enabled"
        assert await active_names(db) == ["groq"]


@pytest.mark.parametrize("flag", ["is_active", "is_enabled"])
async def test_flags_are_never_null(database: str, flag: str) -> None:
    async with connected(database) as db:
        with pytest.raises(asyncpg.NotNullViolationError) as caught:
            await db.execute(f"UPDATE llm_provider_configs SET {flag} = NULL WHERE provider_name = 'chatgpt'")
    assert caught.value.column_name == flag


async def test_nobody_may_be_active(database: str) -> None:
    async with connected(database) as db:
        before = await revision(db)
        await db.execute("UPDATE llm_provider_configs SET is_active = FALSE WHERE provider_name = 'groq'")
        assert await db.fetch("SELECT * FROM get_active_provider()") == []
        assert await history_since(db, before) == [("groq", "deactivated")]


async def test_deleting_the_active_provider_is_refused_with_what_to_do(database: str) -> None:
    async with connected(database) as db:
        with refused("PD004", "Cannot delete active provider groq") as caught:
            await db.execute("DELETE FROM llm_provider_configs")
        assert caught.value.hint == "Switch to another provider first."
        assert await db.fetchval("SELECT count(*) FROM llm_provider_configs") == 4
