"""Stands before every RPC: lets in who is known and may, within the limits, and ends streams of those who no longer."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from providerd_server.access.caller import Caller, calling, missing
from providerd_server.access.credentials import host_of, is_encrypted, presented_by, unknown
from providerd_server.access.denials import Denials
from providerd_server.access.principals import Presented, Registry
from providerd_server.access.scopes import scope_of
from providerd_server.errors import Kind, Refusal
from providerd_server.reloading import INTERVAL
from providerd_server.rpc import Context, Handler, abort, is_local, malformed

Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"

Behavior: TypeAlias = "Callable[[AsyncIterator[Any], Context], Awaitable[Any]]"

_HEALTH = "/grpc.health.v1.Health/"


@dataclass(frozen=True)
class Limits:
    """How much is let in at once.

    Attributes:
        calls: Unary calls.
        watches: Streams.
        watches_per_principal: Streams of one principal.
        failures: Failed authentications a minute of one host that are answered one by one.
        patience: Seconds that a call may take to send its request.
    """

    calls: int
    watches: int
    watches_per_principal: int
    failures: int
    patience: float


@dataclass(eq=False, slots=True)
class _Stream:
    """An open stream of somebody who was let in."""

    presented: Presented
    caller: Caller
    lease: asyncio.Timeout
    refusal: Refusal | None = None


class Guard(grpc.aio.ServerInterceptor):
    """Authenticates callers, checks the scope of each RPC, and holds the limits.

    Args:
        registry: Who is known; None turns authentication off.
        limits: How much is let in at once.
    """

    def __init__(self, registry: Registry | None, limits: Limits) -> None:
        self.denials = Denials(limits.failures)
        # Calls and streams for which there was no room, by reason.
        self.crowded_out = Counter(TOO_MANY_CALLS=0, TOO_MANY_WATCHES=0)
        self._registry = registry
        self._limits = limits
        self._calls = 0
        self._streams: set[_Stream] = set()
        self._of_owner: Counter[str | None] = Counter()

    @property
    def calls(self) -> int:
        """Unary calls in flight."""
        return self._calls

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Puts itself before the handler of a call.

        Every call is taken as a stream of requests, since gRPC runs the handlers of those as soon as the metadata is
        there: nobody unknown gets to send a request, or to hold a call open by not sending it.
        """
        handler: Any = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        # Were gRPC to decode requests, it would quote its error to the peer.
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._stream(method, handler), None, handler.response_serializer
            )
        return grpc.stream_unary_rpc_method_handler(self._unary(method, handler), None, handler.response_serializer)

    async def follow(self) -> None:
        """Ends the streams of those who are no longer let in, until cancelled; see ``Registry.file`` for reloads."""
        while True:
            await asyncio.sleep(INTERVAL)
            for stream in tuple(self._streams):
                # One that is ending already cannot be ended again.
                if stream.refusal is None and (refusal := self._lost(stream)) is not None:
                    stream.refusal = refusal
                    stream.lease.reschedule(asyncio.get_running_loop().time())

    def _unary(self, method: str, handler: Any) -> Behavior:
        async def behave(requests: AsyncIterator[Any], context: Context) -> Any:
            try:
                caller, _ = self._admit(method, context)
                request = await self._only(handler, requests)
                with self._counted_call(method), calling(caller):
                    return await handler.unary_unary(request, context)
            except Exception as error:
                await abort(context, error)

        return behave

    def _stream(self, method: str, handler: Any) -> Behavior:
        async def behave(requests: AsyncIterator[Any], context: Context) -> None:
            try:
                caller, presented = self._admit(method, context)
                owner = caller.principal.name if caller.principal else None
                async with self._open_stream(caller, presented, _HEALTH if method.startswith(_HEALTH) else owner):
                    if not handler.request_streaming:
                        answers = handler.unary_stream(await self._only(handler, requests), context)
                    else:
                        answers = handler.stream_stream((_decoded(handler, each) async for each in requests), context)
                    if inspect.isasyncgen(answers):
                        async for answer in answers:
                            await context.write(answer)
                    else:
                        await answers
            except Exception as error:
                await abort(context, error)

        return behave

    async def _only(self, handler: Any, requests: AsyncIterator[bytes]) -> Any:
        """The request of a call that takes one."""
        try:
            async with asyncio.timeout(self._limits.patience):
                return _decoded(handler, await anext(requests))
        except TimeoutError:
            raise Refusal(
                Kind.INVALID_ARGUMENT,
                "REQUEST_MISSING",
                f"the call has not sent its request within {self._limits.patience:g} s",
            ) from None
        except StopAsyncIteration:
            raise Refusal(Kind.INVALID_ARGUMENT, "REQUEST_MISSING", "the call has no request") from None

    def _admit(self, method: str, context: Context) -> tuple[Caller, Presented]:
        """Who calls, once it is known that they may; raises ``Refusal``."""
        peer = context.peer()
        caller = Caller(
            is_local=is_local(peer),
            is_encrypted=is_encrypted(context),
            denied=lambda refusal, name: self.denials.denied(
                refusal, method=method, host=host_of(peer), principal=name
            ),
        )
        if self._registry is None or method.startswith(_HEALTH):
            return caller, Presented()
        try:
            presented = presented_by(context)
            caller.principal = self._registry.find(presented)
            if caller.principal is None:
                raise unknown(presented, expired=self._registry.is_expired(presented))
        except Refusal as refusal:
            raise caller.denied(refusal, "") from None
        caller.require(scope_of(method))
        return caller, presented

    def _lost(self, stream: _Stream) -> Refusal | None:
        """Why a stream may not go on; None when it may."""
        if self._registry is None or stream.caller.principal is None:
            return None
        now = self._registry.find(stream.presented)
        if now is None:
            return unknown(stream.presented, expired=self._registry.is_expired(stream.presented))
        lost = [scope for scope in stream.caller.needed if not now.may(scope)]
        return missing(lost[0], now) if lost else None

    @contextmanager
    def _counted_call(self, method: str) -> Iterator[None]:
        if method.startswith(_HEALTH):
            # To be busy is not to be ill.
            yield
            return
        if self._calls >= self._limits.calls:
            raise self._crowded(_too_many("TOO_MANY_CALLS", "calls in flight", self._limits.calls))
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1

    @asynccontextmanager
    async def _open_stream(self, caller: Caller, presented: Presented, owner: str | None) -> AsyncIterator[None]:
        """Counts a stream to its owner, and ends it with a refusal when its caller is no longer let in."""
        self._check_room(owner)
        stream = _Stream(presented, caller, asyncio.timeout(None))
        self._streams.add(stream)
        self._of_owner[owner] += 1
        try:
            with calling(caller):
                async with stream.lease:
                    yield
        except TimeoutError:
            if stream.refusal is None:
                raise
            self.denials.lost(stream.refusal, principal=owner or "")
            raise stream.refusal from None
        finally:
            self._streams.discard(stream)
            self._of_owner[owner] -= 1
            if not self._of_owner[owner]:
                del self._of_owner[owner]

    def _check_room(self, owner: str | None) -> None:
        # Health takes no authentication, so those who ask for it must not take the place of others.
        if owner != _HEALTH and len(self._streams) - self._of_owner[_HEALTH] >= self._limits.watches:
            raise self._crowded(_too_many("TOO_MANY_WATCHES", "watches", self._limits.watches))
        if owner is not None and self._of_owner[owner] >= self._limits.watches_per_principal:
            raise self._crowded(
                _too_many("TOO_MANY_WATCHES", f"watches of {owner}", self._limits.watches_per_principal)
            )

    def _crowded(self, refusal: Refusal) -> Refusal:
        self.crowded_out[refusal.reason] += 1
        return refusal


def _decoded(handler: Any, data: bytes) -> Any:
    if handler.request_deserializer is None:
        return data
    try:
        return handler.request_deserializer(data)
    except DecodeError:
        raise malformed() from None


def _too_many(reason: str, what: str, limit: int) -> Refusal:
    return Refusal(
        Kind.RESOURCE_EXHAUSTED,
        reason,
        f"the daemon has {limit} {what} already, which is its limit; try again later",
        metadata={"limit": str(limit)},
    )
