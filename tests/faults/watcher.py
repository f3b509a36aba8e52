"""A watcher on a connection of its own, by raw gRPC, that remembers every message and every end."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from providerd.backoff import Backoff
from providerd.v1 import provider_pb2 as pb
from providerd.v1.provider_pb2_grpc import ProviderServiceStub
from tests.faults.checker import Delivered
from tests.faults.scale import HEARTBEAT
from tests.faults.truth import Content

# Channels to one address share a connection unless told otherwise.
OWN_CONNECTION = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)
# Otherwise gRPC's windows grow with what goes through them, to megabytes: here at most 64 KB are on their way.
SMALL_WINDOWS = (*OWN_CONNECTION, ("grpc.http2.bdp_probe", 0))


class Watcher:
    """Watches, and comes back from where it was, until cancelled.

    Args:
        address: Of a daemon.
        on_message: Is called after each.
        options: Of its channel.
        patience: Seconds without a word until it gives a stream up.

    Attributes:
        told: Every message.
        ends: How often a stream ended with which status code, or DRAIN, SILENCE, or NOT_BEGUN: what gRPC cancels in a
            daemon that ends before its handler runs, see https://github.com/grpc/grpc/issues/41785.
        retries: The seconds that drains asked for.
        shown: All bytes that were received, of the newest message.
    """

    def __init__(
        self,
        address: str,
        on_message: Callable[[], None] = lambda: None,
        *,
        options: Sequence[tuple[str, int]] = OWN_CONNECTION,
        patience: float = 3 * HEARTBEAT,
    ) -> None:
        self.told: list[Delivered] = []
        self.ends: Counter[str] = Counter()
        self.retries: list[float] = []
        self.said: set[str] = set()
        self.canaries: list[bytes] = []
        self.leaked = False
        self._address = address
        self._on_message = on_message
        self._options = options
        self._patience = patience
        self._held: Content | None = None
        self._known = pb.Revision()

    @property
    def number(self) -> int:
        """The newest revision it knows."""
        return self._known.number

    async def run(self) -> None:
        """Watches until cancelled."""
        backoff = Backoff()
        async with grpc.aio.insecure_channel(self._address, options=self._options) as channel:
            stub: Any = ProviderServiceStub(channel)
            while True:
                call, told = stub.WatchActive(self._request()), len(self.told)
                try:
                    pause = await self._follow(call, backoff)
                except grpc.aio.AioRpcError as error:
                    begun = len(self.told) > told or error.code() is not grpc.StatusCode.CANCELLED
                    self.ends[error.code().name if begun else "NOT_BEGUN"] += 1
                    self.said.add(f"{error.details()} {error.trailing_metadata()}")
                    pause = backoff.next()
                except TimeoutError:
                    self.ends["SILENCE"] += 1
                    pause = backoff.next()
                finally:
                    call.cancel()
                await asyncio.sleep(pause)

    async def _follow(self, call: Any, backoff: Backoff) -> float:
        messages = aiter(call)
        while True:
            async with asyncio.timeout(self._patience):
                message: Any = await anext(messages, None)
            if message is None:
                self.ends["OK"] += 1  # a stream must never end like this
                return backoff.next()
            if message.HasField("drain"):
                self.retries.append(message.drain.retry_after.ToTimedelta().total_seconds())
                self.ends["DRAIN"] += 1
                return self.retries[-1]
            self._take(message)
            backoff.reset()

    def _take(self, message: pb.WatchActiveResponse) -> None:
        cause = ""
        if message.HasField("active"):
            provider = message.active.provider
            cause = pb.ChangeCause.Name(message.active.cause).removeprefix("CHANGE_CAUSE_")
            self._held = (
                # One text for all watchers of a test, who are told of the same large ones.
                Content(provider.provider_name, sys.intern(provider.description), provider.config_version)
                if message.active.HasField("provider")
                else None
            )
        self._known = message.revision
        self.leaked = self.leaked or any(canary in message.SerializeToString() for canary in self.canaries)
        self.told.append(
            Delivered(time.time(), self._known.store_id, self._known.number, cause, self._held, message.source.stale)
        )
        self._on_message()

    def _request(self) -> pb.WatchActiveRequest:
        request = pb.WatchActiveRequest(heartbeat_interval=Duration(seconds=int(HEARTBEAT)))
        if self._known.store_id:
            request.known_revision.CopyFrom(self._known)
        return request
