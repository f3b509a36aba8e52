"""A worker that starts with daemon and database away, and catches up when they come back: real processes throughout."""

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import providerd.sync
from providerd.snapshot_file import SnapshotFile
from tests.daemon import clean_environment, running_daemon
from tests.integration.serving import free_port

KEY = "gsk-canary-e2e"
PASSPHRASE = "canary-passphrase-of-the-fleet"

WORKER = """
import json, os, sys, threading
import providerd.sync

def say(event, client):
    current = client.current
    key = current.credential.api_key if current.credential else None
    known = {"name": current.provider.provider_name, "key": key, "revision": current.revision.number}
    print(json.dumps({"event": event, "state": client.state.value, "age": client.age, **known}), flush=True)

address, file = sys.argv[1:]
options = {"include_credential": True, "snapshot_file": file, "snapshot_key": os.environ["SNAPSHOT_KEY"]}
with providerd.sync.Client(address, heartbeat_interval=1, **options) as client:
    say("started", client)
    for change in client.changes():
        if change.cause is not providerd.Cause.INITIAL:
            say(change.cause.value, client)
"""


class Worker:
    """A service that uses the SDK, in a process of its own. ``next`` is what it said next."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.pid = process.pid
        self.process = process
        self._said: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def next(self) -> dict[str, Any]:
        return self._said.get(timeout=60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self._said.put(json.loads(line))


@contextmanager
def working(address: str, file: Path) -> Iterator[Worker]:
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, address, str(file)],
        env={**clean_environment(), "SNAPSHOT_KEY": PASSPHRASE},
        stdout=subprocess.PIPE,
        text=True,
    )
    worker = Worker(process)
    try:
        yield worker
    finally:
        worker.kill()


def in_file(file: Path, number: int) -> None:
    """Returns once the file has a revision, which a worker that is killed at that moment may not have written yet."""
    deadline = time.monotonic() + 20
    while not (found := SnapshotFile(file, None).read()) or found.revision.number < number:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def data_dir(open_directory: Path) -> Path:
    return open_directory / "data"


def test_a_worker_starts_with_everything_down_and_catches_up_without_a_restart(data_dir: Path, tmp_path: Path) -> None:
    address, file = f"127.0.0.1:{free_port()}", tmp_path / "state" / "last-known-good"
    environment = {
        "PROVIDERD_DATA_DIR": str(data_dir),
        "PROVIDERD_LISTEN": address,
        "DB_ENCRYPTION_KEY": "of-the-store",
    }

    with running_daemon("", **environment) as daemon:
        with providerd.sync.Client(address, watch=False) as operator:
            operator.upsert({"provider_name": "groq"}, api_key=KEY)
        with working(address, file) as worker:
            before = worker.next
            assert (before["event"], before["state"], before["name"], before["key"]) == (
                "started",
                "ready",
                "groq",
                KEY,
            )
            with providerd.sync.Client(address, watch=False) as operator:
                operator.upsert({"provider_name": "groq", "description": "the newest"})
            newest = worker.next
            assert newest["event"] == "updated"
            in_file(file, newest["revision"])
            worker.kill()  # without a chance to put anything in order
        assert daemon.stop() == 0
    assert KEY.encode() not in file.read_bytes()

    assert not (data_dir / "cluster" / "postmaster.pid").exists()
    with working(address, file) as worker:
        started = worker.next
        assert (started["event"], started["state"]) == ("started", "stale")
        assert (started["name"], started["key"], started["revision"]) == ("groq", KEY, newest["revision"])
        assert started["age"] > 0
        with running_daemon("", **environment):
            with providerd.sync.Client(address, watch=False) as operator:
                operator.upsert({"provider_name": "openrouter", "is_enabled": True})
                operator.switch("openrouter")
            switched = worker.next
            assert (switched["event"], switched["name"], switched["state"]) == ("switched", "openrouter", "ready")
            assert switched["revision"] > started["revision"]
            assert worker.process.poll() is None
            in_file(file, switched["revision"])
