"""Fixtures every test may use. Databases are real: one cluster per run, one clone of a template per test.

Tests use them as their owner. The daemons of tests do not: see ``tests.daemon.DAEMON_ROLE``.
"""

import asyncio
import itertools
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from providerd_server import migrate
from providerd_server.embedded import EmbeddedPostgres
from tests.daemon import DAEMON_ROLE
from tests.disks import Disk, small_disk

TEMPLATE = "template_providerd"

# The directories whose tests wait for most of their time, or are one long test.
_WAITING = {"model", "faults", "e2e"}

_numbers = itertools.count(1)


def pytest_configure() -> None:
    # A shell without job control has what it runs in the background ignore Ctrl-C, and so would all programs of tests.
    # https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_12
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Files of tests that wait, beside files of tests that compute: processors are busy, and nobody is left with a long
    # one when all others are done.
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    waiting = [path for path in files if path.parent.name in _WAITING]
    computing = [path for path in files if path.parent.name not in _WAITING]
    pairs = itertools.chain.from_iterable(itertools.zip_longest(waiting, computing))
    items[:] = [item for path in pairs if path is not None for item in files[path]]


class Psql(Protocol):
    """Runs the bundled psql; further arguments go to psql, ``input`` to its standard input."""

    def __call__(
        self,
        dsn: str,
        *arguments: str,
        input: str | None = None,  # noqa: A002 - as subprocess.run has it
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture(scope="session")
def cluster() -> Iterator[EmbeddedPostgres]:
    """A running PostgreSQL without tables. It does not sync to disk, for its data ends with the run."""
    with _open_directory() as directory:
        # The embedded one knows its owner only. Nobody but root and the account it runs as can enter its directory.
        logins = directory / "pg_hba.conf"
        logins.write_text("local all all trust\n")
        settings = {"fsync": "off", "hba_file": str(logins)}
        with EmbeddedPostgres(directory / "data", settings=settings) as postgres:
            yield postgres


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory of this test's own that every account can enter, unlike pytest's ``tmp_path``."""
    with _open_directory() as directory:
        yield directory


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of this test's own, small enough to be filled."""
    with small_disk(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture(scope="session")
def psql(cluster: EmbeddedPostgres) -> Psql:
    """The real psql, stopping at the first error."""

    def run(
        dsn: str,
        *arguments: str,
        input: str | None = None,  # noqa: A002 - as subprocess.run has it
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [cluster.binaries / "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", dsn, *arguments],
            env=dict(cluster.environment),
            input=input or "",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def template(cluster: EmbeddedPostgres, psql: Psql) -> str:
    """The name of a database with the newest schema and no data, to clone."""
    _command(cluster, psql, f"CREATE DATABASE {TEMPLATE}")
    asyncio.run(migrate.up(cluster.dsn(TEMPLATE)))
    roles = psql(cluster.dsn(TEMPLATE), "-f", str(migrate.migration_directory() / "roles.sql"))
    assert roles.returncode == 0, roles.stderr
    _command(cluster, psql, f"CREATE ROLE {DAEMON_ROLE} LOGIN IN ROLE providerd_daemon")
    return TEMPLATE


@pytest.fixture
def database(cluster: EmbeddedPostgres, psql: Psql, template: str) -> Iterator[str]:
    """The URL of a database of this test's own, with the newest schema and no data."""
    yield from _temporary_database(cluster, psql, template)


@pytest.fixture
def empty_database(cluster: EmbeddedPostgres, psql: Psql) -> Iterator[str]:
    """The URL of a database of this test's own, without a schema."""
    yield from _temporary_database(cluster, psql, "template1")


@contextmanager
def _open_directory() -> Iterator[Path]:
    # Not below pytest's own directory, which is closed to other accounts and too deep for a socket.
    with tempfile.TemporaryDirectory(prefix="providerd-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # for root's PostgreSQL, which runs as another account
        yield directory


def _temporary_database(cluster: EmbeddedPostgres, psql: Psql, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    _command(cluster, psql, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY WAL_LOG")
    yield cluster.dsn(name)
    _command(cluster, psql, f"DROP DATABASE {name} WITH (FORCE)")


def _command(cluster: EmbeddedPostgres, psql: Psql, sql: str) -> None:
    done = psql(cluster.dsn("postgres"), "-c", sql)
    assert done.returncode == 0, done.stderr
