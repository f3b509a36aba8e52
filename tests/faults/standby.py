"""Two PostgreSQL servers: a primary, and a standby that streams from it and can take its place."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import asyncpg

from providerd_server.embedded.account import choose_account
from tests.daemon import DAEMON_ROLE
from tests.faults.cluster import Cluster, processes
from tests.faults.world import World
from tests.integration.database_server import server_directory

_SENDING = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')"


class Node:
    """One server on a copy of another's data."""

    def __init__(self, origin: Cluster, directory: Path) -> None:
        self.sockets = directory
        self._origin = origin
        self._data = directory / "data"
        self._process: subprocess.Popen[bytes] | None = None

    def copy(self, sockets: str, *, standby: bool) -> None:
        """Copies a running server, as one that follows it or one by itself."""
        follow = ("--write-recovery-conf",) if standby else ()
        where = ("--host", sockets, "--username", "providerd", "--pgdata", str(self._data))
        self._origin.run("pg_basebackup", *where, "--checkpoint=fast", "--no-sync", *follow)
        account = choose_account(self._origin.directory / "data" / "cluster")
        self._data.chmod(0o700)
        for path in (self.sockets, self._data, *self._data.rglob("*")):
            os.chown(path, account.uid, account.gid)

    def start(self, **settings: str) -> None:
        """Starts it with the origin's settings and these."""
        hba = self._origin.directory / "hba.conf"
        given = {
            "unix_socket_directories": str(self.sockets),
            "hba_file": str(hba),
            "listen_addresses": "",
            "fsync": "off",
            "max_connections": "40",
            "max_wal_senders": "4",
            "log_parameter_max_length": "0",
            **settings,
        }
        options = [f"--{name}={value}" for name, value in given.items()]
        self._process = subprocess.Popen(
            [self._origin.postgres.binaries / "postgres", "-D", self._data, *options],
            env=dict(self._origin.postgres.environment),
            cwd=self.sockets,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **choose_account(self._data).credentials,
        )

    def dsn(self, database: str) -> str:
        """The URL of one of its databases, as the owner."""
        return f"postgresql://providerd@/{database}?host={self.sockets}"

    async def ask(self, query: str) -> bool:
        """Whether a query's answer is true; false where none comes."""
        with suppress(OSError, asyncpg.PostgresError):
            connection = await asyncpg.connect(self.dsn("postgres"), timeout=5)
            try:
                return bool(await connection.fetchval(query))
            finally:
                connection.terminate()
        return False

    async def until(self, query: str) -> None:
        """Returns once the answer to a query is true."""
        async with asyncio.timeout(30):
            while not await self.ask(query):
                await asyncio.sleep(0.02)

    def promote(self) -> None:
        """Has a standby take over; see pg_promote and "Failover" of PostgreSQL's documentation."""
        (self._data / "promote").touch()
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR1)

    def kill(self) -> None:
        """kill -9 of all of its processes."""
        if self._process is None or self._process.poll() is not None:
            return
        for pid in processes(self._process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(20)


class Pair:
    """A primary and its standby."""

    def __init__(self, primary: Node, standby: Node) -> None:
        self.primary, self.standby = primary, standby

    def url(self, database: str) -> str:
        """The URL that leads to whichever of them takes writes."""
        hosts = f"{self.primary.sockets},{self.standby.sockets}"
        return f"postgresql://{DAEMON_ROLE}@/{database}?host={hosts}&port=5432,5432&target_session_attrs=read-write"

    def fail_over(self) -> None:
        """Kills the primary and promotes the standby."""
        self.primary.kill()
        self.standby.promote()


class Follower(Cluster):
    """The standby, as the cluster in which the truth is looked up after a failover."""

    def __init__(self, origin: Cluster, pair: Pair) -> None:
        super().__init__(origin.postgres, origin.directory)
        self._pair = pair

    def dsn(self, database: str) -> str:
        """The URL of a database on whichever of the two takes writes, as its owner."""
        return self._pair.url(database).replace(DAEMON_ROLE, "providerd")


@asynccontextmanager
async def replicated(origin: World) -> AsyncIterator[tuple[World, Pair]]:
    """A copy of a world on a primary and a standby; what is acknowledged is on both, for replication is synchronous."""
    async with AsyncExitStack() as stack:
        nodes = []
        for _ in range(2):
            node = Node(origin.cluster, stack.enter_context(server_directory()))
            stack.callback(shutil.rmtree, node.sockets / "data", ignore_errors=True)
            stack.callback(node.kill)
            nodes.append(node)
        pair = Pair(*nodes)
        sockets = origin.cluster.socket.removeprefix("unix:").rpartition("/")[0]
        await asyncio.to_thread(pair.primary.copy, sockets, standby=False)
        pair.primary.start(synchronous_standby_names="*", synchronous_commit="local")
        await pair.primary.until("SELECT true")
        await asyncio.to_thread(pair.standby.copy, str(pair.primary.sockets), standby=True)
        pair.standby.start()
        await pair.primary.until(_SENDING)
        await pair.primary.ask("ALTER SYSTEM SET synchronous_commit = on")
        yield origin.on(Follower(origin.cluster, pair)), pair
