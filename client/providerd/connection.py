"""The one connection of a client: opened when first needed, and what a call over it can end with."""

from __future__ import annotations

import asyncio
import copy
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import grpc.aio

from providerd import errors, fork
from providerd.backoff import Backoff
from providerd.channel import Channel
from providerd.credentials import Credentials
from providerd.horizon import Horizon
from providerd.provider import Revision, SourceStatus
from providerd.stream import being_cancelled
from providerd.tracing import tracing_of
from providerd.v1 import provider_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from providerd.cache import Cache
    from providerd.options import ClientOptions

# What one daemon refuses without having done anything, and the next may do.
_FOR_ANOTHER = frozenset({"NOT_READY", "STORE_UNREACHABLE"})

# How often a call is made at most, where there may be several daemons: each time round_robin goes to the next one.
_TRIES = 3

# Those whose answer tells a revision that the database has just had.
_WRITES = frozenset({"SwitchProvider", "UpsertProvider", "DeleteProvider", "RollbackProvider", "ApplyConfiguration"})

# Seconds for asking others where there is an answer already, though an old one.
_SECOND_OPINION = 0.5

# The longest first pause, in seconds, of who waits for daemons to catch up.
_PAUSE = 0.02


class Budget:
    """What one call may still use.

    Attributes:
        tries: How many daemons may be asked.
    """

    def __init__(self, tries: int, seconds: float) -> None:
        self.tries = tries
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until it has to have an answer."""
        return self._end - time.monotonic()

    def shorten(self, seconds: float) -> None:
        """Lets it go on for so long at most."""
        self._end = min(self._end, time.monotonic() + seconds)


class Connection:
    """Carries the calls of a client. It is of one event loop, and of no use once the cache is closed.

    Attributes:
        credentials: What the calls are made with.
    """

    def __init__(self, cache: Cache, options: ClientOptions) -> None:
        """Opens nothing yet, but reads the files of the credentials.

        Raises:
            ValueError: One of them is broken, or the library that traces is not installed.
        """
        self.credentials = Credentials(options)
        self._tracing = tracing_of(options)
        self._cache = cache
        self._options = options
        self._tries = _TRIES if options.has_alternatives else 1
        self._horizon = Horizon(cache)
        # The newest is the last; those before it are kept for calls that began with older certificates.
        self._channels: list[Channel] = []

    def require_open(self) -> None:
        """Makes sure that the client is not closed.

        Raises:
            ClosedError: It is.
        """
        if self._cache.closed is not None:
            raise copy.copy(self._cache.closed)

    def open(self) -> None:
        """Opens a channel if there is none, or if the certificates are others than when it was opened.

        Raises:
            ClosedError: gRPC cannot be used in this process, which is the child of one that used it.
        """
        renewed = self.credentials.refresh()
        if renewed or not self._channels:
            fork.connecting(self._cache)
            self._channels.append(Channel(self._options, self.credentials.for_channel()))

    @asynccontextmanager
    async def stub(self, *, settled: bool = False) -> AsyncIterator[Any]:
        """Lends a ProviderServiceStub for one call; ``settled`` for one that stays long with the daemon it comes to."""
        self.open()
        channel = self._channels[-1]
        channel.calls += 1
        try:
            if settled:
                await channel.settle()
            yield provider_pb2_grpc.ProviderServiceStub(channel.grpc)
        finally:
            channel.calls -= 1
            await self._close_retired()

    async def call(
        self, method: str, request: Any, take: Callable[[Any], Awaitable[Any]] | None = None, *, current: bool = False
    ) -> Any:
        """Returns the answer of a unary call, or what `take` gets from another kind.

        Where there may be several daemons, what one of them cannot do without its database is asked of the next. So is,
        with `current`, what is so now, where one has less than this client has seen already; if all that are asked are
        behind, the answer is marked stale.

        Raises:
            RpcError: It failed.
            ClosedError: The client is or was closed.
        """
        budget = Budget(self._tries, self._options.timeout)
        try:
            if current:
                return await self._current(method, request, budget)
            answer = await self._answer(method, request, take, budget)
        finally:
            del request  # for the same reason as below
        if method in _WRITES and answer.HasField("revision"):
            self._horizon.see(Revision.from_proto(answer.revision))
        return answer

    async def _current(self, method: str, request: Any, budget: Budget) -> Any:
        """Asks until a daemon has all that was seen; one that says that there is nothing may just not have it yet."""
        pauses, behind = Backoff(_PAUSE), cast(Any, None)
        try:
            while budget.tries:
                asked = time.monotonic()
                try:
                    answer = await self._answer(method, request, None, budget)
                except errors.NotFoundError as missing:
                    missing.__traceback__ = None  # for the same reason as below
                    answer = missing
                except (errors.UnavailableError, errors.DeadlineExceededError):
                    if behind is None:
                        raise
                    break
                told = _told_by(answer)
                if told is None or self._horizon.takes(told[0], asked - told[1]):
                    return _given(answer)
                behind = answer
                budget.shorten(_SECOND_OPINION)
                if budget.tries:
                    await asyncio.sleep(pauses.next())
            if not isinstance(behind, errors.NotFoundError):
                behind.source.stale = True
            return _given(behind)
        finally:
            del request

    async def _answer(
        self, method: str, request: Any, take: Callable[[Any], Awaitable[Any]] | None, budget: Budget
    ) -> Any:
        """Asks until a daemon has its database."""
        try:
            while True:
                budget.tries -= 1
                try:
                    return await self._once(method, request, take, budget.left)
                except errors.UnavailableError as refusal:
                    if not budget.tries or refusal.reason not in _FOR_ANOTHER:
                        raise
        finally:
            del request

    async def _once(
        self, method: str, request: Any, take: Callable[[Any], Awaitable[Any]] | None, seconds: float
    ) -> Any:
        try:
            self.require_open()
            async with self.stub() as stub:
                try:
                    call = getattr(stub, method)(
                        request, timeout=seconds, metadata=self.credentials.metadata() + self._tracing.of_call()
                    )
                    answer = await (call if take is None else take(call))
                finally:
                    # Errors may be kept, and shown with local variables: a request may hold a key, a stub holds gRPC.
                    call = None
                    del stub
        except grpc.aio.AioRpcError as refusal:
            refusal.__traceback__ = None  # for the same reason
            raise errors.from_rpc(refusal, self._options.where, self._options.transport) from None
        except asyncio.CancelledError:
            # gRPC raises this for a call that the server cancelled or close() cut off, too.
            if being_cancelled():
                raise
            self.require_open()
            raise errors.RpcError("the call was cancelled by the other side", code=grpc.StatusCode.CANCELLED) from None
        finally:
            del request
        if answer is None:  # what gRPC makes of bytes that are no message
            raise errors.InternalError("the daemon's answer cannot be decoded")
        return answer

    async def close(self) -> None:
        """Closes all channels, which ends the calls on them."""
        if self._channels:
            # Let go of them, too: gRPC shuts down with its last channel, and only then may the process fork.
            while self._channels:
                await self._channels.pop().grpc.close()
            fork.disconnected(self._cache)

    async def _close_retired(self) -> None:
        idle = [channel for channel in self._channels[:-1] if not channel.calls]
        self._channels = [channel for channel in self._channels if channel not in idle]
        for channel in idle:
            await channel.grpc.close()


def _told_by(answer: Any) -> tuple[Revision, float] | None:
    """The revision that an answer is of, and how many seconds before that was verified; None if it does not say."""
    if not isinstance(answer, errors.NotFoundError):
        return Revision.from_proto(answer.revision), SourceStatus.from_proto(answer.source).age
    said = answer.metadata
    try:
        return Revision(said["store_id"], int(said["revision"])), float(said["age_seconds"])
    except (KeyError, ValueError):
        return None


def _given(answer: Any) -> Any:
    if isinstance(answer, errors.NotFoundError):
        raise answer
    return answer


async def first(call: Any) -> Any:
    """Returns the first answer of a server-streaming call, which ends with it.

    Raises:
        UnavailableError: There was none.
    """
    try:
        async for answer in call:
            return answer
    finally:
        call.cancel()
        del call
    raise errors.UnavailableError("the stream ended")
