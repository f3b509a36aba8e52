"""``python -m benchmarks``: how long a switch takes to reach a client, and what a cached read costs."""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.delivery import measure_delivery
from benchmarks.read import measure_read
from providerd_server import migrate
from providerd_server.embedded import EmbeddedPostgres


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--switches", type=int, default=500, help="how many switches to time (default: 500)")
    arguments = parser.parse_args()
    # Directly under /tmp and open to pass through, because root's PostgreSQL runs as another account.
    with tempfile.TemporaryDirectory(prefix="providerd-bench-", dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        with EmbeddedPostgres(Path(directory) / "data") as postgres:
            asyncio.run(_measure(postgres.dsn(), Path(directory), arguments.switches))


async def _measure(dsn: str, directory: Path, switches: int) -> None:
    await migrate.up(dsn)
    socket = f"unix://{directory}/providerd.sock"
    daemon = subprocess.Popen(
        [Path(sys.executable).with_name("providerd"), "serve", "--dev", "--listen", socket, "--log-level", "error"],
        env={**os.environ, "SUPABASE_DB_URL": dsn},
        cwd=directory,
    )
    try:
        await measure_delivery(dsn, socket, switches)
        await measure_read(socket)
    finally:
        daemon.terminate()
        daemon.wait(20)


main()
