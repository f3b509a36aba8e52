"""The ids of spans that belong to a revision, which everybody derives alike, so that nobody has to pass them on."""

from __future__ import annotations

import hashlib
from typing import Protocol


class Numbered(Protocol):
    """A revision, of the SDK or of the daemon."""

    @property
    def store_id(self) -> str:
        """Of which store."""
        ...

    @property
    def number(self) -> int:
        """Its number in that store."""
        ...


def trace_id(revision: Numbered) -> int:
    """Returns the id of the trace of a revision: the first 16 bytes of the SHA-256 of ``store_id:number``."""
    return _nonzero(_digest(revision)[:16])


def write_id(revision: Numbered) -> int:
    """Returns the id of the root of that trace, the span of the write: the 8 bytes after those."""
    return _nonzero(_digest(revision)[16:24])


def delivery_id(revision: Numbered, watch: str, cause: str) -> int:
    """Returns the id of the span that hands a revision to a watcher.

    Args:
        revision: What is handed over.
        watch: The id that the client has given its stream.
        cause: What the watcher is told, as in "switched": one revision may be told of twice on one stream.
    """
    return _nonzero(_digest(revision, watch, cause)[:8])


def _digest(revision: Numbered, *more: str) -> bytes:
    return hashlib.sha256(":".join((revision.store_id, str(revision.number), *more)).encode()).digest()


def _nonzero(part: bytes) -> int:
    # To OpenTelemetry an id of zeros is none.
    return int.from_bytes(part, "big") or 1
