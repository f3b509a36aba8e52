"""Faults 7, 8 and 30: the network between clients, daemon and database."""

import asyncio
import random
import time
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest

from providerd.v1 import provider_pb2 as pb
from providerd.v1.provider_pb2_grpc import ProviderServiceStub
from tests.faults.inside import LOOKED_INTO, inside, until_nothing_is_left
from tests.faults.proxy import proxy_to
from tests.faults.scale import scaled
from tests.faults.watcher import OWN_CONNECTION
from tests.faults.world import World, descriptors_of, until

# The frame header of an HTTP/2 PING without ACK: RFC 9113, 6.7.
_PING = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00"
_GOAWAY = b"\x07\x00\x00\x00\x00\x00"


async def test_fault_07_everything_is_black_holed(bare: World) -> None:
    async with AsyncExitStack() as stack:
        to_database = await stack.enter_async_context(proxy_to(bare.cluster.socket))
        daemon = await stack.enter_async_context(bare.daemon(bare.url(to_database.address), **LOOKED_INTO))
        await bare.seed(daemon.address)
        before = await inside(daemon)
        async with proxy_to(daemon.address) as to_daemon, bare.load(to_daemon.address) as load:
            await load.more_writes(3)
            open_before = descriptors_of(daemon.pid)
            for proxy in (to_database, to_daemon):
                proxy.hold()
            await asyncio.sleep(scaled(3, 60))
            for proxy in (to_database, to_daemon):
                proxy.release()
            released = time.monotonic()
            await load.converged(15)
            # Nothing waits for ever for what was lost: calls, streams and connections are as before.
            await until(lambda: descriptors_of(daemon.pid) <= open_before + 5, 40)
            # What was called into the hole can be told of by nobody but the caller's own deadline.
            load.failures = [
                failed for failed in load.failures if failed.code != "DEADLINE_EXCEEDED" or failed.began > released
            ]
        await until_nothing_is_left(daemon, before, 40)
        assert daemon.stop() == 0


async def test_fault_08_a_reset_in_the_middle_of_a_result(bare: World) -> None:
    async with proxy_to(bare.cluster.socket) as proxy, bare.daemon(bare.url(proxy.address)) as daemon:
        await bare.seed(daemon.address)
        async with bare.load() as load:
            for _ in range(scaled(5, 100)):
                way = random.choice((proxy.up, proxy.down))
                way.cut_after = random.randrange(1, 5_000)
                await until(lambda way=way: way.cut_after > 5_000, 30)
                await load.converged(10)
        assert "Traceback" not in daemon.log.read_text()


@pytest.mark.parametrize("end", ["half-closed", "reset"])
async def test_fault_08_connections_end_on_the_way(bare: World, end: str) -> None:
    async with proxy_to(bare.cluster.socket) as proxy, bare.daemon(bare.url(proxy.address)) as daemon:
        await bare.seed(daemon.address)
        async with bare.load() as load:
            for _ in range(scaled(2, 20)):
                await load.more_writes(2)
                for link in list(proxy.links):
                    (link.half_close if end == "half-closed" else link.reset)()
                await load.converged(10)


async def test_fault_30_clients_that_ping_are_not_sent_away(world: World) -> None:
    pings, goodbyes = [], []
    async with proxy_to(world.daemons[0].address) as proxy:
        proxy.up.edit = lambda data: pings.append(data.count(_PING)) or data
        proxy.down.edit = lambda data: goodbyes.append(data.count(_GOAWAY)) or data
        every = scaled(1, 20)
        options = [
            *(option for option in OWN_CONNECTION if option[0] != "grpc.keepalive_time_ms"),
            ("grpc.keepalive_time_ms", every * 1000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
        ]
        async with grpc.aio.insecure_channel(proxy.address, options=options) as channel:
            stub: Any = ProviderServiceStub(channel)
            # So rare a heartbeat that the daemon sends nothing in between, which would forgive pings.
            request = pb.WatchActiveRequest()
            request.heartbeat_interval.seconds = 300
            call = stub.WatchActive(request)
            await anext(aiter(call))
            wanted = scaled(4, 30)
            await until(lambda: sum(pings) >= wanted, every * wanted + 20)
            assert not call.done()
            assert channel.get_state() is grpc.ChannelConnectivity.READY
            call.cancel()
    assert not sum(goodbyes)
    assert proxy.accepted == 1
