"""EmbeddedPostgres through the death of either process: data stays, nothing is left behind, it comes back."""

import json
import os
import queue
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import structlog

from providerd_server.embedded import EmbeddedError, EmbeddedPostgres, leftovers, postmaster

PATIENCE = 30.0
IMPATIENT = ((signal.SIGINT, 0.2), (signal.SIGQUIT, 0.2), (signal.SIGKILL, 5.0))

OWNER = """
import json, pathlib, signal, sys
from providerd_server.embedded import EmbeddedPostgres
postgres = EmbeddedPostgres(pathlib.Path(sys.argv[1]))
postgres.start()
print(json.dumps({"pid": postgres.pid, "dsn": postgres.dsn()}), file=sys.stderr, flush=True)
signal.pause()
"""

WaitForLog = Callable[[str], Mapping[str, Any]]


@pytest.fixture
def wait_for_log() -> Iterator[WaitForLog]:
    """Waits for an event of the log and returns it."""
    events: queue.Queue[Mapping[str, Any]] = queue.Queue()

    def collect(_logger: object, _level: str, event: Mapping[str, Any]) -> Mapping[str, Any]:
        events.put(event)
        raise structlog.DropEvent

    def wait(text: str) -> Mapping[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while text not in (event := events.get(timeout=max(0, deadline - time.monotonic())))["event"]:
            pass
        return event

    before = structlog.get_config()
    structlog.configure(processors=[collect])
    yield wait
    structlog.configure(**before)


@contextmanager
def end_of(pid: int) -> Iterator[Callable[[], None]]:
    """Yields what blocks until a process, which need not be a child, has ended."""
    handle = os.pidfd_open(pid)

    def wait() -> None:
        assert select.select([handle], [], [], PATIENCE)[0], f"process {pid} is still running"

    try:
        yield wait
    finally:
        os.close(handle)


@contextmanager
def owner(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Another process that owns an EmbeddedPostgres, and what it says of it."""
    command = [sys.executable, "-c", OWNER, str(data_dir)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            yield process, json.loads(process.stderr.readline())
        finally:
            process.kill()


async def write(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE kept (value integer); INSERT INTO kept VALUES (42)")
    await connection.close()


async def read(dsn: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval("SELECT value FROM kept")
    finally:
        await connection.close()


@contextmanager
def run_as(uid: int, command: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process of that user, killed in the end."""
    with subprocess.Popen(command, user=uid, cwd="/", **options) as process:
        try:
            yield process
        finally:
            process.kill()


def user_of(pid: int | None) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def command_of(pid: int | None) -> list[str]:
    return [part.decode() for part in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]]


def wait_until_ready(process: subprocess.Popen[bytes], cluster: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not _says_ready(process.pid, cluster / "postmaster.pid"):
        assert process.poll() is None
        assert time.monotonic() < deadline


async def test_a_killed_postmaster_comes_back_with_its_data(open_directory: Path, wait_for_log: WaitForLog) -> None:
    with EmbeddedPostgres(open_directory / "data") as postgres:
        await write(postgres.dsn())
        for _ in range(2):
            first = postgres.pid
            assert first is not None
            # A session that is busy outlives its postmaster for a moment and holds the shared memory.
            busy = await asyncpg.connect(postgres.dsn())
            os.kill(first, signal.SIGKILL)
            assert wait_for_log("ended unexpectedly")["status"] == -signal.SIGKILL
            assert wait_for_log("is up again")["pid"] == postgres.pid != first
            busy.terminate()
            assert await read(postgres.dsn()) == 42


async def test_an_orderly_end_that_nobody_asked_for_is_undone_too(
    open_directory: Path, wait_for_log: WaitForLog
) -> None:
    with EmbeddedPostgres(open_directory / "data") as postgres:
        await write(postgres.dsn())
        assert postgres.pid is not None
        os.kill(postgres.pid, signal.SIGINT)
        wait_for_log("is up again")
        assert await read(postgres.dsn()) == 42


def test_it_keeps_trying_when_it_cannot_come_back_at_once(open_directory: Path, wait_for_log: WaitForLog) -> None:
    control = open_directory / "data" / "cluster" / "global" / "pg_control"
    with EmbeddedPostgres(open_directory / "data") as postgres:
        assert postgres.pid is not None
        control.rename(control.with_name("away"))
        os.kill(postgres.pid, signal.SIGKILL)
        assert "pg_control" in wait_for_log("does not start")["reason"]
        control.with_name("away").rename(control)
        assert wait_for_log("is up again")["pid"] == postgres.pid


def test_stop_is_bounded_when_postgres_does_not_listen(open_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postmaster, "SHUTDOWN", IMPATIENT)
    postgres = EmbeddedPostgres(open_directory / "data")
    postgres.start()
    assert postgres.pid is not None
    with end_of(postgres.pid) as wait_for_end:
        os.kill(postgres.pid, signal.SIGSTOP)
        postgres.stop()
        wait_for_end()


def test_a_start_that_takes_too_long_is_given_up(open_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postmaster, "READY_TIMEOUT", 0.0)
    postgres = EmbeddedPostgres(open_directory / "data")
    with pytest.raises(EmbeddedError, match=r"postgres is not ready after 0 s, see .*postgres\.log"):
        postgres.start()
    assert postgres.pid is None
    assert not (open_directory / "data" / "cluster" / "postmaster.pid").exists()


async def test_postgres_ends_with_its_killed_owner_and_keeps_the_data(open_directory: Path) -> None:
    with owner(open_directory / "data") as (process, told):
        await write(told["dsn"])
        with end_of(told["pid"]) as wait_for_end:
            process.kill()
            wait_for_end()
    assert "received fast shutdown request" in (open_directory / "data" / "postgres.log").read_text()
    with EmbeddedPostgres(open_directory / "data") as postgres:
        assert await read(postgres.dsn()) == 42


async def test_a_postgres_that_outlived_its_killed_owner_is_ended_first(
    open_directory: Path, cluster: EmbeddedPostgres, wait_for_log: WaitForLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "SHUTDOWN", IMPATIENT)
    bystander = cluster.pid
    with owner(open_directory / "data") as (process, told):
        await write(told["dsn"])
        orphan = told["pid"]
        with end_of(orphan) as wait_for_end:
            os.kill(orphan, signal.SIGSTOP)  # it cannot follow its owner now, nor heed anything short of SIGKILL
            process.kill()
            process.wait()
            with EmbeddedPostgres(open_directory / "data") as postgres:
                assert orphan in wait_for_log("left behind")["pids"]
                wait_for_end()
                assert await read(postgres.dsn()) == 42
    assert cluster.pid == bystander  # another PostgreSQL of this machine is not touched


async def test_an_orphan_that_listens_is_shut_down_in_order(open_directory: Path, wait_for_log: WaitForLog) -> None:
    data_dir = open_directory / "data"
    with EmbeddedPostgres(data_dir) as postgres:
        await write(postgres.dsn())
        uid, command, environment = user_of(postgres.pid), command_of(postgres.pid), dict(postgres.environment)
    with run_as(uid, command, env=environment, stderr=subprocess.PIPE) as orphan, end_of(orphan.pid) as wait_for_end:
        wait_until_ready(orphan, data_dir / "cluster")
        with EmbeddedPostgres(data_dir) as again:
            assert orphan.pid in wait_for_log("left behind")["pids"]
            wait_for_end()
            assert await read(again.dsn()) == 42
        assert orphan.stderr is not None
        assert b"received fast shutdown request" in orphan.stderr.read()


async def test_lock_files_that_name_an_innocent_process(open_directory: Path) -> None:
    data_dir = open_directory / "data"
    with EmbeddedPostgres(data_dir) as postgres:
        await write(postgres.dsn())
        uid = user_of(postgres.pid)
    # The same user's, as after a restart of a container, where the old number is soon somebody's.
    with run_as(uid, ["sleep", "60"]) as innocent:
        for lock in ("cluster/postmaster.pid", "run/.s.PGSQL.5432.lock"):
            (data_dir / lock).write_text(f"{innocent.pid}\n{data_dir / 'cluster'}\n1\n5432\n\n\n")
        with EmbeddedPostgres(data_dir) as postgres:
            assert await read(postgres.dsn()) == 42
        assert innocent.poll() is None


def _says_ready(pid: int, lock: Path) -> bool:
    lines = lock.read_text().splitlines() if lock.exists() else []
    return lines[:1] == [str(pid)] and "ready" in lines[-1]
