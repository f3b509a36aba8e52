"""Serving the API from a source, whatever it is: how that starts, and how it stops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
import structlog
from grpc_health.v1._async import HealthServicer

from providerd_server import systemd
from providerd_server.access.guard import Guard, Limits
from providerd_server.entrance import Entrance
from providerd_server.hub import Hub
from providerd_server.listening import create_server, holding, listen, set_serving
from providerd_server.metrics import Metrics, serving_metrics
from providerd_server.service import Part, Reads, create_handler
from providerd_server.service.status import Status
from providerd_server.serving_settings import ServingSettings
from providerd_server.source import Source
from providerd_server.tracing import Tracing
from providerd_server.vitals import Vitals

log = structlog.get_logger(__name__)

Work: TypeAlias = "Callable[[], Coroutine[Any, Any, None]]"

# For the drain message to reach every watcher before the streams end.
_DRAIN_SECONDS = 2.0


@dataclass(frozen=True)
class Service:
    """What is served.

    Attributes:
        source: Where snapshots come from.
        origin: What that is, in words.
        hub: What they are published to.
        metrics: Count what the hub tells of, and more.
        reads: Answers from the hub.
        others: Answer the other RPCs.
        background: Further work that should run for ever, by name.
        tracing: What is done to trace; it ends with the service.
    """

    source: Source
    origin: str
    hub: Hub
    metrics: Metrics
    reads: Reads
    others: tuple[Part, ...]
    background: Mapping[str, Work] = field(default_factory=dict)
    tracing: Tracing = field(default_factory=Tracing)


async def serve(service: Service, settings: ServingSettings, entrance: Entrance) -> None:
    """Serves until SIGTERM or SIGINT; a second signal cuts the goodbyes short.

    Raises:
        ConfigurationError: An address cannot be taken.
        ExceptionGroup: A part failed in a way nobody foresaw; the process should end with an error.
    """
    hub, stopping = service.hub, asyncio.Event()
    guard = Guard(entrance.registry, _limits(settings))
    vitals = Vitals(hub, service.source, service.reads.is_stale, guard, entrance.certificates)
    service.metrics.show(vitals)
    handler = create_handler(service.reads, *service.others, Status(vitals, service.metrics.events))
    interceptors = [service.metrics.calls, guard, *service.tracing.interceptors]
    server, health = create_server(handler, interceptors, settings)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(service.tracing.close)
        stack.enter_context(holding(settings.listen))
        if settings.metrics_listen is not None:
            await stack.enter_async_context(serving_metrics(settings.metrics_listen, service.metrics.registry))
        addresses = listen(server, settings.listen, entrance.certificates, socket_mode=settings.socket_mode)
        for name, work in _background(service, guard, entrance).items():
            await stack.enter_async_context(_running(name, work(), stopping))
        stack.enter_context(_signals(stopping))
        await stack.enter_async_context(
            _serving(server, health, service, addresses=addresses, grace=settings.shutdown_grace)
        )
        await _ready_or_stopping(hub, health, stopping, addresses)
        await stopping.wait()


def _background(service: Service, guard: Guard, entrance: Entrance) -> dict[str, Work]:
    """What runs beside the calls, in the order in which it starts."""
    work: dict[str, Work] = {
        "source": lambda: service.source.run(service.hub.publish),
        "freshness": lambda: service.hub.follow_freshness(service.reads.is_stale),
        **service.background,
        "guard": guard.follow,
        **{files.what: files.follow for files in entrance.files()},
    }
    if (interval := systemd.watchdog_seconds()) is not None:
        work["watchdog"] = lambda: systemd.signs_of_life(interval)
    return work


def _limits(settings: ServingSettings) -> Limits:
    return Limits(
        calls=settings.max_calls,
        watches=settings.max_watches,
        watches_per_principal=settings.max_watches_per_principal,
        failures=settings.max_auth_failures,
        patience=settings.handshake_timeout,
    )


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
    server: grpc.aio.Server, health: HealthServicer, service: Service, *, addresses: list[str], grace: float
) -> AsyncIterator[None]:
    """Answers calls; at the end says goodbye to watchers and gives running calls ``grace`` seconds."""
    await set_serving(health, False)
    await server.start()
    log.info("listening; no answers yet", addresses=addresses, waiting_for=service.origin)
    systemd.notify(f"STATUS=waiting for {service.origin}")
    try:
        yield
    finally:
        log.info("stopping", watchers=len(service.hub.mailboxes))
        systemd.notify("STOPPING=1")
        await health.enter_graceful_shutdown()
        service.hub.drain()
        await _until_gone(service.hub, _DRAIN_SECONDS)
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
        # First of all: a log that nobody reads any more must not keep it from ending.
        stopping.set()
        log.info("signal received", signal=name)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number.name)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
