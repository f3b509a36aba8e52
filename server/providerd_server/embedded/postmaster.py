"""The postgres process: a child that dies with its parent, watched until ready, stopped in bounded time."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from providerd_server.embedded.cluster import Cluster
from providerd_server.embedded.errors import EmbeddedError

POLL_INTERVAL = 0.02
READY_TIMEOUT = 60.0  # crash recovery replays the write-ahead log first
LOG_LIMIT = 8 * 1024 * 1024
LOG_TAIL = 4096

# Fast, immediate, and what cannot be refused: https://www.postgresql.org/docs/18/server-shutdown.html
SHUTDOWN = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))

PR_SET_PDEATHSIG = 1  # prctl(2)


class Postmaster:
    """A running postgres, child of this process.

    It must be created on the thread that waits for it: Linux ends it when the thread that forked it ends.
    """

    def __init__(self, cluster: Cluster, settings: Mapping[str, str]) -> None:
        self._cluster = cluster
        self._log = cluster.data_dir / "postgres.log"
        log = _open_log(self._log)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own binary and arguments, and no shell
                cluster.command(settings),
                env=cluster.installation.environment,
                cwd=cluster.data_dir,
                umask=0o077,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # the terminal's Ctrl-C is for the daemon, which then stops it
                preexec_fn=_die_with_parent(),
                **cluster.account.credentials,
            )
        finally:
            os.close(log)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Block until the server takes connections.

        Raises:
            EmbeddedError: it ended first, with the end of its log, or is not ready within a minute.
        """
        deadline = time.monotonic() + READY_TIMEOUT
        while not self._is_ready():
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(POLL_INTERVAL)
                raise EmbeddedError(f"postgres ended with status {code}, see {self._log}: {self._last_words()}")
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"postgres is not ready after {READY_TIMEOUT:.0f} s, see {self._log}: {self._last_words()}"
                )

    def wait(self) -> int:
        """Block until the process ends and return its status, negative for a signal."""
        return self._process.wait()

    def stop(self) -> None:
        """End the process: in order when it can be, in about 25 seconds at the worst."""
        for number, grace in SHUTDOWN:
            self._process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(grace)
                return

    def _is_ready(self) -> bool:
        # Line 1 is the pid and line 8 the status, see LOCK_FILE_LINE_PM_STATUS in src/include/miscadmin.h;
        # pg_ctl reads it just so. The pid tells our file from one that a killed server left behind.
        try:
            lines = (self._cluster.path / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(self.pid) and lines[7].strip() == "ready"

    def _last_words(self) -> str:
        with self._log.open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - LOG_TAIL))
            lines = log.read().decode(errors="replace").splitlines()
        return " | ".join(line.strip() for line in lines[-3:])


def _open_log(path: Path) -> int:
    """Open the log to append to; one that has grown large becomes the single old one first."""
    with suppress(FileNotFoundError):
        if path.stat().st_size > LOG_LIMIT:
            path.replace(path.with_name(f"{path.name}.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _die_with_parent() -> Callable[[], None] | None:
    """Return what the child runs before exec to get a fast shutdown when the parent ends; Linux only.

    A change of credentials clears this wish, and subprocess makes that change before it calls ``preexec_fn``.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0)
        if os.getppid() != parent:  # it ended before we asked
            os._exit(1)

    return ask
