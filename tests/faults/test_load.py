"""The base load by itself: what is held when nothing breaks."""

import asyncio
import time

from tests.faults.load import latencies
from tests.faults.report import Report
from tests.faults.scale import scaled
from tests.faults.world import World


async def test_the_base_load_is_held(world: World, report: Report) -> None:
    began = time.monotonic()
    async with world.load() as load:
        await asyncio.sleep(scaled(2, 60))
        seconds = time.monotonic() - began
        written, read = len(load.writes) / seconds, load.reads["OK"] / seconds
    assert not load.failures
    assert set(load.reads) == {"OK"}
    truth = await world.truth()
    taken = list(latencies(load, truth.committed_at))
    assert len(taken) > len(load.watchers)
    report.held(len(load.watchers), written, read, taken)
