"""The last-known-good file: replaced as a whole, and read only where nobody else could have changed or seen it."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from providerd.snapshot import Snapshot

if TYPE_CHECKING:
    from providerd.seal import Seal

# A message of gRPC has at most 4 MiB, and JSON makes it larger; a wrong path must not fill the memory.
_MOST_BYTES = 64 * 1024 * 1024

# Seconds after which a file that was being written counts as left behind by a process that was killed.
_ABANDONED = 3600.0

_POSIX = hasattr(os, "geteuid")


class SnapshotFile:
    """A file that holds one snapshot. Any number of processes may use it: the last writer wins."""

    def __init__(self, path: str | os.PathLike[str], seal: Seal | None) -> None:
        """Takes the path, and the seal that credentials are stored with; without one they are left out."""
        self._path = Path(path)
        self._seal = seal
        self._swept = False

    def __str__(self) -> str:
        return str(self._path)

    def read(self) -> Snapshot | None:
        """Returns what the file holds; None when there is no file.

        Raises:
            ValueError: It is damaged, or somebody else may have written or seen it. The message begins with a verb and
                shows nothing of the content.
            OSError: It cannot be read.
        """
        try:
            # Not blocking, because to open a pipe would wait for its writer.
            flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
            descriptor = os.open(self._path, flags)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise ValueError("is a symbolic link: name the file itself") from None
        try:
            self._require_private_directory()
            _require_private(os.fstat(descriptor))
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(_MOST_BYTES + 1)
        finally:
            os.close(descriptor)
        if len(content) > _MOST_BYTES:
            raise ValueError(f"is larger than {_MOST_BYTES} bytes")
        return Snapshot.decode(content, self._seal)

    def write(self, snapshot: Snapshot) -> None:
        """Replaces the file, and returns once that is on the disk. Makes the directory if only that is missing.

        Whoever reads meanwhile, or after a crash at any moment, finds the old content or the new.

        Raises:
            ValueError: Others can write to the directory.
            OSError: The disk does not take it; the old file is as it was.
        """
        content = snapshot.encode(self._seal)
        directory = self._path.parent
        directory.mkdir(mode=0o700, exist_ok=True)
        self._require_private_directory()
        self._sweep()
        descriptor, temporary = tempfile.mkstemp(".tmp", self._prefix, directory)
        try:
            with os.fdopen(descriptor, "wb") as file:
                if _POSIX:
                    os.fchmod(descriptor, 0o600)  # an odd umask could even close it to its owner
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            Path(temporary).replace(self._path)
        except BaseException:
            with suppress(OSError):
                Path(temporary).unlink()
            raise
        _sync(directory)

    @property
    def _prefix(self) -> str:
        return f".{self._path.name}."

    def _require_private_directory(self) -> None:
        """Makes sure that nobody else can put a file into the place of this one."""
        found = self._path.parent.stat()
        if _POSIX and (found.st_uid not in (os.geteuid(), 0) or found.st_mode & 0o022):
            raise ValueError("is in a directory that other users can write to: use one of your own, with mode 0700")

    def _sweep(self) -> None:
        """Removes what killed processes have left, once."""
        if self._swept:
            return
        self._swept = True
        for stray in self._path.parent.iterdir():
            if stray.name.startswith(self._prefix) and stray.suffix == ".tmp":
                with suppress(OSError):  # another process may be sweeping, too
                    if time.time() - stray.lstat().st_mtime > _ABANDONED:
                        stray.unlink()


def _require_private(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("is not a regular file")
    if _POSIX and found.st_uid not in (os.geteuid(), 0):
        raise ValueError("belongs to another user")
    if _POSIX and found.st_mode & 0o077:
        raise ValueError(f"is open to other users (mode {stat.S_IMODE(found.st_mode):04o}): chmod 600 it")


def _sync(directory: Path) -> None:
    """Has a rename survive a loss of power: fsync(2) of a file does not write the entry in its directory."""
    if not _POSIX:
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
