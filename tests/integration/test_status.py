"""What a daemon says of itself: by the API, by the SDK, and by the program."""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from access import AccessFile, bearer
from serving import Serving, serving
from sidecars import sidecar_of

import providerd
import providerd.sync
from providerd.v1 import provider_pb2 as pb
from providerd_server.embedded import EmbeddedPostgres
from tests.cli import MINIMAL, Cli, Terminal, cli_with_daemon, environment
from tests.conftest import Psql
from tests.daemon import PROVIDERD
from tests.integration.scripted_server import scripted_server
from tests.integration.sql import connected
from tests.unit.sdk_messages import STORE, active, provider


@pytest.fixture(scope="module")
def cli(cluster: EmbeddedPostgres, psql: Psql, template: str) -> Iterator[Cli]:
    with cli_with_daemon(cluster, psql, template) as cli:
        yield cli


@pytest.fixture
async def daemon(database: str) -> AsyncIterator[Serving]:
    async with serving(database) as daemon:
        yield daemon


async def test_it_tells_of_itself_and_of_what_happened_to_it(daemon: Serving, database: str) -> None:
    watch = daemon.watch()
    await watch.read()
    await daemon.call("UpsertProvider", provider={"provider_name": "one", **MINIMAL}, new_api_key="sk-canary")
    await daemon.call("SwitchProvider", provider_name="one")
    await watch.read()
    with pytest.raises(grpc.aio.AioRpcError):
        await daemon.call("SwitchProvider", provider_name="nobody")
    async with connected(database) as db:
        await db.execute(
            "UPDATE llm_provider_configs SET api_key_encrypted = encode(pgp_sym_encrypt('sk', 'another'), 'hex')"
            " WHERE provider_name = 'one'"
        )
    await watch.read()
    async with providerd.Client(daemon.address, watch=False) as client:
        status = await client.get_status()
    watch.cancel()
    assert status.version == providerd.__version__
    assert timedelta(0) < datetime.now(UTC) - status.start_time < timedelta(minutes=1)
    assert status.revision is not None
    assert status.revision.number == 4
    assert status.source is not None
    assert not status.source.stale
    assert (status.active_provider_name, status.provider_count) == ("one", 5)
    origin = status.origin
    assert (origin.kind, origin.connected, origin.server_version) == ("postgresql", True, "18.1")
    assert "CVE-2026-2005" in origin.version_warning
    assert (origin.failures, origin.lost_listeners, origin.unreadable_keys) == (0, 0, ("one",))
    assert status.watchers == providerd.Watchers(current=1, behind=0, starting=0, slowest_lag=0)
    assert (status.deliveries, status.folded_revisions) == (3, 0)
    assert (status.writes, status.refused_writes) == (2, 1)
    assert status.mean_write_time is not None
    assert 0 < status.mean_write_time < 10
    assert (status.calls, dict(status.denials), status.certificate_expire_time) == (1, {}, None)
    assert "sk-canary" not in repr(status)


async def test_it_answers_before_its_database_does(empty_database: str) -> None:
    async with serving(empty_database, ready=False) as daemon:
        client = providerd.Client(daemon.address, watch=False)
        async with asyncio.timeout(20):
            while (status := await client.get_status()).origin.failures == 0:
                await asyncio.sleep(0.05)
        await client.close()
    assert (status.revision, status.source, status.active_provider_name) == (None, None, None)
    assert not status.origin.connected


async def test_threads_can_ask_too(daemon: Serving) -> None:
    def ask() -> providerd.DaemonStatus:
        with providerd.sync.Client(daemon.address, watch=False) as client:
            return client.get_status()

    assert (await asyncio.to_thread(ask)).origin.kind == "postgresql"


async def test_only_who_may_read_is_told_and_denials_are_counted(database: str, tmp_path: Path) -> None:
    access = AccessFile(tmp_path / "access.json")
    reader, other = access.token("reader", "read"), access.token("other", "switch")
    async with serving(database, ready=False, access_file=access.path) as daemon:
        ask = daemon.stub.GetStatus
        for token in (other, "providerd_wrong"):
            with pytest.raises(grpc.aio.AioRpcError):
                await ask(pb.GetStatusRequest(), metadata=bearer(token), timeout=10)
        status = await ask(pb.GetStatusRequest(), metadata=bearer(reader), timeout=10)
    assert status.denials["SCOPE_MISSING"] == 1
    assert sum(status.denials.values()) == 2


async def test_a_sidecar_tells_of_its_upstream(daemon: Serving) -> None:
    async with sidecar_of(daemon.address) as sidecar:
        status = await sidecar.call("GetStatus")
        assert (status.origin.kind, status.origin.connected) == ("upstream", True)
        assert (status.active_provider_name, status.provider_count) == ("groq", 1)
        assert status.origin.listening == ""


def test_people_see_it_at_a_glance(cli: Cli) -> None:
    shown = dict(line.split(maxsplit=1) for line in cli("status").stdout.splitlines())
    assert re.fullmatch(rf"{re.escape(providerd.__version__)}, up \d+ s", shown["version"])
    assert shown["origin"] == "PostgreSQL 18.1, connected"
    assert shown["listen"] == "listening"
    assert "CVE-2026-2005" in shown["warning"]
    assert shown["watchers"] == "0 up to date"
    assert re.fullmatch(r"\d+ made( in \d+\.\d ms on average)?(, \d+ refused)?", shown["writes"])


def test_programs_get_all_of_it(cli: Cli) -> None:
    cli.create("counted")
    told = cli.json("status")["daemon"]
    assert told["writes"] > 0
    assert told["mean_write_time"] > 0
    assert told["watchers"] == {"current": 0, "behind": 0, "starting": 0, "slowest_lag": 0, "resyncing": 0}
    assert datetime.fromisoformat(told["start_time"]) < datetime.now(UTC)


async def test_a_daemon_that_cannot_say_is_told_of_all_the_same() -> None:
    async def providers(*_: Any) -> pb.ListProvidersResponse:
        return pb.ListProvidersResponse(providers=[provider()], revision=pb.Revision(store_id=STORE, number=3))

    async with scripted_server() as server:
        server.answers["ListProviders"] = providers
        process = await asyncio.create_subprocess_exec(
            PROVIDERD,
            *("status", "--json"),
            env=environment(server.address),
            stdout=asyncio.subprocess.PIPE,
        )
        (await server.watch()).send(active(3, "groq", "INITIAL"))
        output, _ = await process.communicate()
    assert process.returncode == 0
    status = json.loads(output)
    assert (status["daemon"], status["providers"], status["active_provider"]) == (None, 1, "groq")


async def test_watching_goes_on_through_an_outage(database: str, tmp_path: Path) -> None:
    async with serving(database) as daemon:
        process = await asyncio.create_subprocess_exec(
            PROVIDERD,
            *("status", "--watch", "--interval", "0.2", "--json", "--timeout", "1"),
            env=environment(daemon.address),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        await until(process.stdout, lambda told: told["active_provider"] == "groq")
        await daemon.call("UpsertProvider", provider={"provider_name": "one", **MINIMAL})
        await daemon.call("SwitchProvider", provider_name="one")
        told = await until(process.stdout, lambda told: told["daemon"]["writes"] == 2)
        assert told["daemon"]["watchers"] == {
            "current": 0,
            "behind": 0,
            "starting": 0,
            "slowest_lag": 0,
            "resyncing": 0,
        }
        assert (told["active_provider"], told["error"]) == ("one", None)
    told = await until(process.stdout, lambda told: not told["reachable"])
    assert "cannot reach" in told["error"]
    async with serving(database, address=daemon.address):
        await until(process.stdout, lambda told: told["serving"])
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 130


@pytest.mark.parametrize(("scope", "status"), [("switch", "SCOPE_MISSING"), (None, "TOKEN_UNKNOWN")])
async def test_watching_ends_where_it_is_not_allowed(
    database: str, tmp_path: Path, scope: str | None, status: str
) -> None:
    access = AccessFile(tmp_path / "access.json")
    token = access.token("other", scope or "read")
    async with serving(database, ready=False, access_file=access.path) as daemon:
        process = await asyncio.create_subprocess_exec(
            PROVIDERD,
            *("status", "--watch", "--interval", "0.2", "--json"),
            env=environment(daemon.address) | {"PROVIDERD_TOKEN": token if scope else "providerd_wrong"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(30):
            shown, said = await process.communicate()
    assert process.returncode == 8
    assert said.decode().endswith(f"[{status}]\n")
    (told,) = shown.decode().splitlines()
    assert json.loads(told)["reachable"]
    assert json.loads(told)["error"]


async def test_a_daemon_that_has_nothing_to_say_yet_is_told_of_with_what_it_says_of_itself(
    empty_database: str,
) -> None:
    async with serving(empty_database, ready=False) as daemon:
        process = await asyncio.create_subprocess_exec(
            PROVIDERD,
            *("status", "--json"),
            env=environment(daemon.address),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        shown, said = await process.communicate()
    told = json.loads(shown)
    assert process.returncode == 7
    assert b"[NOT_READY]" in said
    assert (told["reachable"], told["serving"], told["revision"]) == (True, False, None)
    assert told["daemon"]["origin"]["connected"] is False


def test_on_a_terminal_it_is_shown_in_place(cli: Cli) -> None:
    with Terminal(cli, "status", "--watch", "--interval", "0.2") as terminal:
        for _ in range(2):
            terminal.wait_for("up to date")
        terminal.interrupt()
    assert "\x1b[1A" in terminal.seen  # up a line, to draw over it


def test_on_one_that_cannot_draw_it_is_shown_line_by_line(cli: Cli) -> None:
    with Terminal(cli, "status", "--watch", "--interval", "0.2", kind="dumb") as terminal:
        for _ in range(2):
            terminal.wait_for("up to date")
        terminal.interrupt()
    assert "\x1b[1A" not in terminal.seen


async def until(lines: asyncio.StreamReader, holds: Any) -> Any:
    """The first line for which this holds."""
    async with asyncio.timeout(30):
        while True:
            told = json.loads(await lines.readline())
            if holds(told):
                return told
