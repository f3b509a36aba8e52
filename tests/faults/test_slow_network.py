"""Fault 28: a network so slow that what is said no longer arrives in time."""

import json
import time
from contextlib import AsyncExitStack

from tests.daemon import DaemonProcess
from tests.faults.proxy import proxy_to
from tests.faults.report import Report
from tests.faults.scale import scaled
from tests.faults.staleness import active_changes, waits
from tests.faults.watcher import SMALL_WINDOWS
from tests.faults.world import World, until

# Each watcher is right, or its stream has ended, within this time; and some more for a machine that does other things.
_SECONDS, _SLACK = 10.0, 5.0
_WATCHERS = scaled(3, 20)
# How long the daemon waits for a watcher that takes nothing: in the short form less than it does by default.
_PATIENCE = {"PROVIDERD_WATCH_WRITE_TIMEOUT": scaled("2", "10")}


async def test_fault_28_slices_of_one_byte(world: World) -> None:
    async with proxy_to(world.daemons[0].address) as proxy:
        proxy.up.slice = proxy.down.slice = 1
        async with world.load(proxy.address, watchers=2, writes=1, reads=1) as load:
            began = time.time()
            await load.more_writes(scaled(2, 20))
            await load.converged(10)
        past = await world.truth()
    changes = active_changes(past, since=began)
    assert changes
    assert max(wait for watcher in load.watchers for wait in waits(watcher.told, past, changes)) < _SECONDS
    assert not any(watcher.ends for watcher in load.watchers)


async def test_fault_28_a_kilobyte_a_second_in_slices_of_one_byte(bare: World, report: Report) -> None:
    async with AsyncExitStack() as stack:
        # Where streams end is only in its log for debugging.
        daemon = await stack.enter_async_context(bare.daemon(PROVIDERD_LOG_LEVEL="debug", **_PATIENCE))
        await bare.seed(daemon.address)
        proxies = [await stack.enter_async_context(proxy_to(daemon.address)) for _ in range(_WATCHERS)]
        # So much that it cannot go through.
        others = await stack.enter_async_context(bare.load(writes=20, reads=5, padding="." * 9_900))
        slow = bare.load(
            *(proxy.address for proxy in proxies), watchers=_WATCHERS, writes=0, reads=0, options=SMALL_WINDOWS
        )
        load = await stack.enter_async_context(slow)
        peers = [link.peer for proxy in proxies for link in proxy.links]
        for proxy in proxies:
            proxy.down.rate, proxy.down.slice = 1000, 1
        # Enough to fill all that is between daemon and watchers.
        await others.more_writes(40, seconds=60)
        wanted = (await others.mark()).revision
        seconds = await until(
            lambda: all(
                watcher.number >= wanted or watcher.ends or peer in stalled(daemon)
                for watcher, peer in zip(load.watchers, peers, strict=True)
            ),
            _SECONDS + _SLACK,
        )
        # A watcher that has heard nothing for three heartbeats gives up by itself.
        given_up, ended = sum(bool(watcher.ends) for watcher in load.watchers), len(stalled(daemon))
        assert given_up or ended, "nothing was slow enough"
        await others.stop_writing()
        for proxy in proxies:
            proxy.down.ease()
        back = await load.converged(15)
        await others.converged(10)
    assert not any(watcher.ends for watcher in others.watchers)
    report.measured(
        f"{_WATCHERS} watchers on 1 KB/s: within {seconds:.1f} s all were right or their streams had ended, {ended} by"
        f" the daemon and {given_up} by themselves; on a good network again they were right after {back:.1f} s"
    )


def stalled(daemon: DaemonProcess) -> set[str]:
    """Whose streams a daemon has ended because they took nothing."""
    ends = [json.loads(line) for line in daemon.log.read_text().splitlines() if "WATCHER_STALLED" in line]
    return {end["peer"] for end in ends if end["code"] == "UNAVAILABLE"}
