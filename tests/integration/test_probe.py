"""What the probe of containers says of daemons: as a process, as container runtimes run it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.daemon import PROVIDERD, clean_environment, running_daemon


def probe(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "providerd_server.probe", *arguments],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stderr


def test_a_daemon_that_serves_is_well_without_a_token(database: str, open_directory: Path) -> None:
    address = f"unix://{open_directory}/providerd.sock"
    access = open_directory / "access.json"
    subprocess.run([PROVIDERD, "token", "create", "operator", "--scope", "admin", "--file", access], check=True)
    with running_daemon(database, PROVIDERD_LISTEN=address, PROVIDERD_ACCESS_FILE=str(access)):
        assert probe(address) == (0, "")
        assert probe("--alive", address) == (0, "")


def test_a_daemon_that_waits_for_its_database_is_alive_and_not_ready(tmp_path: Path) -> None:
    address = f"unix://{tmp_path}/providerd.sock"
    with subprocess.Popen(
        [PROVIDERD, "serve", "--listen", address, "--dev", "--log-format", "json"],
        cwd=tmp_path,
        env={**clean_environment(), "SUPABASE_DB_URL": "postgresql://nobody@127.0.0.1:1/none"},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            assert any('"listening;' in line for line in process.stderr)
            assert probe("--alive", address) == (0, "")
            assert probe(address) == (1, f"{address}: NOT_SERVING\n")
            os.kill(process.pid, signal.SIGSTOP)
            code, said = probe("--alive", address)
            assert (code, said.startswith(f"{address}: DEADLINE_EXCEEDED")) == (1, True)
        finally:
            process.kill()


def test_nobody_there(tmp_path: Path) -> None:
    code, said = probe("--alive", f"unix://{tmp_path}/nobody.sock")
    assert code == 1
    assert "UNAVAILABLE" in said
