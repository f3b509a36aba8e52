"""Files that are read again when they change, while the last good content stays in force."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from providerd_server.errors import ConfigurationError

log = structlog.get_logger(__name__)

T = TypeVar("T")

_Signature = tuple[tuple[int, int, int] | None, ...]

# A change takes effect within this many seconds.
INTERVAL = 1.0


class Reloaded(Generic[T]):
    """What some files hold, as of their last good version.

    Args:
        what: What they are, for people.
        paths: The files.
        read: Reads all of them. Raises ``ConfigurationError`` when they are no good.

    Raises:
        ConfigurationError: They are no good at the start.
    """

    def __init__(self, what: str, paths: Sequence[Path], read: Callable[[], T]) -> None:
        self.what = what
        self._paths = tuple(paths)
        self._read = read
        self._seen = self._signature()
        self.value = read()

    def refresh(self) -> bool:
        """Reads the files again if they have changed; returns whether there is a new value. Never raises."""
        signature = self._signature()
        if signature == self._seen:
            return False
        try:
            value = self._read()
        except (ConfigurationError, OSError) as error:
            self._seen = signature
            log.error("a file changed and cannot be used; what was in force stays so", what=self.what, error=str(error))
            return False
        if self._signature() != signature:
            # Changed while being read, so the parts may not fit each other; the next look settles it.
            return False
        self._seen, self.value = signature, value
        log.info("read again", what=self.what)
        return True

    async def follow(self) -> None:
        """Looks at the files every second, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            self.refresh()

    def _signature(self) -> _Signature:
        return tuple(_stat(path) for path in self._paths)


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
