"""The migration runner, on the project's own files and on small ones made for a case."""

import asyncio
import hashlib
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from providerd_server import migrate
from providerd_server.embedded import EmbeddedPostgres
from providerd_server.migrate import MigrationError

OBJECTS = """
SELECT 'relation ' || relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
UNION ALL
SELECT 'function ' || p.oid::regprocedure FROM pg_proc p
WHERE pronamespace = 'public'::regnamespace
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
UNION ALL
SELECT 'type ' || typname FROM pg_type WHERE typnamespace = 'public'::regnamespace
"""

Psql = Callable[..., subprocess.CompletedProcess[str]]
Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Replaces the project's files by others; each call names some more."""
    monkeypatch.setattr(migrate, "migration_directory", lambda: tmp_path)

    def add(**files: str) -> None:
        for name, sql in files.items():
            (tmp_path / f"{name.removeprefix('m')}.sql").write_text(sql)

    add(m999_rollback="BEGIN;\nDROP TABLE IF EXISTS a, b;\nCOMMIT;\n")
    return add


def project_files() -> dict[str, bytes]:
    files = (Path(migrate.__file__).parents[2] / "migrations").glob("[0-9]*.sql")
    return {file.name: file.read_bytes() for file in files if not file.name.startswith("999")}


@asynccontextmanager
async def connect(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def fetch(dsn: str, sql: str) -> list[object]:
    async with connect(dsn) as connection:
        return [row[0] for row in await connection.fetch(sql)]


async def ledger(dsn: str) -> list[tuple[object, ...]]:
    async with connect(dsn) as connection:
        rows = await connection.fetch("SELECT version, name, checksum FROM providerd_migrations ORDER BY applied_at")
    return [tuple(row) for row in rows]


async def test_all_files_run_in_order_and_are_recorded(empty_database: str) -> None:
    applied = await migrate.up(empty_database)

    contents = project_files()
    assert [one.name for one in applied] == sorted(contents)
    assert "001_create_llm_provider_configs.sql" in contents
    assert await ledger(empty_database) == [
        (int(name[:3]), name, hashlib.sha256(content).hexdigest()) for name, content in sorted(contents.items())
    ]
    assert all(one.applied_at is not None and one.applied_at.tzinfo is not None for one in applied)


async def test_a_second_run_does_nothing(empty_database: str) -> None:
    await migrate.up(empty_database)
    before = await ledger(empty_database)
    assert await migrate.up(empty_database) == []
    assert await ledger(empty_database) == before


async def test_a_given_connection_is_used_and_left_open(empty_database: str) -> None:
    async with connect(empty_database) as connection:
        assert await migrate.up(connection)
        assert await connection.fetchval("SELECT count(*) FROM providerd_migrations") == len(
            await migrate.status(connection)
        )


async def test_a_database_set_up_by_hand_is_taken_over(empty_database: str, psql: Psql) -> None:
    for one in migrate.migration_files():
        done = psql(empty_database, input=one.sql)
        assert done.returncode == 0, done.stderr
    before = await fetch(empty_database, "SELECT id FROM llm_provider_configs ORDER BY id")
    assert await migrate.up(empty_database) == await migrate.status(empty_database) != []
    assert await fetch(empty_database, "SELECT id FROM llm_provider_configs ORDER BY id") == before


async def test_runners_at_the_same_time_apply_each_file_once(empty_database: str) -> None:
    runs = await asyncio.gather(*(migrate.up(empty_database) for _ in range(5)))
    applied = sorted(one.name for run in runs for one in run)
    assert applied == [one.name for one in migrate.migration_files()]


async def test_a_runner_waits_for_the_other(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT", "100ms")
    async with connect(empty_database) as other, other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock($1)", migrate.LOCK_KEY)
        with pytest.raises(MigrationError, match="another migration or a long transaction: try again"):
            await migrate.up(empty_database)
    assert await migrate.up(empty_database)


async def test_status_before_and_after_changes_nothing(empty_database: str) -> None:
    before = await migrate.status(empty_database)
    assert [one.applied_at for one in before] == [None] * len(migrate.migration_files())
    assert await fetch(empty_database, "SELECT to_regclass('providerd_migrations')") == [None]
    await migrate.up(empty_database)
    assert all(one.applied_at is not None for one in await migrate.status(empty_database))


async def test_status_shows_what_is_pending(empty_database: str, write: Write) -> None:
    write(m001_a="CREATE TABLE a ();")
    await migrate.up(empty_database)
    write(m002_b="CREATE TABLE b ();")
    assert [(one.name, one.applied_at is None) for one in await migrate.status(empty_database)] == [
        ("001_a.sql", False),
        ("002_b.sql", True),
    ]
    assert [one.name for one in await migrate.up(empty_database)] == ["002_b.sql"]


@pytest.mark.parametrize("command", [migrate.up, migrate.status])
async def test_an_edited_file_is_an_error(empty_database: str, write: Write, command: Callable[..., object]) -> None:
    old, new = "CREATE TABLE a ();", "CREATE TABLE IF NOT EXISTS a ();"
    write(m001_a=old)
    await migrate.up(empty_database)
    write(m001_a=new, m002_b="CREATE TABLE b ();")
    with pytest.raises(MigrationError, match=r"001_a\.sql was edited .*restore it, and put the change") as caught:
        await command(empty_database)  # type: ignore[misc]
    for sql in (old, new):
        assert hashlib.sha256(sql.encode()).hexdigest()[:12] in str(caught.value)
    assert await fetch(empty_database, "SELECT to_regclass('b')") == [None]


async def test_an_applied_file_that_is_missing_is_an_error(empty_database: str, write: Write, tmp_path: Path) -> None:
    write(m001_a="CREATE TABLE a ();", m002_b="CREATE TABLE b ();")
    await migrate.up(empty_database)
    (tmp_path / "002_b.sql").unlink()
    with pytest.raises(MigrationError, match=r"002_b\.sql was applied .* missing here: use a release"):
        await migrate.up(empty_database)


async def test_a_file_that_fails_leaves_no_trace(empty_database: str, write: Write) -> None:
    write(
        m001_a="BEGIN;\nCREATE TABLE a ();\nCOMMIT;\n",
        # Unless its COMMIT is taken out, it is there to stay.
        m002_b="BEGIN;\nCREATE TABLE b ();\nCOMMIT;\nSELECT 1 / 0;\n",
    )
    with pytest.raises(MigrationError, match=r"002_b\.sql failed and was undone: division by zero"):
        await migrate.up(empty_database)
    assert await fetch(empty_database, "SELECT to_regclass('b')") == [None]
    assert [row[1] for row in await ledger(empty_database)] == ["001_a.sql"]


async def test_only_lines_of_their_own_are_taken_out(empty_database: str, write: Write) -> None:
    body = "BEGIN\n  PERFORM 1; -- COMMIT;\n  RETURN 'BEGIN;';\nEND"
    write(m001_a=f"BEGIN;\nCREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $$\n{body}\n$$;\nCOMMIT;\n")
    await migrate.up(empty_database)
    assert await fetch(empty_database, "SELECT f()") == ["BEGIN;"]
    (source,) = await fetch(empty_database, "SELECT prosrc FROM pg_proc WHERE proname = 'f'")
    assert str(source).strip() == body


async def test_rollback_drops_everything_and_up_starts_over(empty_database: str) -> None:
    before = await fetch(empty_database, OBJECTS)
    await migrate.up(empty_database)
    assert len(await fetch(empty_database, OBJECTS)) > len(before)
    await migrate.rollback(empty_database)
    assert await fetch(empty_database, OBJECTS) == before
    assert await migrate.up(empty_database)


async def test_a_rollback_that_fails_drops_nothing(empty_database: str, write: Write) -> None:
    write(m001_a="CREATE TABLE a ();", m999_rollback="BEGIN;\nDROP TABLE a;\nCOMMIT;\nDROP TABLE no_such_table;\n")
    await migrate.up(empty_database)
    with pytest.raises(MigrationError, match=r"999_rollback\.sql failed and was undone"):
        await migrate.rollback(empty_database)
    assert [one.applied_at is None for one in await migrate.status(empty_database)] == [False]
    assert await fetch(empty_database, "SELECT count(*) FROM a") == [0]


async def test_the_ledger_is_closed_to_everyone_else(empty_database: str, psql: Psql) -> None:
    grants = "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO PUBLIC"
    assert psql(empty_database, "-c", grants).returncode == 0
    await migrate.up(empty_database)
    rows = await fetch(
        empty_database,
        "SELECT grantee FROM information_schema.table_privileges WHERE table_name = 'providerd_migrations'",
    )
    assert set(rows) == {"providerd"}
    assert await fetch(
        empty_database, "SELECT relrowsecurity FROM pg_class WHERE relname = 'providerd_migrations'"
    ) == [True]


async def test_the_ledger_is_closed_to_the_roles_of_supabase(empty_database: str, psql: Psql) -> None:
    setup = "CREATE ROLE anon; ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO anon"
    assert psql(empty_database, "-c", setup).returncode == 0
    try:
        await migrate.up(empty_database)
        assert await fetch(empty_database, "SELECT has_table_privilege('anon', 'providerd_migrations', 'SELECT')") == [
            False
        ]
    finally:
        assert psql(empty_database, "-c", "DROP OWNED BY anon; DROP ROLE anon").returncode == 0


@pytest.mark.parametrize(
    ("dsn", "reason"),
    [
        ("postgresql://me:hunter2@127.0.0.1:1/db", "cannot connect to the database"),
        ("postgresql://me:hunter2/@b@127.0.0.1:port/db", "cannot be read: write special characters"),
        ("postgresql://me:hunter2@/db?host=/nowhere", "cannot connect to the database"),
    ],
)
async def test_a_database_out_of_reach(dsn: str, reason: str) -> None:
    with pytest.raises(MigrationError, match=reason) as caught:
        await migrate.up(dsn)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_database_that_does_not_exist(cluster: EmbeddedPostgres) -> None:
    with pytest.raises(MigrationError, match='cannot connect to the database: database "nope" does not exist'):
        await migrate.status(cluster.dsn("nope"))


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"m001_a": "", "m001_b": ""}, "001_[ab].sql and 001_[ab].sql have one number"),
        ({}, "the migration files are not in .*: install providerd again"),
    ],
)
async def test_files_that_make_no_sense(empty_database: str, write: Write, files: dict[str, str], reason: str) -> None:
    write(**files)
    with pytest.raises(MigrationError, match=reason):
        await migrate.up(empty_database)


def test_the_files_of_a_checkout_and_of_a_wheel_are_found(tmp_path: Path) -> None:
    checkout = Path(migrate.__file__).parents[2]
    assert Path(str(migrate.migration_directory())) == checkout / "migrations"

    # As pip lays a wheel out, see force-include in pyproject.toml.
    wheel = tmp_path / "providerd_server"
    shutil.copytree(checkout / "server" / "providerd_server", wheel)
    shutil.copytree(checkout / "migrations", wheel / "migrations")
    script = (
        "from providerd_server import migrate; print(migrate.migration_directory(), len(migrate.migration_files()))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"{wheel / 'migrations'} {len(migrate.migration_files())}\n"


LOSES_TWO_DEADLOCKS = """
CREATE TABLE made ();
DO $$ BEGIN
    IF nextval('attempts') < 3 THEN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END IF;
END $$;
"""


async def test_a_migration_that_lost_a_deadlock_is_tried_again(empty_database: str, write: Write) -> None:
    async with connect(empty_database) as connection:
        await connection.execute("CREATE SEQUENCE attempts")  # which no rollback takes back
    write(m001_first=LOSES_TWO_DEADLOCKS)
    assert [each.name for each in await migrate.up(empty_database)] == ["001_first.sql"]
    assert await fetch(empty_database, "SELECT nextval('attempts')") == [4]


async def test_one_that_always_loses_is_given_up(
    empty_database: str, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "_ATTEMPTS", 2)
    async with connect(empty_database) as connection:
        await connection.execute("CREATE SEQUENCE attempts")
    write(m001_first=LOSES_TWO_DEADLOCKS)
    with pytest.raises(MigrationError, match="failed and was undone: deadlock detected"):
        await migrate.up(empty_database)
