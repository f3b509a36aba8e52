"""Who has a data directory, and that to ask takes it from nobody."""

import fcntl
import os
import sys
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from providerd_server.embedded import EmbeddedError, directory
from providerd_server.embedded.directory import is_locked, lock_data_directory

HOLD = """
import pathlib, sys
from providerd_server.embedded.directory import lock_data_directory
lock = lock_data_directory(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_directory_is_taken_by_who_has_locked_it(tmp_path: Path) -> None:
    with Popen([sys.executable, "-c", HOLD, tmp_path], stdin=PIPE, stdout=PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert is_locked(tmp_path)
        with pytest.raises(EmbeddedError, match=f"is in use by process {holder.pid}: "):
            lock_data_directory(tmp_path)
        assert (tmp_path / "lock").read_text() == f"{holder.pid}\n"
        holder.communicate()
    assert not is_locked(tmp_path)


def test_a_look_makes_and_writes_nothing(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    assert list(tmp_path.iterdir()) == []
    lock = tmp_path / "lock"
    lock.write_text("1234\n")
    lock.chmod(0o400)
    assert not is_locked(tmp_path)
    assert lock.read_text() == "1234\n"


def test_others_may_look_and_take_it_while_somebody_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looking = os.open(tmp_path / "lock", os.O_RDONLY | os.O_CREAT, 0o600)
    fcntl.flock(looking, fcntl.LOCK_SH)
    assert not is_locked(tmp_path)
    # In the moment that it takes to ask again, the other has looked.
    monkeypatch.setattr(directory.time, "sleep", lambda _: fcntl.flock(looking, fcntl.LOCK_UN))
    os.close(lock_data_directory(tmp_path))
    os.close(looking)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_an_account_that_must_not_look_is_told_so(open_directory: Path) -> None:
    os.close(os.open(open_directory / "lock", os.O_CREAT, 0o600))
    os.seteuid(65534)
    try:
        with pytest.raises(EmbeddedError, match="run this as the account that runs the daemon"):
            is_locked(open_directory)
    finally:
        os.seteuid(0)
