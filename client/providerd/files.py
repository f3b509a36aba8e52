"""Files that options name: read whole, within bounds, and refused where others could have changed or seen them."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from providerd.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

# More than any bundle of certificates has; a wrong path must not fill the memory.
_MOST_BYTES = 4 * 1024 * 1024

# Two changes closer to each other than this may leave the same time stamp, on all file systems that are in use.
_SETTLED_NS = 2_000_000_000

# The options whose files are for their owner alone.
_PRIVATE = frozenset({"key_file", "token_file"})


class Files:
    """Some files, by the names of the options that gave their paths."""

    def __init__(self, paths: Mapping[str, str | os.PathLike[str]]) -> None:
        self._paths = {option: os.fspath(path) for option, path in paths.items()}

    def __getitem__(self, option: str) -> str:
        """The path that an option gave."""
        return self._paths[option]

    def __contains__(self, option: object) -> bool:
        return option in self._paths

    def state(self) -> tuple[tuple[int, ...], ...] | None:
        """Returns what is another after each change; None while that cannot be told, and reading them tells.

        The time of the last change of an inode cannot be set, unlike that of its content.
        """
        try:
            found = [Path(path).stat() for path in self._paths.values()]
        except OSError:
            return None
        now = time.time_ns()
        if any(now - each.st_ctime_ns < _SETTLED_NS for each in found):
            return None
        return tuple((each.st_dev, each.st_ino, each.st_size, each.st_ctime_ns) for each in found)

    def read(self) -> Mapping[str, Secret]:
        """Returns the bytes of each, as Latin-1.

        A private key or a token that belongs to this user must be closed to all others. Like ssh with its keys, this
        does not go for files of other users: who merely gets to read a mounted secret cannot change its mode.

        Raises:
            ValueError: One cannot be read, or is open to others; the message shows nothing of its content.
        """
        return {
            option: _read(path, f"{option} {path!r}", private=option in _PRIVATE)
            for option, path in self._paths.items()
        }


def _read(path: str, name: str, *, private: bool) -> Secret:
    try:
        # Not blocking, because to open a pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            # Of a directory Python makes no file, and would leave the descriptor open.
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode):
                    raise ValueError(
                        f"{name} is not a regular file: only such a file can be read again when it changes"
                    )
                if private and _is_open_to_others(found):
                    raise ValueError(
                        f"{name} is open to other users (mode {stat.S_IMODE(found.st_mode):04o}): chmod 600 it"
                    )
                content = Secret(file.read(_MOST_BYTES + 1).decode("latin-1"))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror}") from None
    if len(content.reveal()) > _MOST_BYTES:
        raise ValueError(f"{name} is larger than {_MOST_BYTES} bytes")
    return content


def _is_open_to_others(found: os.stat_result) -> bool:
    return hasattr(os, "getuid") and found.st_uid == os.getuid() and bool(found.st_mode & 0o077)
