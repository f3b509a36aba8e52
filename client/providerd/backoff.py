"""How long to wait before the next attempt."""

from __future__ import annotations

import random


class Backoff:
    """Full-jitter exponential backoff: each wait is random between zero and a ceiling that doubles.

    The spread is what keeps a fleet from coming back all at once; see
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/.
    """

    def __init__(self, initial: float = 0.1, limit: float = 5.0) -> None:
        """Starts at `initial` seconds and never waits longer than `limit` seconds."""
        self._initial = initial
        self._limit = limit
        self._ceiling = initial

    def next(self) -> float:
        """Returns the seconds to wait now, and doubles the ceiling of the next wait."""
        ceiling = self._ceiling
        self._ceiling = min(2 * ceiling, self._limit)
        return random.uniform(0, ceiling)  # noqa: S311 - spreads load, hides nothing

    def bounded(self, seconds: float) -> float:
        """Returns a wait that somebody else asked for, or a random one near the limit when it is longer."""
        if seconds <= self._limit:
            return max(seconds, 0.0)
        return random.uniform(self._limit / 2, self._limit)  # noqa: S311 - as above

    def reset(self) -> None:
        """Starts over, after a success."""
        self._ceiling = self._initial
