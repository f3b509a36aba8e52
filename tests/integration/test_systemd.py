"""The daemon tells systemd how it is: a real process, and a socket in the place of systemd's."""

import socket
from pathlib import Path

from tests.daemon import running_daemon


def test_a_daemon_reports_from_start_to_end(database: str, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        told = []
        with running_daemon(database, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000") as daemon:
            while "READY=1\nSTATUS=serving" not in told:
                told.append(manager.recv(4096).decode())
            # systemd counts from READY on.
            while told[-3:] != ["WATCHDOG=1"] * 3:
                told.append(manager.recv(4096).decode())
            assert daemon.stop() == 0
        while told[-1] != "STOPPING=1":
            told.append(manager.recv(4096).decode())
    assert [each for each in told if each != "WATCHDOG=1"] == [
        "STATUS=waiting for the database",
        "READY=1\nSTATUS=serving",
        "STOPPING=1",
    ]
