"""The migration files, run as they are by psql, once and again."""

import re
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.conftest import Psql
from tests.integration.sql import (
    CREATE,
    FILES,
    KEYS,
    MIGRATIONS,
    ROLES,
    ROLLBACK,
    SEED,
    active_names,
    connected,
    enable_all,
    revision,
)

SEEDED = ["chatgpt", "google_ai", "groq", "openrouter"]

# The table of operations: each row begins with its name, or with an object of that one name.
_OPERATIONS = (MIGRATIONS / "README_MIGRATIONS.md").read_text().partition("| Operation |")[2].partition("\n\n")[0]
TRANSFORMS = set(re.findall(r'^\| `(?:{")?(\w+)', _OPERATIONS, re.MULTILINE))


def run_files(psql: Psql, dsn: str, *files: Path) -> None:
    for file in files:
        done = psql(dsn, "-f", str(file))
        assert done.returncode == 0, done.stderr


async def everything(db: asyncpg.Connection) -> list[Any]:
    return [
        await db.fetch("SELECT * FROM llm_provider_configs ORDER BY id"),
        await db.fetch("SELECT * FROM llm_provider_config_history ORDER BY id"),
        await db.fetch("SELECT * FROM llm_provider_store"),
    ]


async def relations(db: asyncpg.Connection) -> set[str]:
    rows = await db.fetch("""
        SELECT relname::text AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace
        UNION ALL
        SELECT proname::text FROM pg_proc p WHERE pronamespace = 'public'::regnamespace
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
    """)
    return {row["name"] for row in rows}


@pytest.mark.parametrize("file", [*FILES, ROLES, ROLLBACK], ids=lambda file: file.name)
def test_each_file_is_one_transaction_with_its_marks_alone_on_a_line(file: Path) -> None:
    lines = file.read_text().splitlines()
    assert lines.count("BEGIN;") == lines.count("COMMIT;") == 1
    assert [line for line in lines if line.strip()][-1] == "COMMIT;"


async def test_create_and_seed_twice_leave_what_once_left(psql: Psql, empty_database: str) -> None:
    run_files(psql, empty_database, CREATE, SEED)
    async with connected(empty_database) as db:
        once = await everything(db)
        run_files(psql, empty_database, CREATE, SEED)
        assert await everything(db) == once
        assert [row["provider_name"] for row in once[0]] == ["groq", "openrouter", "google_ai", "chatgpt"]
        assert await revision(db) == 1


async def test_seeds_are_as_the_founding_document_lists_them(psql: Psql, empty_database: str) -> None:
    run_files(psql, empty_database, CREATE, SEED)
    async with connected(empty_database) as db:
        rows = await db.fetch("""
            SELECT provider_name, display_name, is_active, is_enabled, api_key_encrypted
            FROM llm_provider_configs ORDER BY provider_name
        """)
    assert [tuple(row) for row in rows] == [
        ("chatgpt", "ChatGPT (OpenAI)", False, False, None),
        ("google_ai", "Google AI (Gemini)", False, False, None),
        ("groq", "Groq", True, True, None),
        ("openrouter", "OpenRouter", False, False, None),
    ]


async def test_seeding_again_keeps_what_operators_changed(psql: Psql, database: str) -> None:
    async with connected(database) as db:
        await enable_all(db)
        await db.execute("UPDATE llm_provider_configs SET default_model = 'other' WHERE provider_name = 'groq'")
        await db.execute("SELECT switch_active_provider('chatgpt', 'operator')")
        before = await everything(db)
        run_files(psql, database, SEED)
        assert await everything(db) == before


async def test_seeding_again_leaves_the_active_flag_where_it_is_after_groq_was_deleted(
    psql: Psql, database: str
) -> None:
    async with connected(database) as db:
        await enable_all(db)
        await db.execute("SELECT switch_active_provider('chatgpt', 'operator')")
        await db.execute("DELETE FROM llm_provider_configs WHERE provider_name = 'groq'")
        run_files(psql, database, SEED)
        assert await active_names(db) == ["chatgpt"]
        assert not await db.fetchval("SELECT is_active FROM llm_provider_configs WHERE provider_name = 'groq'")


async def test_seeding_does_not_activate_a_deactivated_groq(psql: Psql, database: str) -> None:
    async with connected(database) as db:
        await db.execute("UPDATE llm_provider_configs SET is_active = FALSE")
        before = await everything(db)
        run_files(psql, database, SEED)
        assert await everything(db) == before


async def test_creating_again_repairs_what_is_missing(psql: Psql, database: str) -> None:
    async with connected(database) as db:
        await db.execute("DROP TRIGGER trg_log_provider_config_change ON llm_provider_configs")
        await db.execute("ALTER TABLE llm_provider_configs DISABLE TRIGGER trg_validate_provider_config")
        await db.execute("DROP TRIGGER trg_vet_provider_key ON llm_provider_configs")
        run_files(psql, database, CREATE, KEYS)
        states = await db.fetch("""
            SELECT tgname, tgenabled FROM pg_trigger
            WHERE tgrelid = 'llm_provider_configs'::regclass AND NOT tgisinternal
        """)
    assert {(row["tgname"], row["tgenabled"]) for row in states} == {
        ("trg_lock_provider_store", b"A"),
        ("trg_ensure_single_active_provider", b"A"),
        ("trg_note_provider_editor", b"A"),
        ("trg_prevent_active_provider_deletion", b"A"),
        ("trg_validate_provider_config", b"A"),
        ("trg_vet_provider_key", b"A"),
        ("trg_log_provider_config_change", b"A"),
        ("trg_refuse_provider_truncate", b"A"),
    }


async def test_rollback_leaves_nothing_and_can_be_repeated(psql: Psql, empty_database: str) -> None:
    async with connected(empty_database) as db:
        await db.execute("CREATE EXTENSION pgcrypto")
        before = await relations(db)
        run_files(psql, empty_database, *FILES)
        await db.execute("CREATE TABLE providerd_migrations (name text)")
        assert await relations(db) > before
        run_files(psql, empty_database, ROLLBACK, ROLLBACK)
        assert await relations(db) == before
        assert await db.fetchval("SELECT count(*) FROM pg_extension WHERE extname = 'pgcrypto'") == 1
        run_files(psql, empty_database, CREATE, SEED)
        assert await active_names(db) == ["groq"]


async def test_pgcrypto_goes_to_the_schema_extensions_where_there_is_one(psql: Psql, empty_database: str) -> None:
    async with connected(empty_database) as db:
        await db.execute("CREATE SCHEMA extensions")
        run_files(psql, empty_database, CREATE, SEED)
        schema = await db.fetchval(
            "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'pgcrypto'"
        )
        assert schema == "extensions"
        await db.execute("""
            UPDATE llm_provider_configs SET api_key_encrypted = extensions.pgp_sym_encrypt('k', 'p')
            WHERE provider_name = 'groq'
        """)
        assert await db.fetchval("SELECT has_api_key FROM get_active_provider()")


async def test_tables_land_in_public_whatever_the_search_path_says(psql: Psql, empty_database: str) -> None:
    async with connected(empty_database) as db:
        await db.execute("CREATE SCHEMA elsewhere")
        done = psql(empty_database, "-c", "SET search_path = elsewhere", "-f", str(CREATE), "-f", str(SEED))
        assert done.returncode == 0, done.stderr
        await db.execute("SET search_path = elsewhere")
        assert await db.fetchval("SELECT public.switch_active_provider('groq', 'x')") is False
        await db.execute("UPDATE public.llm_provider_configs SET display_name = 'x'")
        assert await db.fetchval("SELECT count(*) FROM public.llm_provider_config_history") == 8


@pytest.mark.parametrize("name", SEEDED)
async def test_request_documents_keep_to_the_documented_language(database: str, name: str) -> None:
    async with connected(database) as db:
        document = await db.fetchval(
            "SELECT request_builder_config FROM llm_provider_configs WHERE provider_name = $1", name
        )
    assert set(document) <= {"version", "payload_structure", "model_overrides", "stream"}
    places = set()
    for entry_name, entry in document["payload_structure"].items():
        assert set(entry) <= {"source", "required", "target", "in", "default", "min", "max", "transform"}
        assert entry["source"].startswith("param:")
        assert set(operation_names(entry.get("transform", []))) <= TRANSFORMS
        places.add((entry.get("in", "body"), entry.get("target", entry_name)))
    assert len(places) == len(document["payload_structure"])


@pytest.mark.parametrize("name", SEEDED)
async def test_response_documents_keep_to_the_documented_language(database: str, name: str) -> None:
    async with connected(database) as db:
        document = await db.fetchval(
            "SELECT response_extractor_config FROM llm_provider_configs WHERE provider_name = $1", name
        )
    rules = dict(document["extraction_rules"])
    stream = dict(rules.pop("stream"))
    stream.pop("done", None)
    known = {
        "error", "text_content", "reasoning", "refusal", "tool_calls", "finish_reason", "usage_stats", "model",
    }  # fmt: skip
    assert {"error", "text_content", "tool_calls", "finish_reason", "usage_stats", "model"} <= set(rules) <= known
    assert set(stream) <= set(rules)
    for rule in [*rules.values(), *stream.values()]:
        assert set(rule) <= {"type", "paths", "join", "fields", "map"}
        for field in rule.get("fields", {}).values():
            assert set(field) in ({"paths"}, {"sum"})


async def test_seeds_put_on_the_wire_what_each_vendor_wants(database: str) -> None:
    async with connected(database) as db:
        rows = await db.fetch("SELECT * FROM llm_provider_configs")
    seeds = {row["provider_name"]: row for row in rows}
    request = {name: row["request_builder_config"]["payload_structure"] for name, row in seeds.items()}
    # Groq rejects a field called messages; Gemini has the model in its path.
    assert request["groq"]["messages"]["target"] == "input"
    assert request["google_ai"]["model"]["in"] == "path"
    assert {name: row["base_url"] + row["endpoint_path_template"] for name, row in seeds.items()} == {
        "groq": "https://api.groq.com/openai/v1/responses",
        "openrouter": "https://openrouter.ai/api/v1/chat/completions",
        "google_ai": "https://generativelanguage.googleapis.com/v1beta/models/{model}:generateContent",
        "chatgpt": "https://api.openai.com/v1/chat/completions",
    }
    assert {name: row["auth_header_template"] for name, row in seeds.items()} == {
        "groq": "Authorization: Bearer {api_key}",
        "openrouter": "Authorization: Bearer {api_key}",
        "google_ai": "x-goog-api-key: {api_key}",
        "chatgpt": "Authorization: Bearer {api_key}",
    }


async def test_the_seeds_use_every_documented_operation(database: str) -> None:
    async with connected(database) as db:
        rows = await db.fetch("""
            SELECT jsonb_path_query(request_builder_config, '$.payload_structure.*.transform[*]') AS operation
            FROM llm_provider_configs
        """)
    assert set(operation_names([row["operation"] for row in rows])) == TRANSFORMS


def operation_names(operations: list[Any]) -> list[str]:
    return [operation if isinstance(operation, str) else next(iter(operation)) for operation in operations]
