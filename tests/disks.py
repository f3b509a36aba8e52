"""Real disks that are small, full or read-only."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Disk:
    """A file system of 256 KiB in memory, mounted at ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Leaves no room on it."""
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    def free(self) -> None:
        """Makes room again."""
        self._ballast.unlink()

    def freeze(self) -> None:
        """Makes it read-only."""
        subprocess.run(["mount", "-o", "remount,ro", self.path], check=True)

    def thaw(self) -> None:
        """Makes it writable again."""
        subprocess.run(["mount", "-o", "remount,rw", self.path], check=True)


@contextmanager
def small_disk(path: Path) -> Iterator[Disk]:
    """A disk for as long as the block; the test is skipped where none can be mounted."""
    path.mkdir()
    options = f"size=256k,mode=0700,uid={os.geteuid()}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", path], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
