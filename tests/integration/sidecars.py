"""A sidecar in the test's own event loop, on a unix socket."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from providerd.v1 import provider_pb2 as pb
from providerd.v1.provider_pb2_grpc import ProviderServiceStub
from providerd_server import sidecar
from providerd_server.entrance import Entrance
from providerd_server.sidecar_settings import load
from tests.integration.scripted_server import ScriptedServer, Watch
from tests.integration.serving import Serving
from tests.unit.sdk_messages import active


@asynccontextmanager
async def sidecar_of(*upstream: str, serving: bool = True, **flags: Any) -> AsyncIterator[Serving]:
    """A sidecar of daemons at these addresses; with ``serving`` once it answers."""
    async with AsyncExitStack() as stack:
        # Shorter than pytest's own, for the path of a socket has few bytes.
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="providerd-"))
        address = f"unix://{directory}/s.sock"
        settings = load(**{"upstream": list(upstream), "listen": address, **flags})
        task = asyncio.create_task(sidecar.serve(settings, Entrance.of(settings)))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        found = Serving(address, ProviderServiceStub(channel), task)
        try:
            await until_health(channel, serving=serving)
            yield found
        finally:
            task.cancel()
            await asyncio.wait({task}, timeout=20)
            assert task.done()


async def until_serving(sidecar: Serving) -> None:
    """Returns once it answers."""
    async with grpc.aio.insecure_channel(sidecar.address) as channel:
        await until_health(channel)


async def until_health(channel: grpc.aio.Channel, *, serving: bool = True) -> None:
    """Returns once the health says this."""
    wanted = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
    answers = HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=20, wait_for_ready=True)
    async for answer in answers:
        if answer.status == wanted:
            answers.cancel()
            return


async def first_watch(upstream: ScriptedServer, number: int = 7, name: str = "groq", **content: Any) -> Watch:
    """The stream that a sidecar opens, with its first state sent."""
    watch = await upstream.watch()
    watch.send(active(number, name, "INITIAL", **content))
    return watch


async def next_event(watch: Any) -> pb.WatchActiveResponse:
    """The next message of a local watch that is not a heartbeat."""
    return await next_where(watch, lambda message: message.WhichOneof("event") != "heartbeat")


async def next_where(watch: Any, condition: Any) -> pb.WatchActiveResponse:
    """The next message of a local watch for which the condition holds."""
    async with asyncio.timeout(20):
        while True:
            message = await watch.read()
            assert message is not grpc.aio.EOF
            if condition(message):
                return message
