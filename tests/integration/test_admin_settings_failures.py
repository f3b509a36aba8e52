"""Importing admin_settings.json when something is in the way: one line that says what to do, and nothing changed."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.integration.admin_settings import KEY, Importer, without
from tests.integration.serving import free_port
from tests.integration.sql import connected, revision

USAGE, NOT_FOUND, REFUSED, INVALID, UNAVAILABLE, DENIED = 2, 3, 4, 5, 7, 8


@pytest.fixture
def importer(tmp_path: Path, database: str) -> Importer:
    return Importer(tmp_path, database)


@pytest.fixture
def open_socket(database: str) -> Iterator[None]:
    """Lets everybody connect to the test's PostgreSQL; who they are is still asked."""
    [directory] = parse_qs(urlsplit(database).query)["host"]
    [socket] = (each for each in Path(directory).glob(".s.PGSQL.*") if each.is_socket())
    mode = stat.S_IMODE(socket.stat().st_mode)
    socket.chmod(0o777)
    yield
    socket.chmod(mode)


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        (
            f'{{"groq": {{\n  "api_key": "{KEY}" oops',
            INVALID,
            "is not JSON at line 2 column 53: Expecting ',' delimiter",
        ),
        (f'["{KEY}"]', INVALID, "must hold one JSON object"),
        (f'"{KEY}"', INVALID, "must hold one JSON object"),
        ("[" * 100_000, INVALID, "too deep"),
        ("", INVALID, "is not JSON at line 1 column 1"),
        ({"groq": {"model": "openai/gpt-oss-120b"}}, NOT_FOUND, "no API key of groq in config/admin_settings.json"),
        ({"groq": {"api_key": ""}}, NOT_FOUND, "put it there as api_key or groq_api_key"),
        ({"provider": "openrouter", "api_key": KEY}, NOT_FOUND, "no API key of groq"),
        ({"groq": {"api_key": f"{KEY}\n"}}, INVALID, "api_key in config/admin_settings.json must be a string"),
        ({"groq": {"api_key": f"{KEY}é"}}, INVALID, "printable ASCII"),
        ({"groq": {"api_key": f"{KEY}\ud800"}}, INVALID, "printable ASCII"),
        ({"groq": {"api_key": [KEY]}}, INVALID, "must be a string"),
        ({"groq": {"api_key": f" {KEY}"}}, INVALID, "the API key must be printable ASCII without surrounding white"),
        ({"groq": {"api_key": KEY, "key": "another"}}, INVALID, "different things in api_key and key: keep one"),
        ({"groq": {"api_key": KEY, "url": "ftp://x", "endpoint": "x"}}, INVALID, "endpoint_path_template must start"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_file_that_cannot_be_used(importer: Importer, content: Any, code: int, says: str) -> None:
    importer.write(content)
    async with connected(importer.dsn) as db:
        known = await revision(db)
        failed, line = importer.fail()
        assert await revision(db) == known
    assert (failed, says in line) == (code, True), line


def test_every_field_at_fault_is_named_at_once(importer: Importer) -> None:
    importer.write({"groq": {"api_key": KEY, "url": "ftp://x", "endpoint": "x"}})
    line = importer.fail()[1]
    assert line.startswith("config/admin_settings.json is refused: ")
    assert "base_url must" in line
    assert "; endpoint_path_template must" in line


def test_text_that_is_not_utf8(importer: Importer) -> None:
    importer.file.write_bytes(b'{"groq": "\xff"}')
    assert importer.fail() == (INVALID, "config/admin_settings.json is not UTF-8 at byte 10: save it as UTF-8")


def test_no_file(importer: Importer) -> None:
    code, line = importer.fail("elsewhere.json")
    assert (code, line.split(":")[0]) == (USAGE, "elsewhere.json is not there")


def test_a_directory_is_no_file(importer: Importer) -> None:
    assert importer.fail("config") == (USAGE, "config cannot be read: Is a directory")


def test_a_file_that_may_not_be_read(importer: Importer) -> None:
    importer.file.chmod(0)
    assert importer.fail(before=without("dac_override", "dac_read_search")) == (
        USAGE,
        "config/admin_settings.json cannot be read: Permission denied",
    )


async def test_without_a_backup_nothing_is_imported(importer: Importer, open_socket: None) -> None:
    importer.config.chmod(0o500)
    async with connected(importer.dsn) as db:
        known = await revision(db)
        code, line = importer.fail(before=without("dac_override"))
        assert await revision(db) == known
    assert code == REFUSED
    assert line.startswith("the backup cannot be written to config: Permission denied; nothing was imported")


def test_no_database_answers(importer: Importer) -> None:
    url = f"postgresql://somebody:hidden-word@127.0.0.1:{free_port()}/db"
    code, line = importer.fail(SUPABASE_DB_URL=url)
    assert code == UNAVAILABLE
    assert line.startswith("cannot connect to the database: ")
    assert "check SUPABASE_DB_URL" in line
    assert "hidden-word" not in line


@pytest.mark.parametrize("url", ["postgresql://me:hidden/word@127.0.0.1:5432/db", "postgresql://h/db?sslmode=hidden"])
def test_a_url_that_cannot_be_read_is_not_repeated(importer: Importer, url: str) -> None:
    code, line = importer.fail(SUPABASE_DB_URL=url)
    assert code == USAGE
    assert "SUPABASE_DB_URL" in line
    assert "hidden" not in line


def test_no_database_is_made_up(importer: Importer, tmp_path: Path) -> None:
    nowhere = tmp_path / "data"
    code, line = importer.fail("--data-dir", str(nowhere), SUPABASE_DB_URL="")
    assert (code, nowhere.exists()) == (USAGE, False)
    assert line.startswith(f"no database is configured, and there is no embedded one in {nowhere}: set SUPABASE_DB_URL")


def test_no_schema(tmp_path: Path, empty_database: str) -> None:
    code, line = Importer(tmp_path, empty_database).fail()
    assert code == REFUSED
    assert line.startswith("missing table llm_provider_configs")
    assert "run `providerd migrate up`" in line


async def test_no_such_provider(importer: Importer) -> None:
    async with connected(importer.dsn) as db:
        await db.execute("UPDATE llm_provider_configs SET is_active = FALSE")
        await db.execute("DELETE FROM llm_provider_configs")
    code, line = importer.fail()
    assert code == NOT_FOUND
    assert line.startswith("provider 'groq' not found: run migration 002 first, with `providerd migrate up`")


async def test_an_account_that_may_not_read(importer: Importer) -> None:
    async with connected(importer.dsn) as db:
        role = await limited_role(db)
        code, line = importer.fail(SUPABASE_DB_URL=f"{importer.dsn}&role={role}")
        await db.execute(f"DROP ROLE {role}")
    assert code == DENIED
    assert line.startswith("the database refused: permission denied for table llm_provider_configs")


async def test_an_account_that_may_not_create_pgcrypto(importer: Importer) -> None:
    async with connected(importer.dsn) as db:
        role = await limited_role(db)
        await db.execute(f"""
            DROP EXTENSION pgcrypto;
            GRANT ALL ON ALL TABLES IN SCHEMA public TO {role};
            GRANT ALL ON ALL FUNCTIONS IN SCHEMA public TO {role};
        """)
        for arguments in (["--dry-run"], []):
            code, line = importer.fail(*arguments, SUPABASE_DB_URL=f"{importer.dsn}&role={role}")
            assert code == REFUSED
            assert line == (
                "pgcrypto is missing and cannot be created here:"
                " have the owner of the database run CREATE EXTENSION pgcrypto"
            )
        await db.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_pgcrypto_where_nobody_looks(importer: Importer) -> None:
    async with connected(importer.dsn) as db:
        await db.execute("CREATE SCHEMA aside; ALTER EXTENSION pgcrypto SET SCHEMA aside")
    code, line = importer.fail()
    assert code == REFUSED
    assert line.startswith("pgcrypto is in a schema outside the search_path")


def test_json_output_stays_clean(importer: Importer) -> None:
    done = importer("--json", "elsewhere.json")
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert json.loads(importer("--json").stdout)["changed"] is True


async def limited_role(db: Any) -> str:
    """An account of this database alone, with the rights of nobody in particular."""
    role = f"limited_{await db.fetchval('SELECT current_database()')}"
    await db.execute(f"CREATE ROLE {role} BYPASSRLS")
    return role
