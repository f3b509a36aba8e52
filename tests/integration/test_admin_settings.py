"""Importing admin_settings.json: what ends up in the database and beside the file, and what does not."""

import importlib.metadata
import json
import re
import stat
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from providerd import Cause, Client
from tests.daemon import running_daemon
from tests.integration.admin_settings import FINGERPRINT, KEY, PASSPHRASE, Importer
from tests.integration.sql import connected, history_since, revision

# Step 3 of the founding document, line by line, without the lines that show characters of the key.
EXPECTED = """\
LLM Provider Configuration Migration
Loading config/admin_settings.json...
✓ Admin settings loaded
Creating backup...
✓ Backup created
Connecting to database...
✓ Connected successfully
Enabling pgcrypto extension...
✓ pgcrypto enabled
Migrating Groq configuration:
  Base URL: https://api.groq.com
  Endpoint: /openai/v1/responses
  Model: openai/gpt-oss-120b
Encrypting API key...
✓ API key encrypted
Updating database...
✓ Updated provider: Groq (ID: 1)
Validating migration...
✓ API key encryption validated
✓ Provider 'groq' active: True
MIGRATION SUMMARY
Total providers: 4
Provider Status:
Provider             Display Name              Active     Enabled
groq                 Groq                      ✓ ACTIVE   ✓
chatgpt              ChatGPT (OpenAI)                     ✗
google_ai            Google AI (Gemini)                   ✗
openrouter           OpenRouter                           ✗
✓ Migration completed successfully!
"""

DECRYPT = (
    "SELECT pgp_sym_decrypt(decode(api_key_encrypted, 'hex'), $2) FROM llm_provider_configs WHERE provider_name=$1"
)


@pytest.fixture
def importer(tmp_path: Path, database: str) -> Importer:
    return Importer(tmp_path, database)


async def stored(db: asyncpg.Connection, name: str = "groq") -> Any:
    return await db.fetchrow("SELECT * FROM llm_provider_configs WHERE provider_name = $1", name)


async def everything(db: asyncpg.Connection) -> list[Any]:
    tables = ("llm_provider_configs", "llm_provider_config_history", "llm_provider_store", "pg_extension")
    return [await db.fetch(f"SELECT * FROM {table} ORDER BY 1") for table in tables]


def test_it_prints_what_the_founding_document_prints_and_a_fingerprint_for_the_key(importer: Importer) -> None:
    said = importer.succeed()
    missing = [line for line in EXPECTED.splitlines() if not re.search(f"^{re.escape(line)}", said, re.MULTILINE)]
    assert missing == []
    assert f"  API Key: {FINGERPRINT} (fingerprint)\n" in said


async def test_the_key_is_stored_encrypted_in_one_revision_that_says_who_and_why(importer: Importer) -> None:
    async with connected(importer.dsn) as db:
        known = await revision(db)
        importer.succeed("--actor", "dana", "--reason", "out of the file")
        assert await db.fetchval(DECRYPT, "groq", PASSPHRASE) == KEY
        assert await history_since(db, known) == [("groq", "key_changed")]
        assert await revision(db) == known + 1
        entry = await db.fetchrow("SELECT changed_by, reason FROM llm_provider_config_history ORDER BY id DESC LIMIT 1")
        assert tuple(entry) == ("dana", "out of the file")


async def test_all_four_columns_change_in_one_revision_and_the_others_stay(importer: Importer) -> None:
    async with connected(importer.dsn) as db:
        await db.execute("""
            UPDATE llm_provider_configs
            SET supported_models = '["openai/gpt-oss-120b", "small"]' WHERE provider_name = 'groq'
        """)
        before, known = await stored(db), await revision(db)
        importer.write({"groq": {"key": KEY, "url": "https://proxy.example", "endpoint": "/v2", "model": "small"}})
        answer = importer.json()
        after = await stored(db)
        assert (after["base_url"], after["endpoint_path_template"], after["default_model"]) == (
            "https://proxy.example", "/v2", "small",
        )  # fmt: skip
        changed = {name for name, value in after.items() if value != before[name]}
        assert changed - {"updated_at", "updated_by", "config_version"} == {
            "api_key_encrypted", "api_key_id", "api_key_mac", "base_url", "endpoint_path_template", "default_model",
        }  # fmt: skip
        assert await revision(db) == known + 1 == answer["revision"]["number"]
        assert answer["changes"] == ["api_key", "base_url", "endpoint_path_template", "default_model"]


def test_the_backup_is_the_file_and_only_its_owner_may_read_it(importer: Importer) -> None:
    importer.write(json.dumps({"groq": {"api_key": KEY}, "other": "ünïcode"}, ensure_ascii=False, indent=3) + "\n\n")
    importer.file.chmod(0o644)
    done = importer()
    [backup] = importer.backups
    assert backup.read_bytes() == importer.file.read_bytes()
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert re.fullmatch(r"admin_settings\.backup_\d{8}T\d{6}\.\d{6}Z\.json", backup.name)
    assert f"✓ Backup created: config/{backup.name}" in done.stdout
    assert done.stderr == (
        "warning: config/admin_settings.json and its backup hold the API key in plain text:"
        " delete both when everything works [PLAINTEXT_KEY]\n"
    )


async def test_a_second_run_changes_nothing_and_says_so(importer: Importer) -> None:
    importer.succeed()
    async with connected(importer.dsn) as db:
        before, backups = await everything(db), importer.backups
        said = importer.succeed()
        assert await everything(db) == before
    assert importer.backups == backups
    assert "✓ Nothing to change: the database has all of this already\n" in said
    assert "✓ API key encryption validated\n" in said
    assert "Creating backup" not in said
    again = importer.json()
    assert (again["changed"], again["changes"], again["backup"]) == (False, [], None)


async def test_a_later_change_keeps_the_ciphertext_of_the_same_key_and_has_a_backup_of_its_own(
    importer: Importer,
) -> None:
    importer.succeed()
    async with connected(importer.dsn) as db:
        before = await stored(db)
        importer.write({"groq": {"api_key": KEY, "endpoint": "/v3"}})
        assert "✓ API key is stored already\n" in importer.succeed()
        after = await stored(db)
    assert after["endpoint_path_template"] == "/v3"
    assert after["api_key_encrypted"] == before["api_key_encrypted"]
    assert len(importer.backups) == 2


async def test_a_dry_run_writes_nothing_and_says_what_would_happen(importer: Importer) -> None:
    async with connected(importer.dsn) as db:
        before = await everything(db)
        importer.write({"groq": {"api_key": KEY, "endpoint": "/v3"}})
        said = importer.succeed("--dry-run")
        answer = importer.json("--dry-run")
        assert await everything(db) == before
    assert importer.backups == []
    assert "  Endpoint: /v3\n" in said
    assert "would back up the file and change api_key, endpoint_path_template\n" in said
    assert answer["changes"] == ["api_key", "endpoint_path_template"]
    assert (answer["dry_run"], answer["backup"]) == (True, None)


async def test_a_missing_pgcrypto_is_created_but_not_by_a_dry_run(importer: Importer) -> None:
    async with connected(importer.dsn) as db:
        await db.execute("DROP EXTENSION pgcrypto")
        before = await everything(db)
        assert "✓ pgcrypto would be enabled\n" in importer.succeed("--dry-run")
        assert await everything(db) == before
        assert "✓ pgcrypto enabled\n" in importer.succeed()
        assert await db.fetchval(DECRYPT, "groq", PASSPHRASE) == KEY


async def test_pgcrypto_goes_where_the_database_keeps_extensions(importer: Importer) -> None:
    async with connected(importer.dsn) as db:
        await db.execute("DROP EXTENSION pgcrypto; CREATE SCHEMA extensions")
        importer.succeed(SUPABASE_DB_URL=f"{importer.dsn}&search_path=public,extensions")
        assert await db.fetchval(
            "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname='pgcrypto'"
        ) == ("extensions")


@pytest.mark.parametrize(
    "document",
    [
        {"api_key": KEY},
        {"groq_api_key": KEY},
        {"GROQ_API_KEY": KEY, "provider": "groq"},
        {"key": KEY, "provider": "Groq"},
        {"groq": {"api_key": KEY}, "api_key": "of somebody else"},
        {"llm": {"api_key": KEY}},
        {"llm_provider": {"api_key": KEY}},
        {"provider": {"api_key": KEY}},
        {"providers": {"groq": {"api_key": KEY}}, "groq": {"api_key": "older"}},
        {"llm": {"provider": "openrouter", "api_key": "of another"}, "groq_api_key": KEY},
        {"groq": {"api_key": "", "key": KEY}},
        {"groq": {"api_key": KEY, "groq_api_key": KEY}},
    ],
    ids=json.dumps,
)
async def test_the_key_is_found_wherever_it_may_be(importer: Importer, document: Any) -> None:
    importer.write(document)
    assert importer.json()["key_fingerprint"] == FINGERPRINT
    async with connected(importer.dsn) as db:
        assert await db.fetchval(DECRYPT, "groq", PASSPHRASE) == KEY


@pytest.mark.parametrize(
    ("column", "names", "value"),
    [
        ("base_url", ["base_url", "api_base", "url"], "https://proxy.example"),
        ("endpoint_path_template", ["endpoint", "endpoint_path", "endpoint_path_template"], "/v9"),
        ("default_model", ["model", "default_model", "model_name"], "openai/gpt-oss-120b"),
    ],
)
async def test_each_field_goes_by_three_names(importer: Importer, column: str, names: list[str], value: str) -> None:
    async with connected(importer.dsn) as db:
        for name in names:
            await db.execute(f"""
                UPDATE llm_provider_configs SET supported_models = NULL, api_key_encrypted = NULL, {column} = '/other'
                WHERE provider_name = 'groq'
            """)
            importer.write({"groq": {"api_key": KEY, name: value}})
            assert column in importer.json()["changes"]
            assert (await stored(db))[column] == value


async def test_another_provider_may_be_filled_though_it_is_not_active(importer: Importer) -> None:
    importer.write({"providers": {"openrouter": {"OPENROUTER_API_KEY": KEY}}})
    assert "✓ Provider 'openrouter' active: False\n" in importer.succeed("--provider", "openrouter")
    async with connected(importer.dsn) as db:
        assert await db.fetchval(DECRYPT, "openrouter", PASSPHRASE) == KEY
        assert (await stored(db))["api_key_encrypted"] is None


async def test_a_key_that_nobody_can_read_any_more_is_replaced(importer: Importer) -> None:
    importer.succeed(DB_ENCRYPTION_KEY="a forgotten one")
    done = importer()
    assert done.returncode == 0
    assert "decrypt" not in done.stderr
    async with connected(importer.dsn) as db:
        assert await db.fetchval(DECRYPT, "groq", PASSPHRASE) == KEY


def test_the_published_passphrase_is_warned_of(importer: Importer) -> None:
    assert "set DB_ENCRYPTION_KEY in production [PUBLISHED_PASSPHRASE]\n" in importer(DB_ENCRYPTION_KEY="").stderr


def test_a_terminal_without_the_characters_gets_others(importer: Importer) -> None:
    assert "\n? Migration completed successfully!\n" in importer.succeed(PYTHONIOENCODING="ascii")


async def test_watchers_of_a_running_daemon_see_the_new_key(importer: Importer) -> None:
    with running_daemon(importer.dsn, DB_ENCRYPTION_KEY=PASSPHRASE) as daemon:
        async with Client(daemon.address, include_credential=True) as client:
            changes = client.changes()
            assert (await anext(changes)).cause is Cause.INITIAL
            answer = importer.json()
            change = await anext(changes)
            assert change.cause is Cause.KEY_CHANGED
            assert client.credential.api_key == KEY
            assert client.revision is not None
            assert client.revision.number == answer["revision"]["number"]


async def test_it_shares_the_embedded_database_of_a_running_daemon(importer: Importer, open_directory: Path) -> None:
    data_dir = str(open_directory / "data")
    with running_daemon("", PROVIDERD_DATA_DIR=data_dir, DB_ENCRYPTION_KEY=PASSPHRASE) as daemon:
        importer.succeed("--data-dir", data_dir, SUPABASE_DB_URL="")
        async with Client(daemon.address, include_credential=True) as client:
            assert client.credential.api_key == KEY
    importer.write({"groq": {"api_key": KEY, "endpoint": "/v3"}})
    assert importer.json(SUPABASE_DB_URL="", PROVIDERD_DATA_DIR=data_dir)["changes"] == ["endpoint_path_template"]


def test_the_program_finds_it_by_its_entry_point() -> None:
    [entry] = importlib.metadata.entry_points(group="providerd.commands", name="import.admin-settings")
    assert entry.load().name == "admin-settings"
