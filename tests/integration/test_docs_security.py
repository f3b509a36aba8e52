"""The how-to pages on security: their examples, run as printed against daemons with the settings that they print."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from providerd_server.embedded import EmbeddedPostgres
from tests.conftest import Psql
from tests.daemon import as_role, running_daemon
from tests.docs_runner import ROOT, Example, Shell, examples, matches

# Where the pages have their files; a directory of the test stands in for it.
DIRECTORY = "/etc/providerd"

# How soon a daemon has taken over a changed file, with room for a busy machine.
TAKEN_OVER = 15.0


@dataclass(frozen=True)
class Start:
    """Where a page starts the daemon, with the settings that it has printed up to there."""

    line: int
    settings: dict[str, str]


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    directory = tmp_path / "etc"
    directory.mkdir(mode=0o700)
    return directory


def test_authenticate(tmp_path: Path, files: Path, port: int, database: str, cluster: EmbeddedPostgres) -> None:
    page = ROOT / "docs/how-to/authenticate.md"
    shell = Shell(tmp_path, f"localhost:{port}", cluster, {})
    to_start, ran = list(starts(page)), 0
    assert len(to_start) == 2
    with ExitStack() as daemon:
        for example in filter(lambda each: each.runnable, examples(page)):
            while to_start and to_start[0].line < example.line:
                daemon.close()
                printed = to_start.pop(0).settings
                settings = {name: value.replace(DIRECTORY, str(files)) for name, value in printed.items()}
                settings["PROVIDERD_LISTEN"] = f"localhost:{port}"
                daemon.enter_context(running_daemon(database, **settings))
            run(shell, example, files)
            ran += 1
    assert ran >= 18


def test_harden(tmp_path: Path, files: Path, empty_database: str, cluster: EmbeddedPostgres, psql: Psql) -> None:
    # The account that the page makes, which is of the whole cluster.
    account = "providerd_app"
    environment = {"OWNER_URL": empty_database, "SUPABASE_DB_URL": as_role(empty_database, account)}
    shell = Shell(tmp_path, "localhost:1", cluster, environment)
    page = list(examples(ROOT / "docs/how-to/harden.md"))
    try:
        for example in page:
            run(shell, example, files)
    finally:
        psql(empty_database, "-c", f"DROP ROLE IF EXISTS {account}")
    assert len(page) >= 12


def starts(page: Path) -> Iterator[Start]:
    text = page.read_text()
    settings: dict[str, str] = {}
    for block in re.finditer(r"^```(ini|console)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if block[1] == "ini":
            settings |= dict(re.findall(r"^(\w+)=(.*)$", block[2], re.MULTILINE))
        elif block[2].startswith("$ providerd serve\n"):
            yield Start(text.count("\n", 0, block.start()), dict(settings))


def run(shell: Shell, example: Example, files: Path) -> None:
    """Runs an example. What only asks is asked again, for the daemon may not have read its files yet."""
    only_asks = not re.match(r"providerd (token|enable)|psql", example.command)
    until = time.monotonic() + TAKEN_OVER
    while True:
        code, printed = shell.run(example.command.replace(DIRECTORY, str(files)))
        printed = printed.replace(str(files), DIRECTORY)
        if matches(example.printed, printed) if example.printed.strip() else code == 0:
            return
        assert only_asks, f"line {example.line}: {example.command}\n{printed}"
        assert time.monotonic() < until, f"line {example.line}: {example.command}\n{printed}"
        time.sleep(0.2)
