"""What OpenTelemetry has to complain of, in the daemon's log: one line now and then."""

from __future__ import annotations

import logging
import re
import threading
import time

import structlog

log = structlog.get_logger(__name__)

# Seconds between two lines about an outage that lasts.
_AGAIN_AFTER = 300.0

# Whose words mean that spans do not get to the collector.
_SENDERS = ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal", "opentelemetry.sdk.trace.export")


class Complaints(logging.Handler):
    """Takes the place of all other handlers of the library's loggers, until its end.

    A collector that is away makes the library log several times a second, with tracebacks, and some of what it logs
    quotes headers. None of its texts get through but those without values.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._told_at: dict[str, float] = {}
        self._told = False
        # Spans are sent by a thread, and made by others.
        self._telling = threading.Lock()
        self._logger = logging.getLogger("opentelemetry")
        self._logger.addHandler(self)
        self._logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        """Tells of a record, unless there was one of the kind just now."""
        lost = record.name.startswith(_SENDERS)
        what = "traces are being lost" if lost else "OpenTelemetry does not do all that it was told to"
        with self._telling:
            now = time.monotonic()
            if now - self._told_at.get(what, -_AGAIN_AFTER) < _AGAIN_AFTER:
                return
            self._told_at[what] = now
            self._told = self._told or lost
        log.warning(what, error=_reason(record))

    def over(self) -> None:
        """Tells that spans are sent again, if it was told that they are not."""
        with self._telling:
            told, self._told = self._told, False
        if told:
            log.info("traces are being sent again")

    def end(self) -> None:
        """Leaves the loggers as they were."""
        self._logger.removeHandler(self)
        self._logger.propagate = True


def _reason(record: logging.LogRecord) -> str:
    """Why, from what cannot hold a secret: the type of an error and the system's word for it, or a status."""
    values = record.args if isinstance(record.args, tuple) else ()
    error = record.exc_info[1] if record.exc_info else None
    error = error or next((value for value in values if isinstance(value, BaseException)), None)
    if error is not None:
        return _root(error)
    status = next((value for value in values if isinstance(value, int) and 100 <= value < 600), None)
    if status is not None:
        return f"the collector answers HTTP {status}"
    # The text without what would be put into it; where nothing is, somebody may have put it in before.
    return re.sub(r"%[-.\d]*\w", "...", str(record.msg)) if values else f"see the documentation of {record.name}"


def _root(error: BaseException) -> str:
    """The innermost error of the operating system that led to this one, or else what this one is called."""
    found, words = error, type(error).__name__
    for _ in range(10):
        if isinstance(found, OSError) and found.strerror:
            words = found.strerror
        cause = found.__cause__ or found.__context__
        if cause is None:
            break
        found = cause
    return words
