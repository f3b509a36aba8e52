"""The newest revision that a client has seen, whichever daemon it was told by."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from providerd.provider import Revision, SourceStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from providerd.cache import Cache


class Horizon:
    """Tells answers that are older than what a client knows already, by its watch or by other answers."""

    def __init__(self, cache: Cache, clock: Callable[[], float] = time.monotonic) -> None:
        self._cache = cache
        self._clock = clock
        self._watched: Revision | None = None
        self._seen: Revision | None = None
        self._since = 0.0

    def see(self, revision: Revision) -> None:
        """Notes what an answer was of, unless something newer of that store was seen."""
        if self._seen is None or not self._seen.reaches(revision):
            self._seen, self._since = revision, self._clock()

    def takes(self, answer: Any, asked: float) -> bool:
        """Notes what an answer is of, and says whether nothing newer was seen.

        Args:
            answer: Of a call that tells what is so now, with a revision and the state of its source.
            asked: When that call began, by the clock.
        """
        if self._cache.revision != self._watched and self._cache.revision is not None:
            self._watched = self._cache.revision
            self.see(self._watched)
        seen, revision = self._seen, Revision.from_proto(answer.revision)
        verified = asked - SourceStatus.from_proto(answer.source).age
        # A database that was looked at since, and has less, was restored.
        if seen is not None and seen.reaches(revision) and seen != revision and verified <= self._since:
            return False
        if seen != revision:
            self._seen, self._since = revision, self._clock()
        return True
