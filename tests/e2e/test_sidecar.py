"""`providerd sidecar` as an operator and the workers of a host meet it: real daemons, real signals."""

import asyncio
import json
import signal
import stat
import subprocess
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from providerd import Client, State
from tests.daemon import PROVIDERD, DaemonProcess, clean_environment, running_daemon
from tests.integration.serving import free_port
from tests.sidecar import COMMAND, running_sidecar

WORKERS = 100


def providerd(*arguments: str, server: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROVIDERD, *arguments],
        env={**clean_environment(), "PROVIDERD_SERVER": server},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def until(client: Client, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(40):
        await client._announcer.until(condition)


def sees(client: Client, text: str) -> Callable[[], bool]:
    return lambda: client.revision is not None and client.active.description == text


def connections_to(daemon: DaemonProcess) -> int:
    """How many connections a daemon has."""
    port = f":{int(daemon.address.rpartition(':')[2]):04X}"
    tables = [Path(f"/proc/net/{table}").read_text().splitlines()[1:] for table in ("tcp", "tcp6")]
    lines = [line.split() for table in tables for line in table]
    established = "01"
    return sum(local.endswith(port) and state == established for _, local, _, state, *_ in lines)


def test_the_program_talks_to_it_unchanged(database: str) -> None:
    with running_daemon(database) as daemon, running_sidecar(daemon.address) as sidecar:
        assert "groq" in providerd("get", server=sidecar.address).stdout
        said = json.loads(providerd("status", "--json", server=sidecar.address).stdout)
        assert (said["serving"], said["stale"], said["active_provider"]) == (True, False, "groq")
        assert said["upstream"] == daemon.address
        assert "providers" not in said
        assert f"upstream   {daemon.address}" in providerd("status", server=sidecar.address).stdout
        refused = providerd("switch", "chatgpt", server=sidecar.address)
        assert refused.returncode == 4
        assert f"ask its upstream, {daemon.address} [SIDECAR_READ_ONLY]" in refused.stderr
        watch = subprocess.Popen(
            [PROVIDERD, "watch", "--json", "--server", sidecar.address],
            env=clean_environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert watch.stdout is not None
        try:
            assert "groq" in watch.stdout.readline()
        finally:
            watch.kill()
            watch.wait(20)
            watch.stdout.close()
        assert stat.S_IMODE(Path(sidecar.address.removeprefix("unix://")).stat().st_mode) == 0o600
        assert sidecar.stop() == 0


async def test_a_hundred_workers_are_one_connection_to_the_daemon(database: str) -> None:
    with running_daemon(database) as daemon, running_sidecar(daemon.address) as sidecar:
        async with AsyncExitStack() as stack:
            clients = (Client(sidecar.address) for _ in range(WORKERS))
            workers = [await stack.enter_async_context(client) for client in clients]
            assert connections_to(daemon) == 1
            await write(daemon.address, "for all")
            await asyncio.gather(*(until(worker, sees(worker, "for all 9")) for worker in workers))
            assert connections_to(daemon) == 1


async def test_a_daemon_that_is_killed_and_comes_back_is_followed_again(database: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    with running_daemon(database, PROVIDERD_LISTEN=address) as daemon, running_sidecar(address) as sidecar:
        async with Client(sidecar.address, heartbeat_interval=1) as worker:
            assert worker.state is State.READY
            daemon.kill()
            await until(worker, lambda: worker.state is State.STALE)
            assert worker.active.provider_name == "groq"
            before = worker.age
            await until(worker, lambda: worker.age > before + 1)
            with running_daemon(database, PROVIDERD_LISTEN=address):
                async with Client(address, watch=False) as operator:
                    await operator.upsert({"provider_name": "groq", "description": "after the kill"})
                await until(worker, sees(worker, "after the kill"))
                await until(worker, lambda: worker.state is State.READY)
        log = [json.loads(line)["event"] for line in sidecar.log.read_text().splitlines()]
        assert log.count("cannot follow the upstream") >= 1
        assert log.count("reading the upstream again") == 1


async def test_it_fails_over_between_two_daemons_and_workers_never_go_back(database: str) -> None:
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    with (
        running_daemon(database, PROVIDERD_LISTEN=addresses[0]) as first,
        running_daemon(database, PROVIDERD_LISTEN=addresses[1]) as second,
        running_sidecar(*addresses) as sidecar,
    ):
        async with Client(sidecar.address) as worker:
            seen: list[int] = []
            worker.on_change(lambda change: seen.append(change.revision.number))
            # One after the other, so that whichever it follows goes away.
            first.kill()
            await write(addresses[1], "by the second")
            await until(worker, sees(worker, "by the second 9"))
            with running_daemon(database, PROVIDERD_LISTEN=addresses[0]):
                second.kill()
                await write(addresses[0], "by the first")
                await until(worker, sees(worker, "by the first 9"))
                await until(worker, lambda: worker.state is State.READY)
            assert seen == sorted(seen)
            assert seen


async def write(address: str, text: str) -> None:
    async with Client(address, watch=False) as operator:
        for turn in range(10):
            await operator.upsert({"provider_name": "groq", "description": f"{text} {turn}"})


async def test_it_starts_with_the_daemon_away_and_serves_once_it_appears(database: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    with running_sidecar(address, serving=False) as sidecar:
        async with Client(sidecar.address) as worker:
            await until(worker, lambda: worker.error is not None and worker.error.reason == "NOT_READY")
            with running_daemon(database, PROVIDERD_LISTEN=address):
                await until(worker, lambda: worker.state is State.READY)
                assert worker.active.provider_name == "groq"


async def test_it_starts_from_its_file_with_the_daemon_away(database: str, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    file = {"PROVIDERD_SNAPSHOT_FILE": str(tmp_path / "state" / "last-known-good")}
    with running_daemon(database, PROVIDERD_LISTEN=address), running_sidecar(address, **file) as sidecar:
        await write(address, "kept")
        async with Client(sidecar.address) as worker:
            await until(worker, sees(worker, "kept 9"))
            known = worker.revision
        assert sidecar.stop() == 0
    with running_sidecar(address, **file) as sidecar:
        async with Client(sidecar.address) as worker:
            assert worker.active.description == "kept 9"
            assert (worker.state, worker.revision) == (State.STALE, known)
            with running_daemon(database, PROVIDERD_LISTEN=address):
                await write(address, "after")
                await until(worker, sees(worker, "after 9"))
                assert worker.state is State.READY


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_and_sends_its_workers_away(database: str, number: int) -> None:
    with running_daemon(database) as daemon, running_sidecar(daemon.address) as sidecar:
        async with Client(sidecar.address) as worker:
            stopped = asyncio.create_task(asyncio.to_thread(sidecar.stop, number))
            await until(worker, lambda: worker.error is not None and worker.error.reason == "DRAIN")
            assert await stopped == 0
            assert worker.active.provider_name == "groq"
        assert daemon.running


async def test_a_signal_ends_it_while_it_waits_for_its_daemon() -> None:
    with running_sidecar(f"127.0.0.1:{free_port()}", serving=False) as sidecar:
        async with Client(sidecar.address) as worker:
            await until(worker, lambda: worker.error is not None and worker.error.reason == "NOT_READY")
        assert sidecar.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name the daemon to follow: --upstream HOST:PORT, or PROVIDERD_UPSTREAM"),
        (["--upstream", "nonsense"], "the upstream: a target is"),
        (["--upstream", "a:1,b:2"], 'give "dns:///name:port" alone'),
        (["--upstream", "a:1", "--ca-file", "/nowhere.pem"], "/nowhere.pem"),
        (["--upstream", "127.0.0.1:1", "--listen", "unix:///nowhere/s.sock"], "cannot listen on unix:/nowhere/s.sock"),
        (["--upstream", "127.0.0.1:1", "--listen", "0.0.0.0:1"], "refusing to listen on 0.0.0.0:1"),
    ],
)
def test_what_cannot_start_says_why_in_one_line(arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_token_is_not_sent_in_clear_nor_shown() -> None:
    environment = {"PROVIDERD_UPSTREAM": "daemon.example:1", "PROVIDERD_TOKEN": "canary-token"}
    refused = run(**environment)
    assert refused.returncode == 2
    assert "would cross the network in clear" in refused.stderr
    shown = run("--include-credential", "--print-config", **environment)
    assert shown.returncode == 0
    rows = {cells[0]: cells[1:] for line in shown.stdout.splitlines() if (cells := line.split())}
    assert rows["PROVIDERD_UPSTREAM"] == ["daemon.example:1", "environment"]
    assert rows["PROVIDERD_INCLUDE_CREDENTIAL"] == ["True", "flag"]
    assert "SUPABASE_DB_URL" not in rows
    assert "canary" not in refused.stderr + shown.stdout


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd="/",
        env={**clean_environment(), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
