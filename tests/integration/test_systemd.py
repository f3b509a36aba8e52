"""Daemon and sidecar tell systemd how they are: real processes, and a socket in the place of systemd's."""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.daemon import DaemonProcess, running_daemon
from tests.sidecar import running_sidecar

Running = Callable[..., AbstractContextManager[DaemonProcess]]


@contextmanager
def sidecar_over(database: str, **env: str) -> Iterator[DaemonProcess]:
    """A sidecar with this environment, of a daemon that systemd knows nothing of."""
    with running_daemon(database) as daemon, running_sidecar(daemon.address, **env) as sidecar:
        yield sidecar


@pytest.mark.parametrize(
    ("running", "origin"), [(running_daemon, "the database"), (sidecar_over, "the upstream")], ids=["daemon", "sidecar"]
)
def test_it_reports_from_start_to_end(running: Running, origin: str, database: str, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        told = []
        with running(database, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000") as process:
            while "READY=1\nSTATUS=serving" not in told:
                told.append(manager.recv(4096).decode())
            # systemd counts from READY on.
            while told[-3:] != ["WATCHDOG=1"] * 3:
                told.append(manager.recv(4096).decode())
            assert process.stop() == 0
        while told[-1] != "STOPPING=1":
            told.append(manager.recv(4096).decode())
    assert [each for each in told if each != "WATCHDOG=1"] == [
        f"STATUS=waiting for {origin}",
        "READY=1\nSTATUS=serving",
        "STOPPING=1",
    ]
