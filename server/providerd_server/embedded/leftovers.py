"""Processes of a cluster that a killed daemon or a killed postmaster left behind."""

import os
import select
import signal
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import structlog

from providerd_server.embedded.cluster import Cluster
from providerd_server.embedded.directory import SOCKET_NAME
from providerd_server.embedded.errors import EmbeddedError
from providerd_server.embedded.postmaster import SHUTDOWN

log = structlog.get_logger(__name__)


def end_leftovers(cluster: Cluster) -> None:
    """End every postgres process that works in a cluster, the postmaster in order, and remove its lock files.

    The caller holds the data directory, so none of them is wanted any more.

    Linux only: elsewhere PostgreSQL's own lock file refuses a second server and names the first.

    Raises:
        EmbeddedError: some outlived SIGKILL.
    """
    if not hasattr(os, "pidfd_open"):
        return
    with ExitStack() as stack:
        if processes := _postgres_processes(cluster.path, stack):
            log.warning("ending postgres processes that were left behind", pids=sorted(processes))
            _end(processes, _postmaster_pid(cluster.path))
    # The number in them may be a zombie's, or another program's by now: PostgreSQL would take it for a server.
    for lock in (cluster.path / "postmaster.pid", cluster.sockets / f"{SOCKET_NAME}.lock"):
        lock.unlink(missing_ok=True)


def _end(processes: dict[int, int], postmaster: int | None) -> None:
    for number, grace in SHUTDOWN:
        for pid, handle in processes.items():
            # SIGINT means shutdown to a postmaster alone; its children follow it, dead or alive.
            if number != signal.SIGINT or pid == postmaster:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, number)
        processes = _survivors(processes, grace)
        if not processes:
            return
    raise EmbeddedError(f"postgres processes {sorted(processes)} of an earlier run do not end: end them, try again")


def _postgres_processes(cluster: Path, stack: ExitStack) -> dict[int, int]:
    """Return pid and process descriptor of all that runs postgres with the cluster as working directory."""
    found = {}
    for entry in Path("/proc").iterdir():
        # The process may end at any moment, or belong to someone else, and then it is not ours to end.
        with suppress(OSError, ValueError):
            pid = int(entry.name)
            # The descriptor comes first, so that what is looked at and what is signalled are one process.
            handle = os.pidfd_open(pid)
            stack.callback(os.close, handle)
            executable = (entry / "exe").readlink().name.removesuffix(" (deleted)")
            if executable == "postgres" and (entry / "cwd").samefile(cluster):
                found[pid] = handle
    return found


def _survivors(processes: dict[int, int], grace: float) -> dict[int, int]:
    """Wait until all processes have ended or ``grace`` seconds have passed; return those still running."""
    deadline = time.monotonic() + grace
    poll = select.poll()
    alive = {handle: pid for pid, handle in processes.items()}
    for handle in alive:
        poll.register(handle, select.POLLIN)
    while alive and (left := deadline - time.monotonic()) > 0:
        for handle, _ in poll.poll(left * 1000):
            poll.unregister(handle)
            del alive[handle]
    return {pid: handle for handle, pid in alive.items()}


def _postmaster_pid(cluster: Path) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        return int((cluster / "postmaster.pid").read_text().splitlines()[0])
    return None
