"""A real daemon for tests: the installed ``providerd serve`` as a process of its own."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PROVIDERD = Path(sys.executable).with_name("providerd")

# The account of the daemons of tests: it may do what migrations/roles.sql grants to providerd_daemon and nothing else.
DAEMON_ROLE = "providerd_test_daemon"

_OWNER = "postgresql://providerd@"
_START_SECONDS = 60
_STOP_SECONDS = 30


class DaemonProcess:
    """A daemon that serves. ``address`` is what a client dials; ``log`` grows while it runs."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.pid = process.pid
        self.log = log
        self.address = ""
        self._process = process
        self._started = threading.Event()
        assert process.stderr is not None
        self._reader = threading.Thread(target=self._read, args=(process.stderr,), daemon=True)
        self._reader.start()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait_serving(self) -> None:
        """Returns once it answers; raises when it ends or takes too long."""
        if not self._started.wait(_START_SECONDS) or not self.address:
            self.kill()
            raise RuntimeError(f"the daemon does not serve:\n{self.log.read_text()}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends it as an operator would, by a signal; returns its exit code."""
        self._process.send_signal(number)
        return self._ended()

    def kill(self) -> None:
        """Ends it without a chance to say goodbye."""
        self._process.kill()
        self._ended()

    def _ended(self) -> int:
        try:
            return self._process.wait(_STOP_SECONDS)
        finally:
            # Only to be sure: a daemon that ignores SIGTERM must not outlive its test.
            self._process.kill()
            self._reader.join()

    def _read(self, lines: IO[str]) -> None:
        with lines, self.log.open("w", buffering=1) as log:
            for line in lines:
                log.write(line)
                if not self.address and '"serving"' in line:
                    self.address = json.loads(line)["listen"][0]
                    self._started.set()
        self._started.set()


def as_role(dsn: str, role: str | None) -> str:
    """The URL of a test's database with ``role`` in place of its owner; others, and without a role all, as they are."""
    return f"postgresql://{role}@{dsn.removeprefix(_OWNER)}" if role and dsn.startswith(_OWNER) else dsn


@contextmanager
def running_daemon(dsn: str, *, role: str | None = DAEMON_ROLE, **env: str) -> Iterator[DaemonProcess]:
    """Runs a daemon on a free port of loopback over the database ``dsn``, for as long as the block.

    Args:
        dsn: The URL of a migrated database; empty for an embedded one, in ``PROVIDERD_DATA_DIR``.
        role: The account it uses the database with; None for the one in ``dsn``, as for a daemon that migrates.
        env: Further environment, such as ``PROVIDERD_LISTEN="unix:///path"``; nothing else of the kind is inherited.
    """
    # Without a .env of the developer, which the daemon would read from its working directory.
    with tempfile.TemporaryDirectory(prefix="providerd-daemon-") as directory:
        process = subprocess.Popen(
            [PROVIDERD, "serve"],
            cwd=directory,
            env={
                **clean_environment(),
                "SUPABASE_DB_URL": as_role(dsn, role),
                "PROVIDERD_LISTEN": "127.0.0.1:0",
                "PROVIDERD_LOG_FORMAT": "json",
                # With the published passphrase, which is refused otherwise.
                "PROVIDERD_DEV": "true",
                **env,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        daemon = DaemonProcess(process, Path(directory) / "daemon.log")
        try:
            daemon.wait_serving()
            yield daemon
        finally:
            if daemon.running:
                daemon.stop()


def clean_environment() -> dict[str, str]:
    """The environment of this process without what configures providerd, and where it sends traces."""
    ours = ("PROVIDERD_", "SUPABASE_DB_", "DB_ENCRYPTION_KEY", "OTEL_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
