"""Trouble with the truth, told when it begins, when it changes, from time to time, and when it is over."""

from __future__ import annotations

import math
import time

import structlog

log = structlog.get_logger(__name__)

_AGAIN_AFTER = 30.0


class Trouble:
    """Keeps one log from being a storm of the same line.

    Args:
        place: Which one it is about, without secrets.
        origin: What it is: the database, or the upstream.
    """

    def __init__(self, place: str, origin: str = "database") -> None:
        self._place = place
        self._origin = origin
        self._error: str | None = None
        self._began = 0.0
        self._told_at = 0.0

    @property
    def on(self) -> bool:
        """Whether there is any."""
        return self._error is not None

    def told(self, what: str, error: str, age: float) -> None:
        """Logs a failure, unless it was logged just now. ``age`` is that of what is in memory, in seconds."""
        now = time.monotonic()
        if self._error is None:
            self._began = now
        if error == self._error and now - self._told_at < _AGAIN_AFTER:
            return
        self._error, self._told_at = error, now
        meanwhile = "nothing to answer from yet" if math.isinf(age) else "answering from memory"
        seconds = {} if math.isinf(age) else {"age_seconds": round(age, 1)}
        log.warning(what, meanwhile=meanwhile, error=error, **{self._origin: self._place}, **seconds)

    def over(self) -> None:
        """Logs that it is over, if there was any."""
        if self._error is not None:
            log.info("reading the %s again", self._origin, after_seconds=round(time.monotonic() - self._began, 1))
            self._error = None


def summary(error: Exception) -> str:
    """The first line of an error; what follows may quote a row."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
