"""The newest revision that a client has seen, whichever daemon it was told by."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from providerd.cache import Cache
    from providerd.provider import Revision


class Horizon:
    """Tells answers that are older than what a client knows already, by its watch or by other answers."""

    def __init__(self, cache: Cache, clock: Callable[[], float] = time.monotonic) -> None:
        self._cache = cache
        self._clock = clock
        self._watched: Revision | None = None
        self._seen: Revision | None = None
        self._since = 0.0

    def see(self, revision: Revision) -> None:
        """Notes what the database is known to have had just now, unless something newer of that store was seen."""
        if self._seen is None or not self._seen.reaches(revision):
            self._seen, self._since = revision, self._clock()

    def takes(self, revision: Revision, verified: float) -> bool:
        """Notes what an answer is of, and says whether nothing newer was seen.

        Args:
            revision: What it is of.
            verified: When the database was at that revision at the latest, by the clock.
        """
        if self._cache.revision != self._watched and self._cache.revision is not None:
            self._watched = self._cache.revision
            self.see(self._watched)
        seen = self._seen
        # A database that was looked at since, and has less or is another one, was restored.
        if seen is not None and not revision.reaches(seen) and verified <= self._since:
            return False
        if seen != revision:
            self._seen, self._since = revision, self._clock()
        return True
