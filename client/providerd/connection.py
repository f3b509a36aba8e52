"""The one connection of a client: opened when first needed, and what a call over it can end with."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any

import grpc.aio

from providerd import errors, fork
from providerd.channel import open_channel
from providerd.stream import being_cancelled
from providerd.v1 import provider_pb2_grpc

if TYPE_CHECKING:
    from providerd.cache import Cache
    from providerd.options import ClientOptions


class Connection:
    """Carries the calls of a client. It is of one event loop, and of no use once the cache is closed."""

    def __init__(self, cache: Cache, options: ClientOptions) -> None:
        self._cache = cache
        self._options = options
        self._channel: grpc.aio.Channel | None = None

    def require_open(self) -> None:
        """Makes sure that the client is not closed.

        Raises:
            ClosedError: It is.
        """
        if self._cache.closed is not None:
            raise copy.copy(self._cache.closed)

    def stub(self) -> Any:
        """Returns a ProviderServiceStub, and opens the channel if there is none."""
        if self._channel is None:
            fork.connecting(self._cache)
            self._channel = open_channel(self._options.targets)
        return provider_pb2_grpc.ProviderServiceStub(self._channel)

    async def call(self, method: str, request: Any) -> Any:
        """Returns the answer of a unary call.

        Raises:
            RpcError: It failed.
            ClosedError: The client is or was closed.
        """
        self.require_open()
        try:
            answer = await getattr(self.stub(), method)(request, timeout=self._options.timeout)
        except grpc.aio.AioRpcError as refusal:
            raise errors.from_rpc(refusal, self._options.where) from None
        except asyncio.CancelledError:
            # gRPC raises this for a call that the server cancelled or close() cut off, too.
            if being_cancelled():
                raise
            self.require_open()
            raise errors.RpcError("the call was cancelled by the other side", code=grpc.StatusCode.CANCELLED) from None
        if answer is None:  # what gRPC makes of bytes that are no message
            raise errors.InternalError("the daemon's answer cannot be decoded")
        return answer

    async def close(self) -> None:
        """Closes the channel, which ends the calls on it."""
        if self._channel is not None:
            # Let go of it, too: gRPC shuts down with its last channel, and only then may the process fork.
            channel, self._channel = self._channel, None
            await channel.close()
            fork.disconnected(self._cache)
