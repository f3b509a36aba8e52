"""The composition root: what the daemon is made of, how it starts, and how it stops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import structlog
from grpc_health.v1._async import HealthServicer

from providerd.secret import Secret
from providerd_server import systemd
from providerd_server.access.guard import Guard, Limits
from providerd_server.hub import Cause, Hub, cause_between
from providerd_server.listening import create_server, holding, listen, set_serving
from providerd_server.security import Security
from providerd_server.service import HistoryReads, Reads, Writes, create_handler
from providerd_server.settings import Settings
from providerd_server.snapshot import Snapshot
from providerd_server.source import Publish
from providerd_server.source.postgres import PostgresSource
from providerd_server.store import Database, History, Keys, Retention, Store, Transactions
from providerd_server.store.tls import Trust

log = structlog.get_logger(__name__)

# For the drain message to reach every watcher before the streams end.
_DRAIN_SECONDS = 2.0


async def serve(settings: Settings, database_url: Secret, security: Security) -> None:
    """Runs the daemon until SIGTERM or SIGINT; a second signal cuts the goodbyes short.

    Raises:
        ConfigurationError: An address cannot be taken, or the connections to the database cannot be secured.
        ExceptionGroup: A part failed in a way nobody foresaw; the process should end with an error.
    """
    stopping = asyncio.Event()
    async with AsyncExitStack() as stack:
        database = Database(database_url, trust=Trust.of(settings), pool_size=settings.pool_size)
        pool = await database.create_pool()
        stack.callback(pool.terminate)
        keys = Keys(security.keyring)
        source = PostgresSource(
            database, keys, poll_interval=settings.poll_interval, probe_interval=settings.probe_interval
        )
        hub = Hub()
        transactions = Transactions(database, pool)
        reads = Reads(hub, source, stale_after=settings.stale_after, write_timeout=settings.watch_write_timeout)
        writes = Writes(hub, transactions, Store(transactions, keys), source, security.hosts)
        handler = create_handler(reads, writes, HistoryReads(History(transactions)))
        guard = Guard(security.registry, _limits(settings))
        server, health = create_server(handler, guard, settings)
        stack.enter_context(holding(settings.listen))
        addresses = listen(server, settings.listen, security.certificates, socket_mode=settings.socket_mode)
        await stack.enter_async_context(_running("source", source.run(_announcing(hub)), stopping))
        freshness = hub.follow_freshness(reads.is_stale)
        await stack.enter_async_context(_running("freshness", freshness, stopping))
        if settings.history_retention is not None:
            retention = Retention(transactions, settings.history_retention)
            await stack.enter_async_context(_running("retention", retention.run(), stopping))
        await stack.enter_async_context(_running("guard", guard.follow(), stopping))
        for files in security.files():
            await stack.enter_async_context(_running(files.what, files.follow(), stopping))
        if (interval := systemd.watchdog_seconds()) is not None:
            await stack.enter_async_context(_running("watchdog", systemd.signs_of_life(interval), stopping))
        stack.enter_context(_signals(stopping))
        await stack.enter_async_context(
            _serving(server, health, hub, addresses=addresses, grace=settings.shutdown_grace)
        )
        await _ready_or_stopping(hub, health, stopping, addresses)
        await stopping.wait()


def _limits(settings: Settings) -> Limits:
    return Limits(
        calls=settings.max_calls,
        watches=settings.max_watches,
        watches_per_principal=settings.max_watches_per_principal,
        failures=settings.max_auth_failures,
    )


def _announcing(hub: Hub) -> Publish:
    """Publishes, and logs what that changed: whoever changed it, and by whatever way."""

    def publish(snapshot: Snapshot) -> None:
        before = hub.state
        hub.publish(snapshot)
        after = hub.state
        if after is None or after is before:
            return
        cause = Cause.INITIAL if before is None else cause_between(before, after)
        active = after.snapshot.active
        log.info(
            "new revision",
            revision=after.revision.number,
            active=active.provider_name if active else None,
            change=cause.name.lower() if cause else "not of the active provider",
        )

    return publish


async def _ready_or_stopping(hub: Hub, health: HealthServicer, stopping: asyncio.Event, addresses: list[str]) -> None:
    ready = asyncio.create_task(hub.wait_ready())
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({ready, stop}, return_when=asyncio.FIRST_COMPLETED)
    for task in (ready, stop):
        task.cancel()
    if hub.state is None or stopping.is_set():
        return
    await set_serving(health, True)
    # What start-up made stays: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    active = hub.state.snapshot.active
    log.info(
        "serving",
        listen=addresses,
        revision=hub.state.revision.number,
        active=active.provider_name if active else None,
    )
    systemd.notify("READY=1", "STATUS=serving")


@asynccontextmanager
async def _running(name: str, work: Coroutine[Any, Any, None], stopping: asyncio.Event) -> AsyncIterator[None]:
    """Runs what should run for ever; should it ever end by itself, the daemon stops and its error comes out here."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(lambda _: stopping.set())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def _serving(
    server: grpc.aio.Server, health: HealthServicer, hub: Hub, *, addresses: list[str], grace: float
) -> AsyncIterator[None]:
    """Answers calls; at the end says goodbye to watchers and gives running calls ``grace`` seconds."""
    await set_serving(health, False)
    await server.start()
    log.info("listening; answering as soon as the database is read", addresses=addresses)
    systemd.notify("STATUS=waiting for the database")
    try:
        yield
    finally:
        log.info("stopping", watchers=hub.watchers)
        systemd.notify("STOPPING=1")
        await health.enter_graceful_shutdown()
        hub.drain()
        await _until_gone(hub, _DRAIN_SECONDS)
        await server.stop(grace)
        log.info("stopped")


async def _until_gone(hub: Hub, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await hub.wait_empty()


@contextlib.contextmanager
def _signals(stopping: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def stop(name: str) -> None:
        if stopping.is_set():
            log.warning("second signal: not waiting any longer", signal=name)
            raise SystemExit(1)
        log.info("signal received", signal=name)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number.name)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
