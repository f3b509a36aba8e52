"""A database, daemons over it, and the load that a fault has to be survived under."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import grpc
from google.protobuf.json_format import ParseDict

from providerd.v1 import provider_pb2 as pb
from providerd.v1.provider_pb2_grpc import ProviderServiceStub
from tests.abuse.world import provider
from tests.daemon import DAEMON_ROLE, DaemonProcess, running_daemon
from tests.faults.checker import check, lost
from tests.faults.cluster import Cluster
from tests.faults.load import PROVIDERS, Load
from tests.faults.report import Report
from tests.faults.scale import SETTINGS
from tests.faults.truth import Truth
from tests.integration.serving import free_port

# The key of every provider that the load changes, and what it is encrypted with.
API_KEY = "sk-canary-of-the-fault-rig-7d40c9"
PASSPHRASE = "canary-of-the-passphrase-of-the-fault-rig"
CANARIES = (API_KEY.encode(), PASSPHRASE.encode())

# What a write may fail with while things are broken. Only the first invites a retry.
_EXCUSED = {"UNAVAILABLE", "ABORTED"}
# What gRPC itself says of a call that a daemon which ends has not begun: https://github.com/grpc/grpc/issues/41785
_NOT_BEGUN = ("CANCELLED", "CANCELLED Metadata(())")
_CHANNEL = "llm_provider_changes"


class World:
    """What one fault is tried on.

    Attributes:
        cluster: The PostgreSQL.
        name: The database in it.
        daemons: Those that run.
        before: What was true of a store that was since given up by a restore.
    """

    def __init__(self, cluster: Cluster, name: str, report: Report) -> None:
        self.cluster = cluster
        self.name = name
        self.daemons: list[DaemonProcess] = []
        self.before: list[Truth] = []
        self.logs: dict[str, bytes] = {}
        self._report = report

    def on(self, cluster: Cluster) -> "World":
        """The same database on another cluster."""
        return World(cluster, self.name, self._report)

    @property
    def dsn(self) -> str:
        """The database, as its owner."""
        return self.cluster.dsn(self.name)

    def url(self, address: str) -> str:
        """The database, as the role of daemons, by way of a proxy."""
        return f"postgresql://{DAEMON_ROLE}@{address}/{self.name}"

    @asynccontextmanager
    async def daemon(self, url: str | None = None, **env: str) -> AsyncIterator[DaemonProcess]:
        """Runs a daemon with the settings of the rig and these; its log is kept for the search for canaries."""
        settings = {**SETTINGS, "DB_ENCRYPTION_KEY": PASSPHRASE, **env}
        running = running_daemon(url or self.dsn, role=None if url else DAEMON_ROLE, **settings)
        stack = ExitStack()
        daemon = await asyncio.to_thread(stack.enter_context, running)
        self.daemons.append(daemon)
        try:
            yield daemon
        finally:
            self.keep_log(daemon)
            self.daemons.remove(daemon)
            await asyncio.to_thread(stack.close)

    def keep_log(self, daemon: DaemonProcess) -> None:
        """Remembers the log of a daemon for the search."""
        self.logs[f"the log of daemon {daemon.pid}"] = daemon.log.read_bytes()

    @asynccontextmanager
    async def load(self, *addresses: str, within: float = 10.0, **amounts: Any) -> AsyncIterator[Load]:
        """Runs the load for as long as the block, wants all to converge within so many seconds, and judges.

        Args:
            addresses: Where the daemons are found, if not at their own addresses.
            within: Seconds to converge at the end.
            amounts: What ``Load`` takes.
        """
        targets = list(addresses) or [daemon.address for daemon in self.daemons]
        overheard: list[str] = []
        async with AsyncExitStack() as stack:
            stack.push_async_callback(_end, asyncio.create_task(self._overhear(overheard)))
            load = await stack.enter_async_context(Load(targets, self.dsn, **amounts))
            for watcher in load.watchers:
                watcher.canaries = list(CANARIES)
            yield load
            await load.stop_writing()
            await load.converged(within)
            truth = await self.truth()
            problems = await self._judge(load, truth, overheard)
            hits = sum(problem.startswith("I7") for problem in problems)
            self._report.judged(load, lost(load.writes, [*self.before, truth]), hits)
        assert not problems, "\n".join(problems[:20])

    async def truth(self) -> Truth:
        """What the database says happened."""
        connection = await asyncpg.connect(self.dsn, timeout=10)
        try:
            return await Truth.read(connection)
        finally:
            connection.terminate()

    async def seed(self, address: str) -> None:
        """Makes the providers of the load, each with a key, by way of a daemon."""
        async with grpc.aio.insecure_channel(address) as channel:
            stub: Any = ProviderServiceStub(channel)
            for name in PROVIDERS:
                message = ParseDict({"provider": provider(name), "new_api_key": API_KEY}, pb.UpsertProviderRequest())
                await stub.UpsertProvider(message, timeout=10)
            await stub.SwitchProvider(pb.SwitchProviderRequest(provider_name=PROVIDERS[0]), timeout=10)

    async def _judge(self, load: Load, truth: Truth, overheard: list[str]) -> list[str]:
        for daemon in self.daemons:
            self.keep_log(daemon)
        places = {**self.logs, **await self._places(load), "notifications": "\n".join(overheard).encode()}
        told = {f"watcher {number}": watcher.told for number, watcher in enumerate(load.watchers)}
        problems = check(told, load.writes, [*self.before, truth], places, CANARIES)
        leaked = [name for name, watcher in zip(told, load.watchers, strict=True) if watcher.leaked]
        problems += [f"I7 a canary was sent to {name}, who did not ask for it" for name in leaked]
        problems += [
            f"a write failed with {failed.code} after {failed.seconds:.1f} s: {failed.said}"
            for failed in load.failures
            if failed.code not in _EXCUSED and (failed.code, failed.said) != _NOT_BEGUN
        ]
        problems += [f"{name}: {found}" for name, log in self.logs.items() for found in unexpected(log)]
        ends = {code for watcher in load.watchers for code in watcher.ends}
        problems += [f"a stream ended with {code}" for code in ends - {"UNAVAILABLE", "DRAIN", "SILENCE", "NOT_BEGUN"}]
        return problems

    async def _places(self, load: Load) -> dict[str, bytes]:
        connection = await asyncpg.connect(self.dsn, timeout=10)
        try:
            tables = {
                table: await connection.fetchval(f"SELECT string_agg(t::text, ' ') FROM {table} t")
                for table in ("llm_provider_configs", "llm_provider_config_history", "llm_provider_store")
            }
        finally:
            connection.terminate()
        answers = [failed.said for failed in load.failures]
        for watcher in load.watchers:
            answers += watcher.said
        return {
            **{f"table {name}": (rows or "").encode() for name, rows in tables.items()},
            "PostgreSQL's log": self.cluster.log.read_bytes(),
            "errors": "\n".join(answers).encode(),
        }

    async def _overhear(self, payloads: list[str]) -> None:
        """Collects notifications, whatever becomes of the connection."""
        while True:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                connection = await asyncpg.connect(self.dsn, timeout=5)
                lost = asyncio.Event()
                connection.add_termination_listener(lambda _, lost=lost: lost.set())
                try:
                    await connection.add_listener(_CHANNEL, lambda *heard: payloads.append(str(heard[-1])))
                    await lost.wait()
                finally:
                    connection.terminate()
            await asyncio.sleep(0.1)


@asynccontextmanager
async def world_on(cluster: Cluster, report: Report) -> AsyncIterator[World]:
    """A world with a database of its own and no daemon yet."""
    await cluster.until_up()
    world = World(cluster, await cluster.create_database(), report)
    yield world
    await cluster.until_up()
    await cluster.execute("postgres", f"DROP DATABASE IF EXISTS {world.name} WITH (FORCE)")


@asynccontextmanager
async def restarted(world: World, address: str, **env: str) -> AsyncIterator[Callable[..., Awaitable[None]]]:
    """Keeps a daemon at ``address``; what is yielded ends it, and returns once the next one serves.

    That takes a signal, and the seconds in between.
    """
    stack = AsyncExitStack()

    async def start() -> DaemonProcess:
        return await stack.enter_async_context(world.daemon(PROVIDERD_LISTEN=address, **env))

    daemon = await start()

    async def again(number: int = signal.SIGKILL, pause: float = 0.0) -> None:
        nonlocal daemon
        await asyncio.to_thread(daemon.stop, number)
        await asyncio.sleep(pause)
        await stack.aclose()
        daemon = await start()

    try:
        yield again
    finally:
        await stack.aclose()


async def until(condition: Any, seconds: float) -> float:
    """Waits until a condition holds; returns how long that took."""
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)
    return time.monotonic() - began


def rss(pid: int) -> int:
    """The resident memory of a process in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


def descriptors_of(pid: int) -> int:
    """How many files and sockets a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def fresh_address() -> str:
    """An address that nobody has."""
    return f"127.0.0.1:{free_port()}"


def unexpected(log: bytes) -> list[str]:
    """What a daemon did not know how to deal with, by its log: whatever has a traceback."""
    return [line for line in log.decode(errors="replace").splitlines() if "Traceback (most recent call last)" in line]


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
