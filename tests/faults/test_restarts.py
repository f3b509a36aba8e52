"""Faults 1, 2, 3, 5, 19 and 22: the database goes away, and comes back."""

import asyncio
import signal

import asyncpg

from tests.faults.cluster import Cluster
from tests.faults.report import Report
from tests.faults.scale import scaled
from tests.faults.standby import replicated
from tests.faults.world import World

# What a caller may wait for the answer that a write cannot be made.
_WRITE_SECONDS = 5.5


async def test_fault_01_fast_restarts(world: World) -> None:
    async with world.load() as load:
        for _ in range(scaled(2, 20)):
            await world.cluster.bounce(signal.SIGINT)
            await load.converged(5)


async def test_fault_02_a_backend_is_killed_mid_write(world: World, report: Report) -> None:
    kills, hits = scaled(3, 50), 0
    async with world.load(writes=20.0) as load:
        for _ in range(kills):
            await load.more_writes(3)
            postmaster = world.cluster.postgres.pid
            hits += await world.cluster.kill_mid_write(world.name)
            await world.cluster.until_up()
            assert world.cluster.postgres.pid == postmaster
            await load.converged(5)
    # The others had committed in the moment between being seen and being stopped.
    assert hits > kills / 2
    assert len(load.failures) >= hits, "a write that was hit was acknowledged"
    report.measured(f"kill -9 of {kills} backends: {hits} were in the middle of a write, {len(load.failures)} refused")


async def test_fault_03_immediate_shutdowns(world: World) -> None:
    async with world.load(writes=20.0) as load:
        for _ in range(scaled(2, 20)):
            await load.more_writes(3)
            await world.cluster.bounce(signal.SIGQUIT)
            await load.converged(5)


async def test_fault_05_the_whole_database_is_frozen(world: World) -> None:
    async with world.load() as load:
        await load.more_writes(3)
        with world.cluster.frozen():
            await asyncio.sleep(scaled(4, 30))
        await load.converged(5)
    assert set(load.reads) == {"OK", "STALE"}
    assert all(any(message.stale for message in watcher.told) for watcher in load.watchers)
    assert load.failures
    assert {failed.code for failed in load.failures} == {"UNAVAILABLE"}
    assert max(failed.seconds for failed in load.failures) <= _WRITE_SECONDS


async def test_fault_19_the_database_turns_read_only(world: World) -> None:
    async with world.load() as load:
        await load.more_writes(3)
        await _alter(world.cluster, "SET default_transaction_read_only = on")
        await asyncio.sleep(scaled(1.5, 30))
        acknowledged = len(load.writes)
        await asyncio.sleep(scaled(1, 10))
        assert len(load.writes) == acknowledged
        await _alter(world.cluster, "RESET default_transaction_read_only")
        await load.converged(5)
    assert load.failures
    assert {failed.code for failed in load.failures} == {"UNAVAILABLE"}
    assert set(load.reads) == {"OK"}


async def test_fault_22_a_standby_is_promoted(bare: World, report: Report) -> None:
    async with replicated(bare) as (world, pair), world.daemon(pair.url(world.name)) as daemon:
        await world.seed(daemon.address)
        async with world.load() as load:
            await load.more_writes(5)
            pair.fail_over()
            seconds = await load.converged(10)
            await load.more_writes(5)
    report.measured(f"a standby took over: all watchers had its first change after {seconds:.1f} s")


async def _alter(cluster: Cluster, what: str) -> None:
    """Changes a setting for every session, those that are open too."""
    connection = await asyncpg.connect(cluster.dsn("postgres"))
    await connection.execute(f"ALTER SYSTEM {what}")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()
