"""One WatchActive stream: the state now, each change of it, and heartbeats between."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc.aio
import structlog
from google.protobuf.duration_pb2 import Duration

from providerd.v1 import provider_pb2 as pb
from providerd_server import convert
from providerd_server.errors import Kind, Refusal, Violation, invalid, not_ready
from providerd_server.hub import Cause, Hub, Mailbox, State, cause_between
from providerd_server.rpc import Context
from providerd_server.snapshot import Revision

log = structlog.get_logger(__name__)

_LONGEST_NAME = 200

_SHORTEST_HEARTBEAT, _DEFAULT_HEARTBEAT, _LONGEST_HEARTBEAT = 1.0, 15.0, 300.0

# Watchers come back spread over this many seconds after a drain.
_DRAIN_SPREAD = 3.0

# How long a watcher that claims to know more than this daemon waits for the daemon to find out.
_CATCH_UP = 5.0

# Seconds that a message may take even if the one before it used up the time of both.
_LEAST_FOR_A_WRITE = 1.0


@dataclass(frozen=True)
class Wish:
    """What one WatchActive request asks for.

    Attributes:
        watcher: Who asks, as it calls itself.
        known: The newest revision the client has applied, if any.
        with_credential: Whether events carry the key.
        heartbeat: Seconds between signs of life.
    """

    watcher: str
    known: Revision | None
    with_credential: bool
    heartbeat: float

    @classmethod
    def of(cls, request: pb.WatchActiveRequest) -> Wish:
        """Reads a request; INVALID_ARGUMENT with every violation at once."""
        violations = []
        known = request.known_revision
        if known.number < 0:
            violations.append(Violation("known_revision.number", "must not be negative"))
        if len(known.store_id) > 100:
            violations.append(Violation("known_revision.store_id", "must be a store_id as an earlier message gave it"))
        heartbeat = _DEFAULT_HEARTBEAT
        if request.HasField("heartbeat_interval"):
            heartbeat = request.heartbeat_interval.seconds + request.heartbeat_interval.nanos / 1e9
            if not _SHORTEST_HEARTBEAT <= heartbeat <= _LONGEST_HEARTBEAT:
                violations.append(Violation("heartbeat_interval", "must be 1 s to 300 s"))
        if violations:
            raise invalid(violations)
        client = request.client
        return cls(
            watcher=" ".join(part for part in (client.name, client.version, client.instance) if part)[:_LONGEST_NAME],
            known=convert.revision_from(known) if known.store_id and known.number else None,
            with_credential=request.include_credential,
            heartbeat=heartbeat,
        )


class Watch:
    """Serves one stream until the client leaves or the hub drains.

    Args:
        hub: What to watch.
        wish: What the client asked for.
        status: Makes the source status of the moment.
        verify: Has the source read again.
        write: Sends encoded bytes that there has been reason for since a moment, by ``time.monotonic``; raises
            ``Refusal`` when the client has not taken them for too long.
    """

    _mailbox: Mailbox

    def __init__(
        self,
        hub: Hub,
        wish: Wish,
        *,
        status: Callable[[], pb.SourceStatus],
        verify: Callable[[], Awaitable[None]],
        write: Callable[[bytes, float], Awaitable[None]],
    ) -> None:
        self._hub = hub
        self._wish = wish
        self._status = status
        self._verify = verify
        self._write = write

    async def run(self) -> None:
        """Streams; always ends by raising a ``Refusal`` that says whether to come back, or by cancellation."""
        with self._hub.subscribe(self._wish.watcher, self._wish.known) as mailbox:
            self._mailbox = mailbox
            told = await self._begin(mailbox)
            spoke = time.monotonic()
            while not self._hub.draining:
                # Counted from the last message, not the last ring: changes of other providers ring too.
                rang = await mailbox.wait(spoke + self._wish.heartbeat - time.monotonic())
                if self._hub.draining:
                    break
                state = mailbox.take() or told
                cause = cause_between(told, state)
                if cause is not None or not rang or self._status().stale is not mailbox.told_stale:
                    await self._tell(state, cause, since=mailbox.rang_at if rang else time.monotonic())
                    spoke = time.monotonic()
                mailbox.told = told = state
            await self._drain()

    async def _begin(self, mailbox: Mailbox) -> State:
        state = mailbox.take()
        if state is None:
            raise not_ready()
        known = self._wish.known
        if known is not None and _is_news_of(known, state):
            state = await self._catch_up(mailbox, known, state)
        up_to_date = known is not None and state.is_current_for(known)
        await self._tell(state, None if up_to_date else _first_cause(known, state), since=time.monotonic())
        return state

    async def _catch_up(self, mailbox: Mailbox, known: Revision, state: State) -> State:
        # The client heard more from another daemon, or the store was restored, for it or for us: only a fresh read can
        # tell which of both is the past.
        try:
            async with asyncio.timeout(_CATCH_UP):
                await self._verify()
        except TimeoutError:
            raise Refusal(
                Kind.UNAVAILABLE,
                "BEHIND",
                f"the daemon is at revision {state.revision.number} and cannot verify {known.number}; try another",
                metadata={"current_revision": str(state.revision.number)},
            ) from None
        return mailbox.take() or state

    async def _tell(self, state: State, cause: Cause | None, *, since: float) -> None:
        """Sends the active provider because of ``cause``, or without one a heartbeat."""
        with_credential = self._wish.with_credential
        encoded = (
            state.encoded("heartbeat", lambda: _encode_heartbeat(state))
            if cause is None
            else state.encoded(("watch", cause, with_credential), lambda: _encode(state, cause, with_credential))
        )
        await self._send(encoded, since)
        self._mailbox.delivered(state, cause)

    async def _drain(self) -> None:
        seconds = random.uniform(0.1, _DRAIN_SPREAD)  # noqa: S311 - spreads clients, protects nothing
        retry_after = Duration()
        retry_after.FromMilliseconds(int(seconds * 1000))
        message = pb.WatchActiveResponse(drain=pb.Drain(retry_after=retry_after))
        if self._hub.state is not None:
            message.revision.CopyFrom(convert.revision_message(self._hub.state.revision))
        await self._send(message.SerializeToString(), time.monotonic())
        raise Refusal(
            Kind.UNAVAILABLE,
            "DRAINING",
            "the daemon is shutting down; come back later",
            metadata={"retry_after_ms": str(retry_after.ToMilliseconds())},
        )

    async def _send(self, encoded: bytes, since: float) -> None:
        # Protobuf messages concatenate: the shared bytes, then what is different at every moment.
        # https://protobuf.dev/programming-guides/encoding/#last-one-wins
        status = self._status()
        self._mailbox.told_stale = status.stale
        await self._write(encoded + pb.WatchActiveResponse(source=status).SerializeToString(), since)


def bounded_write(context: Context, seconds: float) -> Callable[[bytes, float], Awaitable[None]]:
    """``context.write`` for clients that may have stopped reading, or read more slowly than things change.

    On a full flow control window gRPC would wait for ever; this refuses the client after ``seconds``. They are counted
    from when there was something to send, so that one message after the other, each just in time, is none.
    """
    least = min(seconds, _LEAST_FOR_A_WRITE)

    async def write(encoded: bytes, since: float) -> None:
        try:
            async with asyncio.timeout(max(since + seconds - time.monotonic(), least)):
                await context.write(encoded)
        except TimeoutError:
            raise Refusal(
                Kind.UNAVAILABLE,
                "WATCHER_STALLED",
                f"the watcher has not taken what is new for {seconds:g} s; come back",
            ) from None
        except grpc.aio.InternalError:
            # What gRPC makes of a client that goes in the middle of a message, before it cancels the call.
            raise asyncio.CancelledError from None

    return write


def _first_cause(known: Revision | None, state: State) -> Cause:
    return Cause.RESYNC if known is not None and _is_news_of(known, state) else Cause.INITIAL


def _is_news_of(known: Revision, state: State) -> bool:
    """Whether it is not in the state's past: of another store, or later."""
    return known.store_id != state.revision.store_id or known.number > state.revision.number


def _encode(state: State, cause: Cause, with_credential: bool) -> bytes:
    event = pb.ActiveEvent(cause=f"CHANGE_CAUSE_{cause.name}")
    active = state.snapshot.active
    if active is not None:
        event.provider.CopyFrom(convert.provider_message(active))
        if with_credential and (credential := convert.credential_message(active)):
            event.credential.CopyFrom(credential)
    return pb.WatchActiveResponse(active=event, revision=convert.revision_message(state.revision)).SerializeToString()


def _encode_heartbeat(state: State) -> bytes:
    return pb.WatchActiveResponse(
        heartbeat=pb.Heartbeat(), revision=convert.revision_message(state.revision)
    ).SerializeToString()
