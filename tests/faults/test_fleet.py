"""The two large runs, at full length only: a fleet over three daemons of which one is killed, and 10,000 watchers."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest

from providerd import Client
from providerd.v1 import provider_pb2 as pb
from providerd.v1.provider_pb2_grpc import ProviderServiceStub
from tests.faults.checker import Delivered, check
from tests.faults.report import Report, percentile
from tests.faults.scale import FULL
from tests.faults.staleness import active_changes, waits
from tests.faults.truth import Content
from tests.faults.watcher import OWN_CONNECTION
from tests.faults.world import World, fresh_address, restarted, rss, until

pytestmark = pytest.mark.skipif(not FULL, reason="takes minutes: see make faults")

_CLIENTS = 300
_WRITES = 10.0
_KILLS = 24
_EVERY = 5.0
_CONNECTIONS, _PER_CONNECTION = 500, 20


class Follower:
    """A client of the SDK, and everything that it was told."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.told: list[Delivered] = []
        client.on_change(self._take)

    def _take(self, change: Any) -> None:
        held = None
        if change.provider is not None:
            provider = change.provider
            held = Content(provider.provider_name, provider.description or "", provider.config_version)
        self.told.append(
            Delivered(
                time.time(), change.revision.store_id, change.revision.number, change.cause.name, held, stale=False
            )
        )


async def test_three_daemons_of_which_one_is_killed_every_five_seconds(bare: World, report: Report) -> None:
    addresses = [fresh_address() for _ in range(3)]
    async with AsyncExitStack() as stack:
        restarts = [await stack.enter_async_context(restarted(bare, address)) for address in addresses]
        await bare.seed(addresses[0])
        followers = []
        for turn in range(_CLIENTS):
            targets = addresses[turn % 3 :] + addresses[: turn % 3]
            client = await stack.enter_async_context(Client(*targets, heartbeat_interval=5))
            followers.append(Follower(client))
        async with bare.load(*addresses, watchers=30, writes=_WRITES, reads=0) as load:
            began = await bare.truth()
            for turn in range(_KILLS):
                await asyncio.sleep(_EVERY)
                await restarts[turn % 3]()
        past = await bare.truth()
        await until(lambda: all(each.client.revision.number >= past.newest for each in followers), 10)
    told = {f"client {number}": follower.told for number, follower in enumerate(followers)}
    assert check(told, load.writes, [past], {}, []) == []
    changed = [number for number in active_changes(past) if number > began.newest]
    longest = [max(waits(follower.told, past, changed)) for follower in followers]
    report.measured(
        f"3 daemons, {_CLIENTS} clients, {_WRITES:.0f} writes/s, a daemon killed every {_EVERY:.0f} s, {_KILLS} times:"
        f" {len(load.writes)} writes acknowledged, {len(load.failures)} refused, 0 lost, no revision backwards;"
        f" longest staleness {max(longest):.1f} s, of half of the clients {percentile(longest, 0.5):.1f} s"
    )


async def test_the_memory_of_ten_thousand_watchers(bare: World, report: Report) -> None:
    async with bare.daemon() as daemon, AsyncExitStack() as stack:
        await bare.seed(daemon.address)
        idle = rss(daemon.pid)
        calls: list[Any] = []
        for _ in range(_CONNECTIONS):
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(daemon.address, options=OWN_CONNECTION))
            stub: Any = ProviderServiceStub(channel)
            opened = [stub.WatchActive(pb.WatchActiveRequest()) for _ in range(_PER_CONNECTION)]
            # One connection after the other: a storm is another test's matter.
            await asyncio.gather(*(call.read() for call in opened))
            calls += opened
        each = (rss(daemon.pid) - idle) / len(calls)
        assert all(not call.done() for call in calls)
    report.measured(
        f"{len(calls):,} watchers on {_CONNECTIONS} connections: {each / 1024:.1f} KB of the daemon's memory each,"
        f" {idle / (1 << 20):.0f} MB without any"
    )
