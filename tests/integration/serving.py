"""The daemon in the test's own event loop, on a real port, and a raw gRPC client of it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from providerd.secret import Secret
from providerd.v1 import provider_pb2 as pb
from providerd.v1.provider_pb2_grpc import ProviderServiceStub
from providerd_server import app
from providerd_server.security import Security
from providerd_server.settings import load
from tests.daemon import DAEMON_ROLE, as_role


@dataclass(frozen=True)
class Serving:
    """A daemon that answers, and a stub connected to it."""

    address: str
    stub: Any
    task: asyncio.Task[None]

    async def call(self, method: str, **request: Any) -> Any:
        """Calls a unary RPC with a request given as JSON."""
        return await getattr(self.stub, method)(ParseDict(request, request_type(method)()), timeout=10)

    def watch(self, **request: Any) -> Any:
        """Opens a watch with a request given as JSON."""
        return self.stub.WatchActive(ParseDict(request, pb.WatchActiveRequest()), timeout=60)


def request_type(method: str) -> type[Message]:
    found: type[Message] = getattr(pb, f"{method}Request")
    return found


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@asynccontextmanager
async def serving(
    dsn: str, *, ready: bool = True, address: str | None = None, role: str | None = DAEMON_ROLE, **flags: Any
) -> AsyncIterator[Serving]:
    """A daemon over the database at ``dsn``, which it uses as ``role``; with ``ready`` once it answers from it."""
    address = address or f"127.0.0.1:{free_port()}"
    settings = load(**{"listen": address, "dev": True, **flags})
    async with AsyncExitStack() as stack:
        task = asyncio.create_task(app.serve(settings, Secret(as_role(dsn, role)), Security.of(settings)))
        channel = await stack.enter_async_context(
            grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        )
        daemon = Serving(address, ProviderServiceStub(channel), task)
        try:
            if ready:
                await until_ready(daemon)
            yield daemon
        finally:
            task.cancel()
            await asyncio.wait({task}, timeout=20)
            assert task.done()


async def until_ready(daemon: Serving) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await daemon.stub.ListProviders(pb.ListProvidersRequest(), timeout=5, wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                if daemon.task.done():
                    daemon.task.result()
                assert error.code() is grpc.StatusCode.UNAVAILABLE, error
                await asyncio.sleep(0.02)
            else:
                return


def error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """The ErrorInfo of an error."""
    return _detail(error, error_details_pb2.ErrorInfo)


def violations(error: grpc.aio.AioRpcError) -> dict[str, str]:
    """The field violations of an error."""
    bad = _detail(error, error_details_pb2.BadRequest)
    return {violation.field: violation.description for violation in bad.field_violations}


def _detail(error: grpc.aio.AioRpcError, kind: type[Any]) -> Any:
    status = status_pb2.Status.FromString(dict(error.trailing_metadata() or ())["grpc-status-details-bin"])
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    for detail in status.details:
        found = kind()
        if detail.Unpack(found):
            return found
    raise AssertionError(f"no {kind.__name__} in {status}")
