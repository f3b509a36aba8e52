"""The base load with one random fault after the other: 20 s, or as many as PROVIDERD_SOAK_SECONDS says."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from tests.faults.load import Load, latencies
from tests.faults.report import Report, counted, percentile
from tests.faults.scale import scaled
from tests.faults.world import World, rss

SECONDS = float(os.environ.get("PROVIDERD_SOAK_SECONDS", "20"))
SEED = int(os.environ.get("PROVIDERD_SOAK_SEED", str(int(time.time()))))

# How often memory is looked at.
_EVERY = scaled(0.5, 10.0)


async def restart(world: World) -> None:
    await world.cluster.bounce(signal.SIGINT)


async def crash(world: World) -> None:
    await world.cluster.bounce(signal.SIGQUIT)


async def kill_a_backend(world: World) -> None:
    world.cluster.kill_backend(random.choice(list(await world.cluster.backends(world.name))))
    await world.cluster.until_up()


async def terminate_the_listener(world: World) -> None:
    await world.cluster.terminate(world.name, await world.cluster.listener(world.name))


async def terminate_everything(world: World) -> None:
    await world.cluster.terminate(world.name)


async def freeze_the_database(world: World) -> None:
    with world.cluster.frozen():
        await asyncio.sleep(scaled(1, 5))


async def freeze_the_daemon(world: World) -> None:
    os.kill(world.daemons[0].pid, signal.SIGSTOP)
    await asyncio.sleep(scaled(1, 5))
    os.kill(world.daemons[0].pid, signal.SIGCONT)


async def hold_the_lock(world: World) -> None:
    connection = await asyncpg.connect(world.dsn)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("SELECT lock_provider_store()")
    await asyncio.sleep(scaled(1, 5))
    await transaction.rollback()
    await connection.close()


async def exhaust_connections(world: World) -> None:
    async with world.cluster.full():
        await asyncio.sleep(1)


FAULTS: tuple[Callable[[World], Awaitable[None]], ...] = (
    *(restart, crash, kill_a_backend, terminate_the_listener, terminate_everything),
    *(freeze_the_database, freeze_the_daemon, hold_the_lock, exhaust_connections),
)


@pytest.mark.timeout(SECONDS + 120)
async def test_the_load_goes_on_whatever_breaks(world: World, report: Report) -> None:
    random.seed(SEED)
    tried: Counter[str] = Counter()
    memory: list[tuple[float, int]] = []
    ends = time.monotonic() + SECONDS
    async with world.load() as load:
        watching = asyncio.create_task(_watch_memory(world, memory))
        while time.monotonic() < ends:
            await load.more_writes(random.randrange(1, scaled(4, 60)), 60)
            fault = random.choice(FAULTS)
            tried[fault.__name__] += 1
            await fault(world)
            await load.converged(10)
        watching.cancel()
        past = await world.truth()
    _report(report, load, past.committed_at, memory, tried)


async def _watch_memory(world: World, memory: list[tuple[float, int]]) -> None:
    while True:
        memory.append((time.monotonic(), rss(world.daemons[0].pid)))
        await asyncio.sleep(_EVERY)


def _report(
    report: Report,
    load: Load,
    committed_at: dict[int, float],
    memory: list[tuple[float, int]],
    tried: Counter[str],
) -> None:
    taken = list(latencies(load, committed_at))
    # The first half is the start: caches fill, pools grow.
    steady = memory[len(memory) // 2 :]
    p50, p99 = (percentile(taken, share) * 1000 for share in (0.5, 0.99))
    report.measured(
        f"soak of {SECONDS:.0f} s, seed {SEED}, {len(load.writes)} writes: {counted(tried)};"
        f" the daemon at {memory[-1][1] / (1 << 20):.1f} MB, slope {_slope(steady) * 3600 / (1 << 20):+.2f} MB an hour;"
        f" commit to client p50 {p50:.1f} ms, p99 {p99:.0f} ms"
    )


def _slope(samples: list[tuple[float, int]]) -> float:
    """Bytes a second, by least squares."""
    count = len(samples)
    mean_time, mean_size = (sum(sample[axis] for sample in samples) / count for axis in (0, 1))
    spread = sum((when - mean_time) ** 2 for when, _ in samples)
    return sum((when - mean_time) * (size - mean_size) for when, size in samples) / spread if spread else 0.0
