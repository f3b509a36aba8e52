"""The last-known-good file on a real file system: whole at every moment, closed to others, and never in the way."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from providerd import Credential, Provider, Revision, Secret
from providerd.seal import Seal
from providerd.snapshot import Snapshot
from providerd.snapshot_file import SnapshotFile
from tests.disks import Disk
from tests.unit.sdk_messages import STORE, provider

API_KEY = "canary-aa07"
NOBODY = 65534


def snapshot(number: int = 7, description: str = "") -> Snapshot:
    content = Provider.from_proto(provider(description=description))
    return Snapshot(Revision(STORE, number), content, Credential(API_KEY), taken=1_750_000_000.0, age=0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "last-known-good"


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    os.umask(before)
    yield os.umask
    os.umask(before)


def content(file: SnapshotFile) -> int | None:
    """The number of the revision in the file."""
    found = file.read()
    return None if found is None else found.revision.number


def test_there_is_nothing_before_the_first_write(path: Path) -> None:
    assert SnapshotFile(path, None).read() is None
    assert SnapshotFile(path / "in" / "no" / "directory", None).read() is None


def test_what_is_written_is_read_by_another(path: Path) -> None:
    passphrase = Secret("canary-passphrase")
    SnapshotFile(path, Seal(passphrase)).write(snapshot())
    assert SnapshotFile(str(path), Seal(passphrase)).read() == snapshot()
    assert b"canary" not in path.read_bytes()


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o277, 0o777])
def test_it_is_open_to_its_owner_alone_whatever_the_umask(path: Path, umask: Callable[[int], int], mask: int) -> None:
    umask(mask)
    SnapshotFile(path, None).write(snapshot())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_directory_that_is_missing_is_made_for_the_owner_alone(tmp_path: Path, umask: Callable[[int], int]) -> None:
    umask(0)
    file = SnapshotFile(tmp_path / "state" / "file", None)
    file.write(snapshot())
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert content(file) == 7
    with pytest.raises(FileNotFoundError):
        SnapshotFile(tmp_path / "no" / "such" / "file", None).write(snapshot())


def test_a_new_one_replaces_the_old_and_leaves_nothing_beside_it(path: Path) -> None:
    file = SnapshotFile(path, None)
    file.write(snapshot(7))
    with path.open("rb") as reader:
        file.write(snapshot(8, "longer" * 100))
        assert Snapshot.decode(reader.read(), None).revision.number == 7  # who reads meanwhile has the old one, whole
    assert content(file) == 8
    assert list(path.parent.iterdir()) == [path]


class TestRefused:
    @pytest.mark.parametrize("mode", [0o601, 0o604, 0o610, 0o620, 0o640, 0o644, 0o660, 0o666, 0o777])
    def test_what_others_can_read_or_write(self, path: Path, mode: int) -> None:
        file = SnapshotFile(path, None)
        file.write(snapshot())
        path.chmod(mode)
        with pytest.raises(ValueError, match=rf"is open to other users \(mode {mode:04o}\)"):
            file.read()
        file.write(snapshot(8))
        assert content(file) == 8  # the next write mends it

    @pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777])
    def test_a_directory_that_others_can_write_to(self, path: Path, mode: int) -> None:
        file = SnapshotFile(path, None)
        file.write(snapshot())
        before = path.read_bytes()
        path.parent.chmod(mode)
        with pytest.raises(ValueError, match="directory that other users can write to"):
            file.read()
        with pytest.raises(ValueError, match="directory that other users can write to"):
            file.write(snapshot(8))
        assert path.read_bytes() == before
        assert list(path.parent.iterdir()) == [path]

    def test_a_symbolic_link_which_a_write_replaces(self, path: Path, tmp_path: Path) -> None:
        real = tmp_path / "real"
        SnapshotFile(real, None).write(snapshot())
        path.symlink_to(real)
        file = SnapshotFile(path, None)
        with pytest.raises(ValueError, match="is a symbolic link"):
            file.read()
        file.write(snapshot(8))
        assert not path.is_symlink()
        assert (content(file), content(SnapshotFile(real, None))) == (8, 7)

    def test_what_is_no_file(self, path: Path, tmp_path: Path) -> None:
        os.mkfifo(path, 0o600)
        with pytest.raises(ValueError, match="is not a regular file"):
            SnapshotFile(path, None).read()
        with pytest.raises(ValueError, match="is not a regular file"):
            SnapshotFile(tmp_path, None).read()

    def test_one_that_is_too_large_is_not_read_into_memory(self, path: Path) -> None:
        SnapshotFile(path, None).write(snapshot())
        os.truncate(path, 1 << 40)
        with pytest.raises(ValueError, match="is larger than"):
            SnapshotFile(path, None).read()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
    def test_what_belongs_to_another_user(self, path: Path) -> None:
        file = SnapshotFile(path, None)
        file.write(snapshot())
        os.chown(path, NOBODY, NOBODY)
        with pytest.raises(ValueError, match="belongs to another user"):
            file.read()
        os.chown(path, 0, 0)
        os.chown(path.parent, NOBODY, NOBODY)
        with pytest.raises(ValueError, match="directory that other users can write to"):
            file.read()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
    def test_but_not_a_file_of_ones_own_in_a_directory_of_root(self, open_directory: Path) -> None:
        file = SnapshotFile(open_directory / "file", None)
        file.write(snapshot())
        os.chown(open_directory / "file", NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            assert content(file) == 7
        finally:
            os.seteuid(0)


class TestDisks:
    def test_a_full_one_keeps_the_old_file_whole(self, disk: Disk) -> None:
        file = SnapshotFile(disk.path / "file", None)
        file.write(snapshot(7))
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            file.write(snapshot(8, "x" * 20_000))
        assert content(file) == 7
        disk.free()
        file.write(snapshot(9, "x" * 20_000))
        assert content(file) == 9
        assert [each.name for each in disk.path.iterdir()] == ["file"]

    def test_a_read_only_one_is_read_from(self, disk: Disk) -> None:
        file = SnapshotFile(disk.path / "file", None)
        file.write(snapshot(7))
        disk.freeze()
        with pytest.raises(OSError, match="Read-only file system"):
            file.write(snapshot(8))
        assert content(file) == 7


WRITER = """
import sys
from tests.unit.test_sdk_snapshot_file import *
file = SnapshotFile(sys.argv[1], None)
print("writing", flush=True)
for number in range(1, 10**9):
    file.write(snapshot(number, "x" * (number % 7) * 3000))
"""


def writer(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def test_it_is_whole_whenever_its_writers_are_killed(path: Path) -> None:
    """Two processes write it at once; each is killed at a random point, fifteen times, while it is read all along."""
    file = SnapshotFile(path, None)
    reads = 0
    for turn in range(15):
        writers = [writer(path), writer(path)]
        try:
            for _ in range(20 + turn):
                reads += content(file) is not None
        finally:
            for process in writers:
                process.send_signal(signal.SIGKILL)
                process.communicate()
        assert content(file) is not None
    assert reads > 100


def test_what_killed_writers_left_is_removed_in_time(path: Path) -> None:
    old, new, other = (path.parent / name for name in (f".{path.name}.a1.tmp", f".{path.name}.b2.tmp", ".other.c3.tmp"))
    for stray in (old, new, other):
        stray.touch()
    for stray in (old, other):
        os.utime(stray, (0, 0))
    SnapshotFile(path, None).write(snapshot())
    assert sorted(path.parent.iterdir()) == sorted([path, new, other])
