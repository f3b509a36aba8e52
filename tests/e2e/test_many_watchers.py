"""Ten thousand watchers of one daemon: all are subscribed, and one switch reaches every one of them."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import grpc

from providerd import Client
from providerd.v1 import provider_pb2 as pb
from tests.daemon import running_daemon

CHANNELS, PER_CHANNEL = 100, 100


async def until_active(watch: Any, name: str) -> int:
    """Reads until ``name`` is active; returns the revision at which it is."""
    while True:
        message = await watch.read()
        assert message is not grpc.aio.EOF
        if message.active.provider.provider_name == name:
            number: int = message.revision.number
            return number


async def test_ten_thousand_watchers_hear_of_one_switch(database: str) -> None:
    with running_daemon(database) as daemon:
        async with AsyncExitStack() as stack:
            operator = await stack.enter_async_context(Client(daemon.address, watch=False))
            await operator.upsert({"provider_name": "openrouter", "is_enabled": True})
            watches = []
            for _ in range(CHANNELS):
                # Channels to one address share a connection unless told otherwise.
                channel = grpc.aio.insecure_channel(daemon.address, options=[("grpc.use_local_subchannel_pool", 1)])
                await stack.enter_async_context(channel)
                call = channel.unary_stream(
                    "/providerd.v1.ProviderService/WatchActive",
                    request_serializer=pb.WatchActiveRequest.SerializeToString,
                    response_deserializer=pb.WatchActiveResponse.FromString,
                )
                watches += [call(pb.WatchActiveRequest()) for _ in range(PER_CHANNEL)]
            async with asyncio.timeout(90):
                subscribed = await asyncio.gather(*(until_active(watch, "groq") for watch in watches))
                assert len(subscribed) == CHANNELS * PER_CHANNEL
                switched = await operator.switch("openrouter")
                heard = await asyncio.gather(*(until_active(watch, "openrouter") for watch in watches))
            assert heard == [switched.revision.number] * (CHANNELS * PER_CHANNEL)
            # What ends later than this loop would be told to those of the next tests.
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*(watch.code() for watch in watches))
