"""Watchers in a process of their own, to be stopped: prints the number and revision of each that is told of a change.

python -m tests.faults.standing ADDRESS COUNT
"""

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.daemon import clean_environment
from tests.faults.watcher import SMALL_WINDOWS, Watcher


class Standing:
    """Such a process, seen from outside."""

    def __init__(self, pid: int, count: int, output: Path) -> None:
        self._pid, self._count, self._output = pid, count, output

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Has it stand still."""
        os.kill(self._pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._pid, signal.SIGCONT)

    @property
    def told(self) -> list[list[int]]:
        """The revisions of the changes that each watcher was told of."""
        told: list[list[int]] = [[] for _ in range(self._count)]
        for line in self._output.read_text().splitlines():
            watcher, revision = json.loads(line)
            told[watcher].append(revision)
        return told


@contextmanager
def standing(address: str, count: int, directory: Path) -> Iterator[Standing]:
    """Runs one."""
    output = directory / "standing.jsonl"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, address, str(count)],
            env=clean_environment(),
            cwd=Path(__file__).parents[2],
            stdout=file,
        )
    try:
        yield Standing(process.pid, count, output)
    finally:
        process.kill()
        process.wait(20)


async def _watch(address: str, number: int) -> None:
    def say() -> None:
        if watcher.told[-1].cause:
            sys.stdout.write(json.dumps([number, watcher.number]) + "\n")
            sys.stdout.flush()

    # It waits for what was sent to it while it stood still, however long that was.
    watcher = Watcher(address, say, options=SMALL_WINDOWS, patience=math.inf)
    await watcher.run()


async def _watch_all(address: str, count: int) -> None:
    await asyncio.gather(*(_watch(address, number) for number in range(count)))


if __name__ == "__main__":
    asyncio.run(_watch_all(sys.argv[1], int(sys.argv[2])))
