"""What a started EmbeddedPostgres promises: durable, private, alone on its data directory."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from providerd_server.embedded import EmbeddedError, EmbeddedPostgres
from providerd_server.embedded.postmaster import LOG_LIMIT


@pytest.fixture(scope="module")
def postgres(cluster: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    """One with nothing but defaults, and a secret in the environment of its owner."""
    beside = data_dir(cluster).with_name("defaults")  # a place that is open to every account
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DB_ENCRYPTION_KEY", "secret-of-the-daemon")
        with EmbeddedPostgres(beside) as started:
            yield started


def data_dir(postgres: EmbeddedPostgres) -> Path:
    return postgres.binaries.parents[1]


def open_files(process: Path) -> set[str]:
    return {str(fd.readlink()) for fd in (process / "fd").iterdir()}


async def setting(dsn: str, name: str) -> str:
    connection = await asyncpg.connect(dsn)
    try:
        return str(await connection.fetchval("SELECT current_setting($1)", name))
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("data_checksums", "on"),
        ("listen_addresses", ""),
        ("server_encoding", "UTF8"),
        ("shared_buffers", "32MB"),
    ],
)
async def test_settings(postgres: EmbeddedPostgres, name: str, value: str) -> None:
    assert await setting(postgres.dsn(), name) == value


async def test_durability_cannot_be_switched_off_for_the_next_start(open_directory: Path) -> None:
    postgres = EmbeddedPostgres(open_directory / "data")
    with postgres:
        connection = await asyncpg.connect(postgres.dsn())
        await connection.execute("ALTER SYSTEM SET fsync = off")
        await connection.close()
    with postgres:
        assert await setting(postgres.dsn(), "fsync") == "on"


async def test_database_is_made_for_unicode_without_a_locale_of_the_system(postgres: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(postgres.dsn())
    row = await connection.fetchrow(
        "SELECT datname, datlocprovider, datlocale FROM pg_database WHERE datname = current_database()"
    )
    await connection.close()
    assert tuple(row) == ("providerd", b"b", "C.UTF-8")


def test_no_tcp_socket(postgres: EmbeddedPostgres) -> None:
    process = Path(f"/proc/{postgres.pid}")
    sockets = {target for target in open_files(process) if target.startswith("socket:")}
    assert sockets  # the unix socket at least
    tables = [(process / "net" / name).read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    tcp = {f"socket:[{line.split()[9]}]" for table in tables for line in table}
    assert not sockets & tcp


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("cluster", 0o700),
        ("run", 0o700),
        ("run/.s.PGSQL.5432", 0o700),
        ("postgres.log", 0o600),
        ("lock", 0o600),
        ("postgresql-*/bin", 0o755),
    ],
)
def test_modes(postgres: EmbeddedPostgres, name: str, mode: int) -> None:
    (path,) = data_dir(postgres).glob(name)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_the_lock_and_the_environment_do_not_reach_postgres(postgres: EmbeddedPostgres) -> None:
    process = Path(f"/proc/{postgres.pid}")
    assert str(data_dir(postgres) / "lock") not in open_files(process)
    environment = (process / "environ").read_bytes()
    assert b"LD_LIBRARY_PATH" in environment
    assert b"secret-of-the-daemon" not in environment


def test_ctrl_c_of_the_terminal_does_not_reach_postgres(postgres: EmbeddedPostgres) -> None:
    assert postgres.pid is not None
    assert os.getsid(postgres.pid) == postgres.pid


async def test_a_failed_statement_is_not_logged(postgres: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(postgres.dsn())
    with pytest.raises(asyncpg.InvalidTextRepresentationError, match="key-of-a-customer"):
        await connection.execute("SELECT 'key-of-a-customer'::integer")
    await connection.close()
    log = (data_dir(postgres) / "postgres.log").read_text()
    assert "ready to accept connections" in log
    assert "key-of-a-customer" not in log


def test_psql_and_asyncpg_take_the_url_whatever_the_environment_says(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = subprocess.run(
        [postgres.binaries / "psql", "-XAt", "-d", postgres.dsn(), "-c", "SELECT current_user"],
        env={**postgres.environment, "PGPORT": "1", "PGUSER": "someone", "PGHOST": "nowhere"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "providerd\n"


def test_a_second_one_is_refused_in_this_process_and_in_another(postgres: EmbeddedPostgres) -> None:
    refusal = f"data directory {data_dir(postgres)} is in use by process {os.getpid()}"
    with pytest.raises(EmbeddedError, match=refusal):
        EmbeddedPostgres(data_dir(postgres)).start()
    script = (
        "import sys, pathlib; from providerd_server.embedded import EmbeddedPostgres;"
        "EmbeddedPostgres(pathlib.Path(sys.argv[1])).start()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, data_dir(postgres)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert refusal in done.stderr


async def test_the_refused_second_one_leaves_the_first_running(postgres: EmbeddedPostgres) -> None:
    before = postgres.pid
    with pytest.raises(EmbeddedError), EmbeddedPostgres(data_dir(postgres)):
        pass
    assert postgres.pid == before
    assert await setting(postgres.dsn(), "cluster_name") == "providerd"


def test_start_twice_is_refused(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(EmbeddedError, match="has been started already"):
        postgres.start()


def test_nothing_is_known_before_the_start(open_directory: Path) -> None:
    postgres = EmbeddedPostgres(open_directory / "data")
    with pytest.raises(EmbeddedError, match="call start"):
        postgres.dsn()
    assert postgres.pid is None
    postgres.stop()


def test_stop_ends_the_process_and_gives_the_directory_back(open_directory: Path) -> None:
    postgres = EmbeddedPostgres(open_directory / "data")
    postgres.start()
    pid = postgres.pid
    postgres.stop()
    postgres.stop()
    assert postgres.pid is None
    assert not Path(f"/proc/{pid}").exists()
    with EmbeddedPostgres(open_directory / "data") as again:
        assert again.pid != pid


async def test_a_setting_that_postgres_refuses(open_directory: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"(?s)postgres ended .*postgres\.log: .*shared_buffers") as caught:
        EmbeddedPostgres(open_directory / "data", settings={"shared_buffers": "plenty"}).start()
    assert "\n" not in str(caught.value)
    with EmbeddedPostgres(open_directory / "data", settings={"shared_buffers": "16MB"}) as postgres:
        assert await setting(postgres.dsn(), "shared_buffers") == "16MB"


def test_a_large_log_is_put_aside_once(open_directory: Path) -> None:
    log = open_directory / "data" / "postgres.log"
    with EmbeddedPostgres(open_directory / "data"):
        pass
    os.truncate(log, LOG_LIMIT + 1)
    with EmbeddedPostgres(open_directory / "data"):
        assert log.stat().st_size < LOG_LIMIT
        assert log.with_name("postgres.log.1").stat().st_size == LOG_LIMIT + 1
