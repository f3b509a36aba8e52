"""A real gRPC server that does what a test says, where the daemon would be."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio

from providerd.v1 import provider_pb2 as pb

_REQUESTS = {
    "GetActiveProvider": pb.GetActiveProviderRequest,
    "GetProvider": pb.GetProviderRequest,
    "ListProviders": pb.ListProvidersRequest,
    "SwitchProvider": pb.SwitchProviderRequest,
    "UpsertProvider": pb.UpsertProviderRequest,
}

Answer = Callable[[Any, Any], Awaitable[Any]]


class Watch:
    """One WatchActive call. `gone` is set when it has ended, by whatever side."""

    def __init__(self, request: pb.WatchActiveRequest, context: Any) -> None:
        self.request = request
        self.authorization = authorization(context)
        self.names = names(context)
        self.gone = asyncio.Event()
        self._steps: asyncio.Queue[bytes | tuple[grpc.StatusCode, str]] = asyncio.Queue()

    @property
    def known(self) -> int | None:
        return self.request.known_revision.number if self.request.HasField("known_revision") else None

    def send(self, *messages: pb.WatchActiveResponse) -> None:
        for message in messages:
            self._steps.put_nowait(message.SerializeToString())

    def send_bytes(self, raw: bytes) -> None:
        self._steps.put_nowait(raw)

    def end(self, code: grpc.StatusCode = grpc.StatusCode.OK, details: str = "") -> None:
        self._steps.put_nowait((code, details))

    async def run(self, context: Any) -> None:
        try:
            while isinstance(step := await self._steps.get(), bytes):
                await context.write(step)
            if step[0] is not grpc.StatusCode.OK:
                await context.abort(*step)
        finally:
            self.gone.set()


class ScriptedServer:
    """Hands each watch to the test, and answers calls with the coroutine functions in `answers`.

    It speaks TLS with what `credentials` returns whenever it starts.
    """

    def __init__(self, credentials: Callable[[], grpc.ServerCredentials] | None = None) -> None:
        self.port = 0
        self._credentials = credentials
        self.answers: dict[str, Answer] = {}
        self._watches: asyncio.Queue[Watch] = asyncio.Queue()
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listens on a free port the first time, and on the same one after a stop."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self._handlers(),))
        if self._credentials is None:
            self.port = self._server.add_insecure_port(self.address)
        else:
            self.port = self._server.add_secure_port(self.address, self._credentials())
        await self._server.start()

    async def stop(self) -> None:
        assert self._server is not None
        await self._server.stop(None)

    async def watch(self) -> Watch:
        """Returns the next watch that a client opens."""
        async with asyncio.timeout(20):
            return await self._watches.get()

    def _handlers(self) -> grpc.GenericRpcHandler:
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(self._unary(name), request_deserializer=request.FromString)
            for name, request in _REQUESTS.items()
        }
        # Bytes pass as they are, so that a test can send some that are no message.
        handlers["WatchActive"] = grpc.unary_stream_rpc_method_handler(
            self._watch_active, request_deserializer=pb.WatchActiveRequest.FromString
        )
        return grpc.method_handlers_generic_handler("providerd.v1.ProviderService", handlers)

    async def _watch_active(self, request: pb.WatchActiveRequest, context: Any) -> None:
        watch = Watch(request, context)
        self._watches.put_nowait(watch)
        await watch.run(context)

    def _unary(self, name: str) -> Answer:
        async def handle(request: Any, context: Any) -> bytes:
            answer = await self.answers[name](request, context)
            return answer if isinstance(answer, bytes) else answer.SerializeToString()

        return handle


@asynccontextmanager
async def scripted_server(
    credentials: Callable[[], grpc.ServerCredentials] | None = None,
) -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer(credentials)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def authorization(context: Any) -> list[str]:
    """The authorization headers of a call."""
    return [value for key, value in context.invocation_metadata() or () if key == "authorization"]


def names(context: Any) -> list[str]:
    """The DNS names in the client's certificate."""
    return [name.decode() for name in context.auth_context().get("peer_dns", ())]
