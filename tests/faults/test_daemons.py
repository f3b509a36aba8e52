"""Faults 23, 24, 25, 27, 29, 31 and 34: daemons die, freeze, end in order and come back."""

import asyncio
import gc
import os
import signal
import statistics
import subprocess
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc

from providerd import Client, State
from providerd.v1 import provider_pb2 as pb
from providerd.v1.provider_pb2_grpc import ProviderServiceStub
from tests.daemon import PROVIDERD, clean_environment
from tests.faults.inside import LOOKED_INTO, inside, until_nothing_is_left
from tests.faults.report import Report
from tests.faults.scale import scaled
from tests.faults.watcher import OWN_CONNECTION
from tests.faults.world import World, descriptors_of, fresh_address, restarted, rss, until


async def test_fault_23_the_daemon_is_killed_again_and_again(bare: World) -> None:
    address = fresh_address()
    async with restarted(bare, address) as kill_and_restart:
        await bare.seed(address)
        async with bare.load(address) as load:
            for _ in range(scaled(2, 24)):
                await asyncio.sleep(scaled(0.5, 5))
                await kill_and_restart()
                await load.converged(6)


async def test_fault_24_the_daemon_ends_in_order(bare: World, report: Report) -> None:
    address = fresh_address()
    async with AsyncExitStack() as stack:
        daemon = await stack.enter_async_context(bare.daemon(PROVIDERD_LISTEN=address))
        await bare.seed(address)
        async with bare.load(address) as load:
            await load.more_writes(3)
            began = time.monotonic()
            assert await asyncio.to_thread(daemon.stop) == 0
            seconds = time.monotonic() - began
            await stack.enter_async_context(bare.daemon(PROVIDERD_LISTEN=address))
            await load.converged(6)
    assert seconds <= 8
    assert [watcher.ends["DRAIN"] for watcher in load.watchers] == [1] * len(load.watchers)
    retries = [watcher.retries[0] for watcher in load.watchers]
    assert statistics.stdev(retries) > 0.4
    assert max(retries) <= 5
    report.measured(
        f"SIGTERM with {len(retries)} watchers: ended after {seconds:.1f} s, they come back"
        f" over {max(retries) - min(retries):.1f} s"
    )


async def test_fault_25_the_daemon_is_frozen(world: World) -> None:
    [daemon] = world.daemons
    async with Client(daemon.address, heartbeat_interval=1) as client, world.load() as load:
        await until(lambda: client.state is State.READY, 5)
        os.kill(daemon.pid, signal.SIGSTOP)
        try:
            await until(lambda: client.state is State.STALE, 3.5)
            known = client.active
            await asyncio.sleep(scaled(1, 60))
            assert client.active == known
        finally:
            os.kill(daemon.pid, signal.SIGCONT)
        await until(lambda: client.state is State.READY, 6)
        await load.converged(8)
        await until(lambda: client.revision.number >= load.writes[-1].revision, 5)
        # What was called into the silence has waited too long for an answer, which it would get from any daemon.
        load.failures = [failed for failed in load.failures if failed.code != "DEADLINE_EXCEEDED"]


async def test_fault_27_connecting_and_cancelling(bare: World, report: Report) -> None:
    request = pb.WatchActiveRequest()

    async def cycle() -> None:
        async with grpc.aio.insecure_channel(daemon.address, options=OWN_CONNECTION) as channel:
            stub: Any = ProviderServiceStub(channel)
            call = stub.WatchActive(request)
            await anext(aiter(call))
            call.cancel()

    async def cycles(count: int) -> None:
        for _ in range(count // 10):
            await asyncio.gather(*(cycle() for _ in range(10)))
        # On our side a connection ends with the last object of its channel, and those hold each other.
        gc.collect()
        await asyncio.sleep(0.5)

    async with bare.daemon(**LOOKED_INTO) as daemon:
        await bare.seed(daemon.address)
        before = await inside(daemon)
        async with bare.load(watchers=2):
            # What grows with the first connections is not a leak.
            await cycles(scaled(100, 1000))
            memory, descriptors = rss(daemon.pid), descriptors_of(daemon.pid)
            count = scaled(200, 10_000)
            await cycles(count)
            await until(lambda: descriptors_of(daemon.pid) <= descriptors + 10, 10)
            growth = rss(daemon.pid) - memory
        # The load's own watchers are gone, too.
        await until_nothing_is_left(daemon, before, 20)
        await asyncio.to_thread(daemon.stop)
        assert '"watchers": 0' in daemon.log.read_text()
    assert growth < 20 << 20
    report.measured(f"{count:,} watches opened and cancelled: the daemon grew by {growth / (1 << 20):.1f} MB")


async def test_fault_29_a_second_daemon_on_the_port(world: World, tmp_path: Path) -> None:
    [daemon] = world.daemons
    async with world.load() as load:
        environment = {**clean_environment(), "SUPABASE_DB_URL": world.dsn, "PROVIDERD_LISTEN": daemon.address}
        done = await asyncio.to_thread(
            subprocess.run,
            [PROVIDERD, "serve"],
            env={**environment, "PROVIDERD_DEV": "true"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode != 0
        assert daemon.address in done.stderr.splitlines()[-1]
        await load.converged(5)
    assert not any(watcher.ends for watcher in load.watchers)
    assert not load.failures


async def test_fault_31_reconnecting_after_an_outage(bare: World, report: Report) -> None:
    address = fresh_address()
    async with restarted(bare, address) as kill_and_restart:
        await bare.seed(address)
        async with Client(address) as client, bare.load(address) as load:
            await client.wait_ready(10)
            await kill_and_restart(pause=scaled(2, 300))
            seconds = await until(lambda: client.state is State.READY, 6)
            await load.converged(6)
    report.measured(f"after an outage of {scaled(2, 300)} s a client was back in {seconds:.1f} s")


async def test_fault_34_two_daemons_tell_the_same(world: World) -> None:
    async with world.daemon(), world.load(writes=20) as load:
        await load.more_writes(scaled(40, 2000), seconds=300)
    # Watchers take turns between the daemons.
    first, second = (
        {message.number: message.held for watcher in load.watchers[turn::2] for message in watcher.told}
        for turn in range(2)
    )
    common = first.keys() & second.keys()
    # Where the machine is busy, watchers skip most of them.
    assert len(common) > scaled(20, 200)
    assert {number: first[number] for number in common} == {number: second[number] for number in common}
