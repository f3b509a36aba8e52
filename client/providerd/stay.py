"""How long a client stays with a daemon whose answers are stale."""

from __future__ import annotations

import math
import random
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from providerd.options import ClientOptions

_LONGEST = 30.0

# The first stay lets a restart of the database pass; those that look for a daemon that has it begin with this part.
_LOOKING = 1 / 8


class Stay:
    """Says when to try another daemon, where there may be one.

    That is after two heartbeats without a fresh word. If the next one is stale too, the database may be away for all:
    stays grow up to half a minute then, so that nobody is kept busy by clients who look around. Each is jittered by a
    quarter.
    """

    def __init__(self, options: ClientOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self._first = min(2 * options.heartbeat, _LONGEST)
        self._moves = options.has_alternatives
        self._clock = clock
        self._length = self._first
        self._looking = False
        self._end = math.inf

    @property
    def left(self) -> float:
        """Seconds until it is over; infinite while answers are fresh, or where there is nobody else."""
        return self._end - self._clock()

    def begin(self) -> None:
        """Notes that a watch begins, of whichever daemon."""
        self._end = math.inf

    def heard(self, *, fresh: bool) -> None:
        """Notes a word of the daemon."""
        if fresh:
            self._length, self._looking, self._end = self._first, False, math.inf
        elif self._moves and self._end == math.inf:
            self._end = self._clock() + self._length * random.uniform(0.75, 1.25)  # noqa: S311 - spreads load

    def over(self) -> None:
        """Notes that it is over, and another daemon is tried."""
        self._length = min(2 * self._length, _LONGEST) if self._looking else max(1.0, self._first * _LOOKING)
        self._looking = True
