"""Collects what only the event loop may look at, for the threads that answer HTTP."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

# Seconds for the event loop to answer: one that cannot is not well.
PATIENCE = 5.0

# Seconds for which an answer serves all who ask, so that their number costs the event loop nothing.
_SHARED = 1.0


class InLoop(Collector):
    """Has another collector collect in the event loop, where nothing changes meanwhile, and keeps that for a moment.

    Args:
        collector: What is asked; it must be quick, since everybody waits for it.
        loop: Where; it must not be that of the caller of ``collect``.
    """

    def __init__(self, collector: Collector, loop: asyncio.AbstractEventLoop) -> None:
        self._collector = collector
        self._loop = loop
        self._asking = threading.Lock()
        self._collected: Sequence[Metric] = ()
        self._until = 0.0

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering must not look at anything yet."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """What was collected within the last second, or is now.

        Raises:
            TimeoutError: The event loop does not get to it.
        """
        if not self._asking.acquire(timeout=PATIENCE):
            raise TimeoutError
        try:
            if time.monotonic() >= self._until:
                self._collected = self._ask()
                self._until = time.monotonic() + _SHARED
            return iter(self._collected)
        finally:
            self._asking.release()

    def _ask(self) -> Sequence[Metric]:
        async def collect() -> Sequence[Metric]:
            return list(self._collector.collect())

        asking = asyncio.run_coroutine_threadsafe(collect(), self._loop)
        try:
            return asking.result(PATIENCE)
        except TimeoutError:
            asking.cancel()
            raise
