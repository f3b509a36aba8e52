"""A real sidecar for tests: the program's own command as a process."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.daemon import PROVIDERD, DaemonProcess, clean_environment

COMMAND = [PROVIDERD, "sidecar"]


@contextmanager
def running_sidecar(*upstream: str, serving: bool = True, **env: str) -> Iterator[DaemonProcess]:
    """Runs a sidecar on a unix socket for as long as the block; with ``serving`` once it answers.

    Args:
        upstream: The addresses of its daemons.
        serving: Whether there is somebody to hear from; ``address`` is the socket either way.
        env: Further environment.
    """
    with tempfile.TemporaryDirectory(prefix="providerd-sidecar-") as directory:
        address = f"unix://{directory}/s.sock"
        process = subprocess.Popen(
            COMMAND,
            cwd=directory,
            env={
                **clean_environment(),
                "PROVIDERD_UPSTREAM": ",".join(upstream),
                "PROVIDERD_LISTEN": address,
                "PROVIDERD_LOG_FORMAT": "json",
                **env,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        sidecar = DaemonProcess(process, Path(directory) / "sidecar.log")
        try:
            if serving:
                sidecar.wait_serving()
            sidecar.address = address
            yield sidecar
        finally:
            if sidecar.running:
                sidecar.stop()
