"""The base load with one random fault after the other: 20 s, or as many as PROVIDERD_SOAK_SECONDS says."""

import asyncio
import os
import random
import time
from collections import Counter

import pytest

from tests.daemon import DaemonProcess
from tests.faults.load import Load, latencies
from tests.faults.report import Report, counted, percentile
from tests.faults.scale import scaled
from tests.faults.trouble import FAULTS, scene
from tests.faults.world import World, rss

SECONDS = float(os.environ.get("PROVIDERD_SOAK_SECONDS", "20"))
SEED = int(os.environ.get("PROVIDERD_SOAK_SEED", str(int(time.time()))))

# How often memory is looked at.
_EVERY = scaled(0.5, 10.0)

# The most that the daemon may grow, in bytes an hour, once it has run for half of an hour; less says nothing.
_MOST_GROWTH = 10 << 20
_HOUR = 3600


@pytest.mark.timeout(SECONDS + 120)
async def test_the_load_goes_on_whatever_breaks(bare: World, report: Report) -> None:
    random.seed(SEED)
    tried: Counter[str] = Counter()
    memory: list[tuple[float, int]] = []
    ends = time.monotonic() + SECONDS
    async with scene(bare) as stage, bare.load(*(proxy.address for proxy in stage.to_daemons)) as load:
        watching = asyncio.create_task(_watch_memory(stage.lasting, memory))
        # Each of them before any comes again, so that a short run has as many of them as it can.
        waiting: list[int] = []
        while time.monotonic() < ends:
            await load.more_writes(random.randrange(1, scaled(4, 60)), 60)
            waiting = waiting or random.sample(range(len(FAULTS)), len(FAULTS))
            fault = FAULTS[waiting.pop()]
            tried[fault.__name__] += 1
            await fault(stage)
            await load.converged(10)
        watching.cancel()
        past = await bare.truth()
    slope = _tell(report, load, past.committed_at, memory, tried)
    assert SECONDS < _HOUR or slope < _MOST_GROWTH


async def _watch_memory(daemon: DaemonProcess, memory: list[tuple[float, int]]) -> None:
    while True:
        memory.append((time.monotonic(), rss(daemon.pid)))
        await asyncio.sleep(_EVERY)


def _tell(
    report: Report,
    load: Load,
    committed_at: dict[int, float],
    memory: list[tuple[float, int]],
    tried: Counter[str],
) -> float:
    taken = list(latencies(load, committed_at))
    # The first half is the start: caches fill, pools grow.
    slope = _slope(memory[len(memory) // 2 :]) * _HOUR
    p50, p99 = (percentile(taken, share) * 1000 for share in (0.5, 0.99))
    report.measured(
        f"soak of {SECONDS:.0f} s, seed {SEED}, {len(load.writes)} writes: {counted(tried)};"
        f" the daemon at {memory[-1][1] / (1 << 20):.1f} MB, slope {slope / (1 << 20):+.2f} MB an hour;"
        f" commit to client p50 {p50:.1f} ms, p99 {p99:.0f} ms"
    )
    return slope


def _slope(samples: list[tuple[float, int]]) -> float:
    """Bytes a second, by least squares."""
    count = len(samples)
    mean_time, mean_size = (sum(sample[axis] for sample in samples) / count for axis in (0, 1))
    spread = sum((when - mean_time) ** 2 for when, _ in samples)
    return sum((when - mean_time) * (size - mean_size) for when, size in samples) / spread if spread else 0.0
