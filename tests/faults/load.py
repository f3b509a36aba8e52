"""The base load: watchers on connections of their own, and writers and readers at so many calls a second."""

import asyncio
import gc
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple, Self

import asyncpg
import grpc

from providerd.v1 import provider_pb2 as pb
from providerd.v1.provider_pb2_grpc import ProviderServiceStub
from tests.faults.checker import Write
from tests.faults.scale import READS_PER_SECOND, WATCHERS, WRITES_PER_SECOND
from tests.faults.watcher import OWN_CONNECTION, Watcher

# What writers change and switch between.
PROVIDERS = ("alpha", "beta", "gamma")

# Longer than any write may take, so that a call that runs into it is a finding.
_DEADLINE = 15.0

_MARK = "UPDATE llm_provider_configs SET description = $1 WHERE is_active RETURNING provider_name"

_texts = itertools.count(1)


class Failed(NamedTuple):
    """A write that was not acknowledged."""

    began: float
    seconds: float
    code: str
    said: str


class Load:
    """What goes on while things break.

    Args:
        addresses: Where the daemons are; watchers and calls are spread over them.
        dsn: The database, as its owner, for marks.
        watchers: How many.
        writes: How many a second.
        reads: How many a second.
        padding: By what each change is longer than it has to be.
        options: Of the channels of watchers.

    Attributes:
        watchers: The watchers.
        writes: Every acknowledged write.
        failures: Every write that failed.
        reads: How many reads ended with which code.
    """

    def __init__(
        self,
        addresses: list[str],
        dsn: str,
        *,
        watchers: int = WATCHERS,
        writes: float = WRITES_PER_SECOND,
        reads: float = READS_PER_SECOND,
        padding: str = "",
        options: Sequence[tuple[str, int]] = OWN_CONNECTION,
    ) -> None:
        self._news = asyncio.Event()
        targets = itertools.cycle(addresses)
        self.watchers = [Watcher(next(targets), self._news.set, options=options) for _ in range(watchers)]
        self.writes: list[Write] = []
        self.failures: list[Failed] = []
        self.reads: Counter[str] = Counter()
        self._addresses = addresses
        self._dsn = dsn
        self._rates = (writes, reads)
        self._padding = padding
        self._tasks: list[asyncio.Task[None]] = []
        self._calls: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        stubs: list[Any] = []
        for address in self._addresses:
            channel = grpc.aio.insecure_channel(address, options=OWN_CONNECTION)
            stubs.append(ProviderServiceStub(await self._stack.enter_async_context(channel)))
        writing, reading = itertools.cycle(stubs), itertools.cycle(stubs)
        writes, reads = self._rates
        self._tasks += [asyncio.create_task(watcher.run()) for watcher in self.watchers]
        self._writing = asyncio.create_task(self._at(writes, lambda: self._write(next(writing))))
        self._tasks += [self._writing, asyncio.create_task(self._at(reads, lambda: self._read(next(reading))))]
        await self.until(lambda: all(watcher.told for watcher in self.watchers), 20)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (*self._tasks, *self._calls):
            task.cancel()
        ended = await asyncio.gather(*self._tasks, *self._calls, return_exceptions=True)
        await self._stack.aclose()
        # On our side a connection ends with the last object of its channel, and those hold each other.
        gc.collect()
        for end in ended:
            if isinstance(end, BaseException) and not isinstance(end, asyncio.CancelledError):
                raise end

    async def until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Waits until what watchers were told makes ``condition`` true."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def converged(self, within: float) -> float:
        """Makes a change directly in the database and waits until every watcher has it; returns how long it took.

        Raises:
            AssertionError: It took longer than ``within`` seconds.
        """
        began = time.monotonic()
        wanted = 0
        try:
            async with asyncio.timeout(within):
                wanted = (await self.mark()).revision
                await self.until(lambda: all(watcher.number >= wanted for watcher in self.watchers), within)
        except TimeoutError:
            behind = [watcher.number for watcher in self.watchers if watcher.number < wanted]
            raise AssertionError(
                f"I3 {len(behind)} of {len(self.watchers)} watchers are not at revision {wanted} or later"
                f" after {within:g} s; the last is at {min(behind, default=0)}"
            ) from None
        return time.monotonic() - began

    async def mark(self) -> Write:
        """Changes the active provider by SQL, and counts that among the acknowledged writes; waits for a database."""
        while True:
            text, began = f"mark {next(_texts)}", time.monotonic()
            try:
                connection = await asyncpg.connect(self._dsn, timeout=5)
                try:
                    async with connection.transaction():
                        # Otherwise a switch that comes in between would leave the statement nothing to change.
                        await connection.execute("SELECT lock_provider_store()")
                        name = await connection.fetchval(_MARK, text)
                        store, number = await connection.fetchrow(
                            "SELECT store_id::text, revision FROM llm_provider_store"
                        )
                finally:
                    connection.terminate()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(0.05)
                continue
            write = Write(began, time.monotonic(), store, number, name, text)
            self.writes.append(write)
            return write

    async def more_writes(self, count: int, seconds: float = 30) -> None:
        """Returns once so many more are acknowledged."""
        goal = len(self.writes) + count
        async with asyncio.timeout(seconds):
            while len(self.writes) < goal:
                await asyncio.sleep(0.02)

    async def stop_writing(self) -> None:
        """Starts no more writes, and waits for those that are under way."""
        self._writing.cancel()
        if self._calls:
            await asyncio.wait(set(self._calls), timeout=_DEADLINE + 1)

    async def _at(self, rate: float, call: Callable[[], Awaitable[None]]) -> None:
        if not rate:
            return
        began = time.monotonic()
        for turn in itertools.count(1):
            task = asyncio.ensure_future(call())
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)
            await asyncio.sleep(max(0.0, began + turn / rate - time.monotonic()))

    async def _write(self, stub: Any) -> None:
        number, began = next(_texts), time.monotonic()
        name, text = PROVIDERS[number % len(PROVIDERS)], f"text {number}{self._padding}"
        try:
            if number % 3:
                provider = pb.Provider(provider_name=name, description=text)
                done = await stub.UpsertProvider(pb.UpsertProviderRequest(provider=provider), timeout=_DEADLINE)
                acknowledged: str | None = text
            else:
                name = PROVIDERS[number // 3 % len(PROVIDERS)]
                done = await stub.SwitchProvider(pb.SwitchProviderRequest(provider_name=name), timeout=_DEADLINE)
                if not done.switched:
                    return
                acknowledged = None
        except grpc.aio.AioRpcError as error:
            said = f"{error.details()} {error.trailing_metadata()}"
            self.failures.append(Failed(began, time.monotonic() - began, error.code().name, said))
            return
        ended = time.monotonic()
        self.writes.append(Write(began, ended, done.revision.store_id, done.revision.number, name, acknowledged))

    async def _read(self, stub: Any) -> None:
        try:
            answer = await stub.GetActiveProvider(pb.GetActiveProviderRequest(), timeout=_DEADLINE)
        except grpc.aio.AioRpcError as error:
            self.reads[error.code().name] += 1
        else:
            self.reads["STALE" if answer.source.stale else "OK"] += 1


def latencies(load: Load, committed_at: dict[int, float]) -> Iterator[float]:
    """The seconds from each commit to each watcher that was told of just it."""
    for watcher in load.watchers:
        for message in watcher.told:
            if message.cause in ("SWITCHED", "UPDATED") and message.number in committed_at:
                yield message.at - committed_at[message.number]
