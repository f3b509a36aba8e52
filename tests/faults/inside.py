"""What a daemon has in it that might be left over when callers are gone: asyncio's tasks, and mailboxes of watchers."""

import asyncio
import json
import os
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path

from tests.daemon import DaemonProcess

# The environment of a daemon that can be looked into. Nothing of the daemon itself is changed.
LOOKED_INTO = {"PYTHONPATH": str(Path(__file__).with_name("hook"))}


async def inside(daemon: DaemonProcess) -> Counter[str]:
    """How many of what there are now, by name."""
    # Its working directory.
    answer = daemon.log.with_name("inside.json")
    answer.unlink(missing_ok=True)
    os.kill(daemon.pid, signal.SIGUSR1)
    async with asyncio.timeout(20):
        while not answer.exists():
            await asyncio.sleep(0.05)
    return Counter(json.loads(answer.read_text()))


async def until_nothing_is_left(daemon: DaemonProcess, before: Counter[str], seconds: float) -> None:
    """Returns once there is no more of anything than before.

    Raises:
        AssertionError: There still is, after so many seconds; it says of what.
    """
    left = Counter[str]()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while left := await inside(daemon) - before:
                await asyncio.sleep(0.2)
    assert not left, f"left over in the daemon: {dict(left)}"
