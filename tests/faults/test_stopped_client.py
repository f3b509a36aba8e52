"""Fault 26: a client stands still, and nobody but itself has anything of it."""

import asyncio
import itertools
import time
from pathlib import Path

from tests.daemon import DaemonProcess
from tests.faults.load import Load
from tests.faults.report import Report, percentile
from tests.faults.scale import scaled
from tests.faults.staleness import active_changes, waits
from tests.faults.standing import standing
from tests.faults.truth import Truth
from tests.faults.world import World, rss, until

# Watches of the client that stands still. What each misses comes to several times the memory that the daemon may take.
_WATCHES = 40
# 30 KB in a message, so that little fits into the windows between daemon and client.
_PADDING = "漢" * 9_900

# Most that a watch may be told of the changes that it missed: those that filled the windows, and the newest.
_HANDFUL = 15
_MOST_GROWTH = 20 << 20
# How much later others may hear, as a factor; anything below 100 ms is as good as that.
_SLOWER, _FAST = scaled(5.0, 3.0), 0.1


async def test_fault_26_a_client_is_stopped(world: World, tmp_path: Path, report: Report) -> None:
    [daemon] = world.daemons
    watching = world.load(watchers=scaled(10, 200), writes=scaled(20, 5), reads=5, padding=_PADDING)
    with standing(daemon.address, _WATCHES, tmp_path) as client:
        async with watching as load:
            await until(lambda: all(client.told), 20)
            times = [time.time()]
            await load.more_writes(scaled(30, 300), seconds=120)
            memory = rss(daemon.pid)
            with client.stopped():
                times.append(time.time())
                highest = await _highest(daemon, load, scaled(80, 0), scaled(0, 300))
                times.append(time.time())
            await load.more_writes(scaled(30, 300), seconds=120)
            times.append(time.time())
            await load.stop_writing()
            await load.converged(10)
            newest = load.writes[-1].revision
            await until(lambda: all(told[-1] >= newest for told in client.told), 30)
            past = await world.truth()
    missed = active_changes(past, *times[1:3])
    told = max(len(set(missed).intersection(each)) for each in client.told)
    before, during, after = (_p99(load, past, *each) for each in itertools.pairwise(times))
    growth = highest - memory
    report.measured(
        f"a client with {_WATCHES} watches stood still for {times[2] - times[1]:.0f} s: each missed {len(missed)}"
        f" changes and was then told {told} of them; the daemon grew by {growth / (1 << 20):.1f} MB;"
        f" {len(load.watchers)} others heard within {during * 1000:.0f} ms (p99), {before * 1000:.0f} ms before and"
        f" {after * 1000:.0f} ms after it"
    )
    assert len(missed) > 2 * _HANDFUL
    assert told <= _HANDFUL
    assert growth < _MOST_GROWTH
    assert during < _SLOWER * max(before, after, _FAST)


async def _highest(daemon: DaemonProcess, load: Load, writes: int, seconds: float) -> int:
    """The most memory that the daemon has until there are so many more writes, and so many seconds are over."""
    ends, goal = time.monotonic() + seconds, len(load.writes) + writes
    highest = 0
    async with asyncio.timeout(seconds + 60):
        while time.monotonic() < ends or len(load.writes) < goal:
            highest = max(highest, rss(daemon.pid))
            await asyncio.sleep(0.1)
    return highest


def _p99(load: Load, past: Truth, since: float, before: float) -> float:
    changes = active_changes(past, since, before)
    return percentile((wait for watcher in load.watchers for wait in waits(watcher.told, past, changes)), 0.99)
