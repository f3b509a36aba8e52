"""The SQL examples of the founding document, as printed there, in the order in which they build on each other."""
# ruff: noqa: W291  (as printed includes the blanks at the ends of lines)

import pytest

from tests.integration.sql import active_names, connected, insert_provider, refused

SWITCH_TO_GROQ = "SELECT switch_active_provider('groq', 'admin_user');"
SWITCH_TO_OPENROUTER = "SELECT switch_active_provider('openrouter', 'admin_user');"
ADD_KEY = """
UPDATE llm_provider_configs
SET 
    api_key_encrypted = pgp_sym_encrypt('your-api-key', 'encryption-passphrase'),
    updated_at = NOW(),
    updated_by = 'admin'
WHERE provider_name = 'openrouter';
"""
ENABLE = """
UPDATE llm_provider_configs
SET 
    is_enabled = TRUE,
    updated_at = NOW(),
    updated_by = 'admin'
WHERE provider_name = 'openrouter';
"""
DECRYPT = """
SELECT 
    provider_name,
    pgp_sym_decrypt(
        decode(api_key_encrypted, 'hex'),
        'encryption-passphrase'
    ) AS decrypted_key
FROM llm_provider_configs
WHERE provider_name = 'groq';
"""
DELETE_HISTORY = """
DELETE FROM llm_provider_config_history 
WHERE provider_id IN (SELECT id FROM llm_provider_configs);
"""
DELETE_SEEDS = """
DELETE FROM llm_provider_configs 
WHERE provider_name IN ('groq', 'openrouter', 'google_ai', 'chatgpt');
"""


async def test_verify_schema(database: str) -> None:
    async with connected(database) as db:
        tables = await db.fetch("""
            SELECT tablename FROM pg_tables 
            WHERE tablename IN ('llm_provider_configs', 'llm_provider_config_history');
        """)
        assert {row["tablename"] for row in tables} == {"llm_provider_configs", "llm_provider_config_history"}
        functions = await db.fetch("""
            SELECT proname FROM pg_proc 
            WHERE proname LIKE '%provider%';
        """)
        assert {row["proname"] for row in functions} >= {"get_active_provider", "switch_active_provider"}
        triggers = await db.fetch("""
            SELECT tgname FROM pg_trigger 
            WHERE tgrelid = 'llm_provider_configs'::regclass;
        """)
        assert {row["tgname"] for row in triggers} >= {
            "trg_validate_provider_config",
            "trg_log_provider_config_change",
            "trg_prevent_active_provider_deletion",
            "trg_ensure_single_active_provider",
        }


async def test_query_the_active_provider(database: str) -> None:
    async with connected(database) as db:
        by_function = await db.fetch("SELECT * FROM get_active_provider();")
        directly = await db.fetch("""
            SELECT 
                provider_name,
                display_name,
                base_url,
                default_model,
                model_capabilities
            FROM llm_provider_configs
            WHERE is_active = TRUE;
        """)
    assert [row["provider_name"] for row in by_function] == ["groq"]
    assert "api_key_encrypted" not in by_function[0]
    assert [tuple(row)[:4] for row in directly] == [("groq", "Groq", "https://api.groq.com", "openai/gpt-oss-120b")]
    assert by_function[0]["model_capabilities"] == directly[0]["model_capabilities"]


async def test_configure_a_new_provider_then_switch_to_it_and_back(database: str) -> None:
    async with connected(database) as db:
        await db.execute(ADD_KEY)
        await db.execute(ENABLE)
        await db.execute("SELECT switch_active_provider('openrouter', 'admin');")
        assert await active_names(db) == ["openrouter"]
        await db.execute(SWITCH_TO_GROQ)
        assert await active_names(db) == ["groq"]
        await db.execute(SWITCH_TO_OPENROUTER)
        assert await active_names(db) == ["openrouter"]
        by = await db.fetchval("SELECT updated_by FROM llm_provider_configs WHERE provider_name = 'openrouter'")
        assert by == "admin_user"


async def test_view_the_audit_history(database: str) -> None:
    async with connected(database) as db:
        await db.execute(ADD_KEY)
        await db.execute(ENABLE)
        await db.execute(SWITCH_TO_OPENROUTER)
        rows = await db.fetch("""
            SELECT 
                h.changed_at,
                p.provider_name,
                h.action,
                h.changed_by
            FROM llm_provider_config_history h
            JOIN llm_provider_configs p ON h.provider_id = p.id
            ORDER BY h.changed_at DESC;
        """)
        assert [tuple(row)[1:] for row in rows[:4]] == [
            ("openrouter", "activated", "admin_user"),
            ("groq", "deactivated", "admin_user"),
            ("openrouter", "enabled", "admin"),
            ("openrouter", "key_changed", "admin"),
        ]
        of_groq = await db.fetch("""
            SELECT * FROM llm_provider_config_history
            WHERE provider_id = (SELECT id FROM llm_provider_configs WHERE provider_name = 'groq')
            ORDER BY changed_at DESC;
        """)
        assert [row["action"] for row in of_groq] == ["deactivated", "created"]


@pytest.mark.parametrize(
    "stored",
    [
        "pgp_sym_encrypt('gsk_example', 'encryption-passphrase')",
        "encode(pgp_sym_encrypt('gsk_example', 'encryption-passphrase'), 'hex')",
    ],
)
async def test_decrypt_a_key_stored_in_either_way(database: str, stored: str) -> None:
    async with connected(database) as db:
        await db.execute(f"UPDATE llm_provider_configs SET api_key_encrypted = {stored} WHERE provider_name = 'groq'")
        assert [tuple(row) for row in await db.fetch(DECRYPT)] == [("groq", "gsk_example")]


async def test_provider_switch(database: str) -> None:
    async with connected(database) as db:
        await db.execute("SELECT switch_active_provider('groq', 'test_user');")
        assert await db.fetchval("SELECT COUNT(*) FROM llm_provider_configs WHERE is_active = TRUE;") == 1
        with refused("PD002", "Provider openrouter is disabled"):
            await db.execute("SELECT switch_active_provider('openrouter', 'test_user');")
        assert await active_names(db) == ["groq"]


async def test_validation(database: str) -> None:
    async with connected(database) as db:
        with refused("PD003", 'request_builder_config must contain "version" field'):
            await db.execute("""
                INSERT INTO llm_provider_configs (
                    provider_name, display_name, base_url, endpoint_path_template, 
                    default_model, request_builder_config, response_extractor_config
                ) VALUES (
                    'test_provider', 'Test', 'https://api.test.com', '/v1/test',
                    'test-model', '{}'::jsonb, '{}'::jsonb
                );
            """)


async def test_unique_active_constraint(database: str) -> None:
    async with connected(database) as db:
        await db.execute(ENABLE)
        await db.execute(SWITCH_TO_OPENROUTER)
        await db.execute("UPDATE llm_provider_configs SET is_active = TRUE WHERE provider_name = 'groq';")
        rows = await db.fetch("SELECT provider_name, is_active FROM llm_provider_configs;")
    assert {row["provider_name"] for row in rows if row["is_active"]} == {"groq"}
    assert len(rows) == 4


async def test_active_provider_is_deleted_after_a_switch(database: str) -> None:
    async with connected(database) as db:
        await insert_provider(db, "old_provider", is_active=True)
        await insert_provider(db, "another_provider")
        delete = "DELETE FROM llm_provider_configs WHERE provider_name = 'old_provider';"
        with refused("PD004", "Cannot delete active provider old_provider"):
            await db.execute(delete)
        await db.execute("SELECT switch_active_provider('another_provider', 'admin');")
        assert await db.execute(delete) == "DELETE 1"


async def test_partial_rollback_as_printed_meets_the_active_provider(database: str) -> None:
    async with connected(database) as db:
        assert await db.execute(DELETE_HISTORY) == "DELETE 4"
        with refused("PD004", "Cannot delete active provider groq"):
            await db.execute(DELETE_SEEDS)
        assert await db.fetchval("SELECT count(*) FROM llm_provider_configs") == 4


async def test_partial_rollback_works_once_nothing_is_active(database: str) -> None:
    async with connected(database) as db:
        await db.execute("UPDATE llm_provider_configs SET is_active = FALSE WHERE is_active")
        await db.execute(DELETE_HISTORY)
        assert await db.execute(DELETE_SEEDS) == "DELETE 4"
        assert await db.fetchval("SELECT count(*) FROM llm_provider_configs") == 0


async def test_pgcrypto_is_there(database: str) -> None:
    async with connected(database) as db:
        await db.execute("CREATE EXTENSION IF NOT EXISTS pgcrypto;")
        decrypted = await db.fetchval("SELECT pgp_sym_decrypt(pgp_sym_encrypt('text', 'phrase'), 'phrase')")
        assert decrypted == "text"
        assert "PostgreSQL" in await db.fetchval("SELECT version();")
        assert await db.fetch("SELECT * FROM llm_provider_config_history;")
