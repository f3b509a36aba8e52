"""The link between what a client knows and its last-known-good file."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import TYPE_CHECKING

from providerd.seal import Seal
from providerd.snapshot_file import SnapshotFile

if TYPE_CHECKING:
    from providerd.announcer import Announcer
    from providerd.cache import Cache
    from providerd.options import ClientOptions
    from providerd.snapshot import Snapshot

# Seconds between two writes, so that a storm of changes is a few of them.
_PAUSE = 1.0

# Seconds after which the file is written anew although nothing changed: by so much its age may be too great.
_REFRESH = 60.0

# Seconds that starting and closing wait for a disk that hangs.
_PATIENCE = 5.0

_log = logging.getLogger("providerd")


class Keeper:
    """Starts a cache from the last-known-good file, and writes there what it takes in. Without a file it does nothing.

    Nothing that is wrong with the file or its disk is a failure: one warning tells of it.
    """

    def __init__(self, cache: Cache, announcer: Announcer, options: ClientOptions) -> None:
        """Looks at no file yet.

        Raises:
            ValueError: A key is given, and the library to encrypt with is not installed.
        """
        self._cache = cache
        self._announcer = announcer
        self._max_age = math.inf if options.snapshot_max_age is None else options.snapshot_max_age
        self._file: SnapshotFile | None = None
        if options.snapshot_file is not None:
            key = options.secret_snapshot_key
            self._file = SnapshotFile(options.snapshot_file, None if key is None else Seal(key))
        self._kept = (cache.taken, cache.verified)
        self._problem = ""
        self._task: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._last: Snapshot | None = None

    async def start(self) -> None:
        """Has the cache start from the file, and from here on the file follow the cache."""
        if self._file is not None:
            await self._restore(self._file)
            self._task = asyncio.create_task(self._run(self._file), name="providerd-keeper")

    def flush(self) -> None:
        """Takes what is not in the file yet out of the cache, which is about to forget it."""
        if self._task is not None and self._due():
            self._last = self._cache.snapshot()

    async def stop(self) -> None:
        """Ends, and waits until what was flushed is written, but no longer than a few seconds."""
        if self._task is None or self._file is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        ending = asyncio.create_task(self._finish(self._file))
        await asyncio.wait([ending], timeout=_PATIENCE)
        ending.cancel()

    async def _restore(self, file: SnapshotFile) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                snapshot = await asyncio.to_thread(file.read)
            if snapshot is None:
                return
            age = snapshot.age_at(time.time())
            self._require_recent(age)
        except (OSError, ValueError) as problem:
            _log.warning("starting without the last-known-good file: %s %s", file, _reason(problem))
        else:
            change = self._cache.restore(snapshot, age)
            self._kept = (self._cache.taken, self._cache.verified)
            self._announcer.publish(change)

    def _require_recent(self, age: float) -> None:
        # That the clock went back, and hides the age, is no reason to refuse: `age` says so, and max_age holds.
        if math.isfinite(age) and age > self._max_age:
            raise ValueError(f"is {age:.0f} s old and snapshot_max_age is {self._max_age:g} s")

    async def _run(self, file: SnapshotFile) -> None:
        while True:
            await self._announcer.until(self._due)
            if (snapshot := self._cache.snapshot()) is not None:
                self._kept = (self._cache.taken, self._cache.verified)
                self._writing = asyncio.create_task(self._write(file, snapshot))
                # A thread cannot be cancelled: stop() waits for it, so that it never overtakes the last write.
                await asyncio.shield(self._writing)
            await asyncio.sleep(_PAUSE)

    def _due(self) -> bool:
        taken, verified = self._kept
        return self._cache.taken != taken or self._cache.verified - verified >= _REFRESH

    async def _write(self, file: SnapshotFile, snapshot: Snapshot) -> None:
        try:
            await asyncio.to_thread(file.write, snapshot)
        except Exception as error:  # whatever is wrong with the disk, the client must not suffer
            problem = _reason(error)
            if problem != self._problem:
                self._problem = problem
                _log.warning("the last-known-good file stays as it is: %s %s", file, problem)
        else:
            self._problem = ""

    async def _finish(self, file: SnapshotFile) -> None:
        if self._writing is not None:
            await asyncio.shield(self._writing)
        if self._last is not None:
            await self._write(file, self._last)


def _reason(error: Exception) -> str:
    """Returns what is wrong, beginning with a verb, and without the path that some errors repeat."""
    if isinstance(error, TimeoutError):
        return f"could not be read within {_PATIENCE:g} s"
    if isinstance(error, OSError):
        return f"cannot be used: {error.strerror or type(error).__name__}"
    return str(error) if isinstance(error, ValueError) else f"cannot be written: {type(error).__name__}"
