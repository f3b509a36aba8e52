"""The founding document from an empty database to its last chapter, each step by SQL and by the command line.

The SQL is as printed there; tests/integration/test_seed_examples.py holds every example on its own.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli import MINIMAL, Cli
from tests.conftest import Psql
from tests.daemon import PROVIDERD, clean_environment, running_daemon

ROOT = Path(__file__).parents[2]
PASSPHRASE = "encryption-passphrase"
KEY = "gsk_canary-of-the-founding-document"


class Both:
    """The database of one daemon, by SQL and by the command line."""

    def __init__(self, cli: Cli, psql: Psql, dsn: str) -> None:
        self.cli = cli
        self.psql = psql
        self.dsn = dsn

    def sql(self, statement: str) -> list[str]:
        done = self.psql(self.dsn, "-c", statement)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def sql_error(self, statement: str) -> str:
        done = self.psql(self.dsn, "-c", statement)
        assert done.returncode != 0
        return done.stderr

    def cli_error(self, *arguments: str, code: int, stdin: str = "") -> str:
        done = self.cli(*arguments, stdin=stdin)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    def active(self) -> str:
        """Who is active, agreed on by the database and the daemon."""
        (by_sql,) = self.sql("SELECT provider_name FROM llm_provider_configs WHERE is_active = TRUE")
        by_cli = self.cli.json("get")["provider"]["provider_name"]
        assert by_sql == by_cli
        return str(by_sql)


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**clean_environment(), **env}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert KEY not in done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def installed(empty_database: str, psql: Psql, tmp_path: Path) -> Iterator[Both]:
    """Steps 1 to 3, and a daemon over what they leave."""
    # Steps 1 and 2 with psql, as printed; the rest of the schema with the migration runner, which takes over.
    for name in ("001_create_llm_provider_configs.sql", "002_seed_initial_providers.sql"):
        done = psql(empty_database, "-f", str(ROOT / "migrations" / name))
        assert done.returncode == 0, done.stderr
    database = {"SUPABASE_DB_URL": empty_database, "DB_ENCRYPTION_KEY": PASSPHRASE}
    run(PROVIDERD, "migrate", "up", cwd=tmp_path, **database)
    assert "pending" not in run(PROVIDERD, "migrate", "status", cwd=tmp_path, **database)
    table = psql(
        empty_database, "-c", "SELECT provider_name, is_active, is_enabled FROM llm_provider_configs ORDER BY is_active"
    )
    assert sorted(table.stdout.split()) == ["chatgpt|f|f", "google_ai|f|f", "groq|t|t", "openrouter|f|f"]

    # Step 3, by the script and again by the command, which finds nothing left to do.
    settings = tmp_path / "config" / "admin_settings.json"
    settings.parent.mkdir()
    settings.write_text(json.dumps({"groq": {"api_key": KEY, "model": "openai/gpt-oss-120b"}}))
    script = ROOT / "scripts" / "migrate_admin_settings_to_db.py"
    printed = run(sys.executable, script, cwd=tmp_path, **database)
    for line in (
        "LLM Provider Configuration Migration",
        "Loading config/admin_settings.json...",
        "✓ Admin settings loaded",
        "✓ Backup created",
        "✓ Connected successfully",
        "✓ API key encrypted",
        "✓ Updated provider: Groq (ID: 1)",
        "✓ API key encryption validated",
        "✓ Provider 'groq' active: True",
        "Total providers: 4",
        "✓ Migration completed successfully!",
    ):
        assert line in printed, line
    (backup,) = settings.parent.glob("admin_settings.backup_*.json")
    assert backup.stat().st_mode & 0o777 == 0o600
    before = psql(empty_database, "-c", "SELECT revision FROM llm_provider_store").stdout
    run(PROVIDERD, "import", "admin-settings", cwd=tmp_path, **database)
    assert psql(empty_database, "-c", "SELECT revision FROM llm_provider_store").stdout == before

    # The founding document knows one account, the owner.
    with running_daemon(empty_database, role=None, DB_ENCRYPTION_KEY=PASSPHRASE) as daemon:
        yield Both(Cli(daemon, psql, empty_database), psql, empty_database)
        daemon.stop()
        assert KEY not in daemon.log.read_text()


def test_the_founding_document_from_the_first_step_to_the_last(installed: Both) -> None:
    both, cli = installed, installed.cli
    _query_and_switch(both)
    _configure_a_new_provider(both)
    _audit(both)
    _testing(both)
    _troubleshooting(both)
    assert cli("status").returncode == 0
    _roll_back(both)


def _query_and_switch(both: Both) -> None:
    assert both.sql("SELECT provider_name FROM get_active_provider()") == ["groq"]
    assert both.active() == "groq"
    # Decrypt API Key (for validation only)
    decrypted = both.sql(
        f"SELECT pgp_sym_decrypt(decode(api_key_encrypted, 'hex'), '{PASSPHRASE}') AS decrypted_key"
        " FROM llm_provider_configs WHERE provider_name = 'groq'"
    )
    assert decrypted == [KEY]
    assert both.cli.json("get", "--credential")["credential"]["api_key"] == KEY
    disabled = "Provider openrouter is disabled"
    assert disabled in both.sql_error("SELECT switch_active_provider('openrouter', 'admin_user')")
    assert disabled in both.cli_error("switch", "openrouter", code=4)


def _configure_a_new_provider(both: Both) -> None:
    # By SQL: the key, enabled, active.
    both.sql(
        f"UPDATE llm_provider_configs SET api_key_encrypted = pgp_sym_encrypt('your-api-key', '{PASSPHRASE}'),"
        " updated_at = NOW(), updated_by = 'admin' WHERE provider_name = 'openrouter'"
    )
    both.sql(
        "UPDATE llm_provider_configs SET is_enabled = TRUE, updated_at = NOW(), updated_by = 'admin'"
        " WHERE provider_name = 'openrouter'"
    )
    both.sql("SELECT switch_active_provider('openrouter', 'admin')")
    assert both.active() == "openrouter"
    assert both.cli.json("get", "--credential")["credential"]["api_key"] == "your-api-key"
    # By the command line, for the next one.
    assert both.cli("set-key", "google_ai", stdin="another-api-key\n").returncode == 0
    assert both.cli("enable", "google_ai").returncode == 0
    assert both.cli("switch", "google_ai").returncode == 0
    assert both.active() == "google_ai"
    # And back.
    both.sql("SELECT switch_active_provider('groq', 'admin_user')")
    assert both.active() == "groq"


def _audit(both: Both) -> None:
    by_sql = both.sql(
        "SELECT p.provider_name, h.action, h.changed_by FROM llm_provider_config_history h"
        " JOIN llm_provider_configs p ON h.provider_id = p.id ORDER BY h.changed_at DESC, h.id DESC"
    )
    by_cli = [
        f"{entry['provider_name']}|{entry['action']}|{entry['actor']}" for entry in both.cli.json("history", "--all")
    ]
    assert by_cli == by_sql
    one = both.sql(
        "SELECT action FROM llm_provider_config_history WHERE provider_id ="
        " (SELECT id FROM llm_provider_configs WHERE provider_name = 'groq') ORDER BY changed_at DESC, id DESC"
    )
    assert [entry["action"] for entry in both.cli.json("history", "groq", "--all")] == one
    assert {"created", "key_changed", "deactivated", "activated"} <= set(one)


def _testing(both: Both) -> None:
    tables = both.sql(
        "SELECT tablename FROM pg_tables WHERE tablename IN ('llm_provider_configs', 'llm_provider_config_history')"
    )
    assert len(tables) == 2
    assert {"get_active_provider", "switch_active_provider"} <= set(
        both.sql("SELECT proname FROM pg_proc WHERE proname LIKE '%provider%'")
    )
    assert {
        "trg_validate_provider_config",
        "trg_log_provider_config_change",
        "trg_prevent_active_provider_deletion",
        "trg_ensure_single_active_provider",
    } <= set(both.sql("SELECT tgname FROM pg_trigger WHERE tgrelid = 'llm_provider_configs'::regclass"))
    both.sql("SELECT switch_active_provider('groq', 'test_user')")
    assert both.sql("SELECT COUNT(*) FROM llm_provider_configs WHERE is_active = TRUE") == ["1"]
    insert = (
        "INSERT INTO llm_provider_configs (provider_name, display_name, base_url, endpoint_path_template,"
        " default_model, request_builder_config, response_extractor_config) VALUES ('test_provider', 'Test', 'https://api.test.com',"
        " '/v1/test', 'test-model', '{}'::jsonb, '{}'::jsonb)"
    )
    message = 'request_builder_config must contain "version" field'
    assert message in both.sql_error(insert)
    wrong = {"provider_name": "test_provider", **MINIMAL, "request_builder_config": {"payload_structure": {}}}
    assert message in both.cli_error("upsert", "-f", "-", code=5, stdin=json.dumps(wrong))
    both.sql("UPDATE llm_provider_configs SET is_active = TRUE WHERE provider_name = 'openrouter'")
    assert both.active() == "openrouter"
    both.sql("UPDATE llm_provider_configs SET is_active = TRUE WHERE provider_name = 'groq'")
    assert both.active() == "groq"


def _troubleshooting(both: Both) -> None:
    both.sql("CREATE EXTENSION IF NOT EXISTS pgcrypto")
    assert "Cannot delete active provider" in both.sql_error(
        "DELETE FROM llm_provider_configs WHERE provider_name = 'groq'"
    )
    assert "PROVIDER_ACTIVE" in both.cli_error("delete", "groq", "--yes", code=4)
    for delete in (_delete_by_sql, _delete_by_cli):
        both.cli.create("old_provider")
        both.cli.json("switch", "old_provider")
        both.sql("SELECT switch_active_provider('groq', 'admin')")
        delete(both)
        assert both.sql("SELECT count(*) FROM llm_provider_configs WHERE provider_name = 'old_provider'") == ["0"]
        assert "PROVIDER_NOT_FOUND" in both.cli_error("show", "old_provider", code=3)
    assert both.sql("SELECT version()")[0].startswith("PostgreSQL")


def _delete_by_sql(both: Both) -> None:
    both.sql("DELETE FROM llm_provider_configs WHERE provider_name = 'old_provider'")


def _delete_by_cli(both: Both) -> None:
    assert both.cli("delete", "old_provider", "--yes").returncode == 0


def _roll_back(both: Both) -> None:
    # One provider, by the command line; then everything, by the file.
    first: dict[str, Any] = both.cli.json("show", "groq")
    both.cli.json("upsert", "-f", "-", stdin=json.dumps({"provider_name": "groq", "description": "spoilt"}))
    revision = both.cli.json("history", "groq", "--limit", "1")[0]["revision"]
    number = revision["number"] if isinstance(revision, dict) else revision
    assert both.cli("rollback", "groq", str(number - 1), "--yes", "--reason", "undo").returncode == 0
    again = both.cli.json("show", "groq")
    shown, was = again.get("provider", again), first.get("provider", first)
    assert shown.get("description") == was.get("description")
    assert both.cli.json("get", "--credential")["credential"]["api_key"] == KEY
    done = both.psql(both.dsn, "-f", str(ROOT / "migrations" / "999_rollback_llm_provider_configs.sql"))
    assert done.returncode == 0, done.stderr
    assert both.sql("SELECT tablename FROM pg_tables WHERE tablename LIKE 'llm_provider%'") == []
