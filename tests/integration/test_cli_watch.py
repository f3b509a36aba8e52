"""watch, and how it and status tell of a daemon or a database that is away."""

import asyncio
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from providerd_server.embedded import EmbeddedPostgres
from tests.cli import Cli, cli_with_daemon, providerd, start
from tests.conftest import Psql
from tests.daemon import running_daemon
from tests.integration.scripted_server import scripted_server
from tests.unit.sdk_messages import active


@pytest.fixture(scope="module")
def cli(cluster: EmbeddedPostgres, psql: Psql, template: str) -> Iterator[Cli]:
    quick = {"PROVIDERD_STALE_AFTER": "1", "PROVIDERD_POLL_INTERVAL": "0.2", "PROVIDERD_PROBE_INTERVAL": "0.5"}
    with cli_with_daemon(cluster, psql, template, **quick) as cli:
        yield cli


class Watching:
    """A running ``providerd watch`` and what it prints, read line by line as it comes."""

    def __init__(self, server: str, *arguments: str) -> None:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self._process = start("watch", *arguments, server=server, **pipes)

    def __enter__(self) -> "Watching":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.line())
        return event

    def until_state(self, state: str) -> dict[str, Any]:
        while True:
            event = self.event()
            if event["event"] == "state" and event["state"] == state:
                return event

    def interrupt(self) -> tuple[int, str]:
        """Presses Ctrl-C; returns the exit code and what was said on standard error."""
        self._process.send_signal(signal.SIGINT)
        _, stderr = self._process.communicate(timeout=30)
        return self._process.returncode, stderr.strip()

    def stop_reading(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.close()

    def end(self) -> tuple[int, str]:
        assert self._process.stderr is not None
        stderr = self._process.stderr.read()
        return self._process.wait(30), stderr


def test_watch_tells_programs_of_a_switch_made_elsewhere(cli: Cli) -> None:
    origin, target = cli.create("here"), cli.create("there")
    cli("switch", origin)
    with Watching(cli.daemon.address, "--json") as watching:
        initial, ready = watching.event(), watching.event()
        assert (initial["event"], initial["cause"]) == ("change", "initial")
        assert initial["provider"] == cli.json("show", origin)
        assert (ready["event"], ready["state"], ready["error"]) == ("state", "ready", None)
        done = cli.json("switch", target)
        change = watching.event()
        assert change["cause"] == "switched"
        assert change["provider"] == done["active"]
        assert change["previous_provider_name"] == origin
        assert change["revision"] == done["revision"]
        cli("set-key", target, stdin="sk-watched\n")
        assert watching.event()["cause"] == "key_changed"
        assert watching.interrupt() == (130, "")


def test_watch_tells_people_in_a_line(cli: Cli) -> None:
    cli("switch", cli.create("first"))
    with Watching(cli.daemon.address) as watching:
        assert re.fullmatch(r"\S+T\S+Z  initial      first  small  revision \d+\n", watching.line())
        assert re.fullmatch(r"\S+T\S+Z  ready\n", watching.line())
        cli.create("first", default_model="large")
        assert re.fullmatch(r"\S+T\S+Z  updated      first  large  revision \d+\n", watching.line())


def test_watch_ends_quietly_when_nobody_reads_any_more(cli: Cli) -> None:
    cli("switch", cli.create("read"))
    with Watching(cli.daemon.address) as watching:
        watching.line()
        watching.line()
        watching.stop_reading()
        cli("switch", cli.create("unread"))
        assert watching.end() == (1, "")


def test_watch_and_status_tell_of_a_database_that_is_away(cli: Cli, psql: Psql, cluster: EmbeddedPostgres) -> None:
    database = cli.sql("SELECT current_database()")
    admin = cluster.dsn("postgres")
    with Watching(cli.daemon.address, "--json") as watching:
        watching.until_state("ready")
        psql(admin, "-c", f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
        try:
            psql(admin, "-c", f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
            watching.until_state("stale")
            status = cli("status", "--json")
            assert status.returncode == 7
            told = json.loads(status.stdout)
            assert (told["reachable"], told["serving"], told["stale"]) == (True, True, True)
            assert told["age"] > 1
            assert cli("get").returncode == 0
        finally:
            psql(admin, "-c", f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
        watching.until_state("ready")
        assert cli("status").returncode == 0


def test_watch_goes_on_through_a_restart_of_the_daemon(database: str) -> None:
    with running_daemon(database) as daemon, Watching(daemon.address, "--json") as watching:
        watching.until_state("ready")
        daemon.kill()
        assert watching.until_state("stale")["error"]
        with running_daemon(database, PROVIDERD_LISTEN=daemon.address):
            assert watching.until_state("ready")["error"] is None


def test_watch_of_no_daemon_is_7() -> None:
    away = providerd("watch", "--timeout", "1")
    assert away.returncode == 7
    assert away.stdout == ""
    assert len(away.stderr.splitlines()) == 1


async def test_watch_ends_when_it_is_refused_for_good() -> None:
    async with scripted_server() as server:
        running = asyncio.create_task(asyncio.to_thread(providerd, "watch", "--json", server=server.address))
        stream = await server.watch()
        stream.send(active(1))
        stream.end(grpc.StatusCode.PERMISSION_DENIED, "go away")
        done = await running
    assert done.returncode == 8
    assert done.stderr == "error: go away [PERMISSION_DENIED]\n"
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()] == ["change", "state", "state"]
