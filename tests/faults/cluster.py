"""The rig's PostgreSQL, which is hurt: restarted, killed, frozen, filled up."""

import asyncio
import itertools
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import asyncpg

from providerd_server import migrate
from providerd_server.embedded import EmbeddedPostgres
from tests.daemon import DAEMON_ROLE
from tests.integration.database_server import database_server

TEMPLATE = "template_faults"

# Everything is logged, to be searched for what must not be in a log. The daemon's role is told to be quiet about
# parameters, as the daemon advises.
SETTINGS = {
    "log_statement": "all",
    "log_min_messages": "warning",
    "log_parameter_max_length": "-1",
    "max_connections": "40",
    "wal_level": "replica",
    "max_wal_senders": "4",
}
_QUIET = "ALTER ROLE {role} SET log_parameter_max_length = 0"
_BACKENDS = (
    "SELECT pid, query FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'providerd' AND pid <> pg_backend_pid()"
)
# A probe of the listener has an id, too.
_MID_WRITE = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'providerd'"
    " AND backend_xid IS NOT NULL AND query NOT LIKE '%pg_notify%' AND ($1 IN (0, pid)) LIMIT 1"
)

_numbers = itertools.count(1)


class Cluster:
    """A running PostgreSQL, and what can be done to it. ``log`` is its own log."""

    def __init__(self, postgres: EmbeddedPostgres, directory: Path) -> None:
        self.postgres = postgres
        self.directory = directory
        self.log = directory / "data" / "postgres.log"

    @property
    def socket(self) -> str:
        """Where a proxy finds it."""
        return f"unix:{self.dsn('x').partition('host=')[2].partition('&')[0].replace('%2F', '/')}/.s.PGSQL.5432"

    def dsn(self, database: str) -> str:
        """The URL of a database, as its owner."""
        return self.postgres.dsn(database)

    def run(self, program: str, *arguments: str, text: str = "") -> str:
        """Runs one of PostgreSQL's programs to its end and returns what it printed."""
        done = subprocess.run(
            [self.postgres.binaries / program, *arguments],
            env=dict(self.postgres.environment),
            input=text,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{program}: {done.stderr}"
        return done.stdout

    async def create_database(self) -> str:
        """Makes a database with the newest schema; returns its name."""
        name = f"faults_{next(_numbers)}"
        # The other strategy copies sequences as they are in memory, which a crash then takes back.
        await self.execute("postgres", f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
        return name

    async def execute(self, database: str, sql: str) -> None:
        """Runs SQL as the owner, on a connection of its own."""
        connection = await asyncpg.connect(self.dsn(database), timeout=10)
        try:
            await connection.execute(sql)
        finally:
            connection.terminate()

    async def backends(self, database: str) -> dict[int, str]:
        """The backends of daemons in a database: the last query of each, by process id."""
        connection = await asyncpg.connect(self.dsn(database), timeout=10)
        try:
            return {row["pid"]: row["query"] for row in await connection.fetch(_BACKENDS)}
        finally:
            connection.terminate()

    async def listener(self, database: str) -> int:
        """The backend that listens, once there is one."""
        async with asyncio.timeout(15):
            while True:
                pids = [pid for pid, query in (await self.backends(database)).items() if "pg_notify" in query]
                if pids:
                    return pids[-1]
                await asyncio.sleep(0.02)

    async def kill_mid_write(self, database: str) -> bool:
        """kill -9 of a backend that writes, once there is one; returns whether it was still at it."""
        connection = await asyncpg.connect(self.dsn(database), timeout=10)
        try:
            async with asyncio.timeout(15):
                while (pid := await connection.fetchval(_MID_WRITE, 0)) is None:
                    await asyncio.sleep(0)
            # Stopped, it is killed as it is seen.
            os.kill(pid, signal.SIGSTOP)
            try:
                return await connection.fetchval(_MID_WRITE, pid, timeout=2) is not None
            except TimeoutError:
                return False  # it has a lock that looking at it takes: nobody knows
            finally:
                self.kill_backend(pid)
        finally:
            connection.terminate()

    async def terminate(self, database: str, *pids: int) -> None:
        """Ends backends in order, as an administrator would; all of the daemons' where none is named."""
        which = "pid = ANY($1)" if pids else "application_name = 'providerd' AND pid <> ALL($1)"
        connection = await asyncpg.connect(self.dsn(database), timeout=10)
        try:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                f" WHERE datname = current_database() AND {which}",
                list(pids),
            )
        finally:
            connection.terminate()

    def signal(self, number: int) -> None:
        """Sends the postmaster a signal: SIGINT for a fast shutdown, SIGQUIT for an immediate one."""
        pid = self.postgres.pid
        assert pid is not None
        os.kill(pid, number)

    def kill_backend(self, pid: int) -> None:
        """kill -9, upon which PostgreSQL ends all the others and recovers."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    async def until_up(self) -> None:
        """Returns once it takes connections."""
        async with asyncio.timeout(60):
            while True:
                with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                    await self.execute("postgres", "SELECT 1")
                    return
                await asyncio.sleep(0.02)

    async def bounce(self, number: int) -> None:
        """Ends it by a signal, and returns once its keeper has it running again."""
        before = self.postgres.pid
        self.signal(number)
        async with asyncio.timeout(60):
            while self.postgres.pid in (before, None):
                await asyncio.sleep(0.01)
        await self.until_up()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stops the postmaster and all of its children as they are."""
        stopped = processes(self.postgres.pid)
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in stopped:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    @asynccontextmanager
    async def full(self) -> AsyncIterator[None]:
        """Takes every connection there is, those that are kept for superusers too."""
        taken: list[asyncpg.Connection] = []

        async def take() -> None:
            while True:
                try:
                    taken.append(await asyncpg.connect(self.dsn("postgres"), timeout=5))
                except (asyncpg.TooManyConnectionsError, OSError):
                    await asyncio.sleep(0.01)

        taking = asyncio.create_task(take())
        try:
            yield
        finally:
            taking.cancel()
            for connection in taken:
                connection.terminate()


def processes(pid: int | None) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in (str(pid), *children.split())]


@contextmanager
def running_cluster(directory: Path, settings: Mapping[str, str] = SETTINGS) -> Iterator[Cluster]:
    """Runs one with the template database and the role of daemons."""
    hba = "local all all trust\nlocal replication all trust\n"
    with database_server(directory, settings, hba=hba) as postgres:
        cluster = Cluster(postgres, directory)
        cluster.run("psql", "-Xqd", cluster.dsn("postgres"), "-c", f"CREATE DATABASE {TEMPLATE}")
        asyncio.run(migrate.up(cluster.dsn(TEMPLATE)))
        roles = str(migrate.migration_directory() / "roles.sql")
        cluster.run("psql", "-Xqd", cluster.dsn(TEMPLATE), "-v", "ON_ERROR_STOP=1", "-f", roles)
        for command in (f"CREATE ROLE {DAEMON_ROLE} LOGIN IN ROLE providerd_daemon", _QUIET.format(role=DAEMON_ROLE)):
            cluster.run("psql", "-Xqd", cluster.dsn(TEMPLATE), "-c", command)
        yield cluster
