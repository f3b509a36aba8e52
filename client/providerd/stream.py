"""The watch: one task that keeps the cache current for as long as the client is open."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import grpc.aio
from google.protobuf.duration_pb2 import Duration

from providerd import errors
from providerd._version import __version__
from providerd.backoff import Backoff
from providerd.cache import OutOfStepError, State
from providerd.stay import Stay
from providerd.tracing import tracing_of
from providerd.v1 import provider_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from providerd.announcer import Announcer
    from providerd.cache import Cache
    from providerd.connection import Connection
    from providerd.credentials import Credentials
    from providerd.options import ClientOptions
    from providerd.provider import Revision

# No retry mends these; every other end of a stream means to come back. To be unknown to the daemon can pass, where a
# file that is renewed says who this client is.
FATAL_CODES = frozenset(
    {
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.FAILED_PRECONDITION,
    }
)

# The longest wait, in seconds, of a client that the daemon does not know or let in: it asks for a person to act.
_UNKNOWN_LIMIT = 30.0

_log = logging.getLogger("providerd")


class _StaleDaemonError(errors.UnavailableError):
    """It is time to try another daemon."""


class Stream:
    """Watches the active provider, reconnecting for ever, until stopped or refused for good."""

    def __init__(
        self,
        cache: Cache,
        announcer: Announcer,
        options: ClientOptions,
        *,
        fatal: frozenset[grpc.StatusCode] = FATAL_CODES,
    ) -> None:
        """Takes what to feed, and the codes that end the watch for good."""
        self._cache = cache
        self._announcer = announcer
        self._options = options
        self._backoff = Backoff()
        self._fatal = fatal
        self._unknown = Backoff(1.0, _UNKNOWN_LIMIT)
        self._stay = Stay(options)
        self._told = False
        self._tracing = tracing_of(options)
        self._task: asyncio.Task[None] | None = None

    def start(self, connection: Connection, before: Callable[[], Awaitable[None]]) -> None:
        """Starts watching over a connection, in the running event loop, once what comes before is done."""
        self._task = asyncio.create_task(self._run(connection, before), name="providerd-watch")
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Ends the watch and waits until it has ended."""
        if self._task is not None:
            self._task.remove_done_callback(self._ended)
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None  # its traceback holds the channel, and with it gRPC

    async def _run(self, connection: Connection, before: Callable[[], Awaitable[None]]) -> None:
        await before()
        while True:
            error, pause = await self._watch(connection)
            self._cache.lost(error)
            if isinstance(error, _StaleDaemonError):
                # No outage, and nothing new: whoever looks is told when there is.
                self._tell("%s; trying another daemon", error)
                continue
            unknown = error.code is grpc.StatusCode.UNAUTHENTICATED
            if error.code in self._fatal and not (unknown and connection.credentials.renewable):
                self._fail(error)
                return
            self._announcer.publish()
            self._tell("watch lost, back in %.1f s: %s", pause, error)
            await asyncio.sleep(pause)

    async def _watch(self, connection: Connection) -> tuple[errors.RpcError, float]:
        """Runs one stream to its end and returns why it ended and the seconds to wait before the next."""
        try:
            async with connection.stub(settled=True) as stub:
                return await self._receive(stub, connection.credentials)
        except grpc.aio.AioRpcError as refusal:
            error: errors.RpcError = errors.from_rpc(refusal, self._options.where, self._options.transport)
            if error.code in FATAL_CODES:
                return error, self._unknown.next()
        except _StaleDaemonError as stale:
            stale.__traceback__ = None  # it is kept, and holds this stream
            return stale, 0.0
        except StopAsyncIteration:
            error = errors.UnavailableError("the stream ended")
        except TimeoutError:
            error = errors.UnavailableError(f"no message for {self._options.patience:g} s")
        except OutOfStepError as lag:
            error = errors.UnavailableError(f"subscribing again: {lag}")
        except asyncio.CancelledError:
            # gRPC raises this for a stream that the server or a proxy cancelled, too.
            if being_cancelled():
                raise
            error = errors.UnavailableError("the stream was cancelled by the other side")
        except Exception as bug:
            _log.exception("the watch failed unexpectedly; it goes on")
            error = errors.InternalError(f"the watch failed: {bug!r}")
        return error, self._backoff.next()

    async def _receive(self, stub: Any, credentials: Credentials) -> tuple[errors.RpcError, float]:
        request = self._request(self._cache.subscribed())
        call = stub.WatchActive(request, metadata=credentials.metadata() + self._tracing.of_watch())
        try:
            self._stay.begin()
            # Iterating, because read() skips the last messages of a stream that has ended already.
            messages = aiter(call)
            seconds = self._options.patience
            while True:
                message = await self._next(messages, seconds)
                if message is None:  # what gRPC makes of bytes that are no message
                    return errors.InternalError("undecodable message"), self._backoff.next()
                if message.HasField("drain"):
                    pause = message.drain.retry_after.ToTimedelta().total_seconds()
                    leaving = errors.UnavailableError("the daemon is going away", reason="DRAIN")
                    return leaving, self._backoff.bounded(pause)
                self._apply(message)
                seconds = min(self._options.patience, self._stay.left)
        finally:
            call.cancel()

    async def _next(self, messages: AsyncIterator[Any], seconds: float) -> pb.WatchActiveResponse | None:
        try:
            async with asyncio.timeout(seconds):
                message: pb.WatchActiveResponse | None = await anext(messages)
                return message
        except TimeoutError:
            if seconds < self._options.patience:
                self._stay.over()
                raise _StaleDaemonError("the daemon's answers are stale: it may be cut off from its database") from None
            raise

    def _apply(self, message: pb.WatchActiveResponse) -> None:
        began, taken = time.time_ns(), self._cache.taken
        change = self._cache.apply(message)
        if self._cache.error is None:
            self._backoff.reset()
            self._unknown.reset()
        fresh = self._cache.state is State.READY
        self._stay.heard(fresh=fresh)
        self._told = self._told and not fresh
        took = self._cache.taken != taken
        with self._tracing.applied(message, change, self._cache, began) if took else nullcontext():
            self._announcer.publish(change)

    def _request(self, known: Revision | None) -> pb.WatchActiveRequest:
        seconds, fraction = divmod(self._options.heartbeat, 1)
        return pb.WatchActiveRequest(
            known_revision=None if known is None else known.to_proto(),
            include_credential=self._options.include_credential,
            heartbeat_interval=Duration(seconds=int(seconds), nanos=int(fraction * 1e9)),
            client=pb.ClientIdentity(
                name=self._options.name or "providerd-python",
                version=__version__,
                instance=f"{socket.gethostname()}:{os.getpid()}",
            ),
        )

    def _tell(self, what: str, *details: object) -> None:
        """Logs an outage once, at its start; how it goes on is for those who look closer."""
        _log.log(logging.DEBUG if self._told else logging.WARNING, what, *details)
        self._told = True

    def _fail(self, error: errors.ProviderdError) -> None:
        _log.error("the watch of %s ended for good: %s", self._options.where, error)
        self._cache.fail(error)
        self._announcer.end(error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Makes an end that nobody foresaw visible: a value that nothing renews must not look current."""
        if task.cancelled():
            self._fail(errors.InternalError("its task was cancelled from outside, or its event loop ended"))
        elif (bug := task.exception()) is not None:
            self._fail(errors.InternalError(f"its task failed: {bug!r}"))


def being_cancelled() -> bool:
    """Says whether a CancelledError is meant for this task; gRPC also raises it when the other side cancels."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
