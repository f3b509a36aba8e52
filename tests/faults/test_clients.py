"""Faults 26, 32 and 33: a client that stands still, clocks that jump, certificates that change."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from providerd import Client, State
from tests.certificates import Authority, replace
from tests.daemon import clean_environment
from tests.faults.clock import HOUR, jumping_clock
from tests.faults.load import latencies
from tests.faults.report import Report, percentile
from tests.faults.scale import scaled
from tests.faults.world import World, rss, until
from tests.integration.test_tls import serial_of

_ROOT = Path(__file__).parents[2]


class Follower:
    """A client in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.pid = process.pid
        self._output = output

    @property
    def said(self) -> list[dict[str, Any]]:
        """All that it printed."""
        return [json.loads(line) for line in self._output.read_text().splitlines()]

    @property
    def numbers(self) -> list[int]:
        """The revisions of the changes that it was told of."""
        return [line["number"] for line in self.said if "number" in line]


@contextmanager
def following(address: str, directory: Path, **env: str) -> Iterator[Follower]:
    """Runs one."""
    output = directory / "follower.jsonl"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.follower", address],
            env={**clean_environment(), **env},
            cwd=_ROOT,
            stdout=file,
        )
    try:
        yield Follower(process, output)
    finally:
        process.kill()
        process.wait(20)


async def test_fault_26_a_client_is_stopped(world: World, tmp_path: Path, report: Report) -> None:
    [daemon] = world.daemons
    with following(daemon.address, tmp_path) as follower:
        # Large enough that what the stopped client is sent cannot all be put away on the way to it.
        async with world.load(watchers=scaled(5, 50), writes=scaled(20, 5), reads=5, padding=9_900) as load:
            await until(lambda: follower.numbers, 10)
            await load.more_writes(20)
            memory = rss(daemon.pid)
            os.kill(follower.pid, signal.SIGSTOP)
            try:
                heard, written = len(follower.numbers), len(load.writes)
                await asyncio.sleep(scaled(3, 300))
            finally:
                os.kill(follower.pid, signal.SIGCONT)
            missed = len(load.writes) - written
            growth = rss(daemon.pid) - memory
            await load.stop_writing()
            await load.converged(5)
            await until(lambda: follower.numbers[-1] >= load.writes[-1].revision, 15)
            told = len(follower.numbers) - heard
            past = await world.truth()
    assert growth < 20 << 20
    assert told < missed / 2
    p99 = percentile(latencies(load, past.committed_at), 0.99)
    report.measured(
        f"a client stood still for {missed} writes and was then told {told}; the daemon grew by"
        f" {growth / (1 << 20):.1f} MB, and others heard within {p99 * 1000:.0f} ms (p99)"
    )


async def test_fault_32_the_wall_clock_jumps(bare: World, tmp_path: Path) -> None:
    clock = jumping_clock(tmp_path)
    async with bare.daemon(**clock) as daemon:
        await bare.seed(daemon.address)
        with following(daemon.address, tmp_path, **clock) as follower:
            async with bare.load() as load:
                await asyncio.sleep(scaled(3, 60))
                await load.converged(5)
                said = follower.said
        stamps = [datetime.fromisoformat(json.loads(line)["timestamp"]) for line in daemon.log.read_text().splitlines()]
    for clocks in ([stamp.timestamp() for stamp in stamps], [line["clock"] for line in said]):
        assert max(clocks) - min(clocks) > 1.5 * HOUR, "the clock did not jump"
    assert {line["state"] for line in said} == {State.READY.value}
    assert not any(message.stale for watcher in load.watchers for message in watcher.told)
    assert not any(watcher.ends for watcher in load.watchers)
    assert set(load.reads) == {"OK"}


async def test_fault_33_the_certificate_changes(bare: World, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("daemon", "localhost", "127.0.0.1")
    files = {"PROVIDERD_TLS_CERT_FILE": str(cert), "PROVIDERD_TLS_KEY_FILE": str(key)}
    async with bare.daemon(**files) as daemon, Client(daemon.address, ca_file=authority.ca_file) as client:
        await client.wait_ready(10)
        states: list[State] = []
        client.on_state(states.append)
        target: Any = daemon
        first = await serial_of(target, authority)
        authority.issue("daemon", "localhost", "127.0.0.1")
        async with asyncio.timeout(15):
            while (second := await serial_of(target, authority)) == first:
                await asyncio.sleep(0.1)
        replace(cert, b"garbage")
        await until(lambda: "certificate" in daemon.log.read_text().lower(), 15)
        await asyncio.sleep(2)
        assert await serial_of(target, authority) == second
        async with Client(daemon.address, ca_file=authority.ca_file) as another:
            await another.wait_ready(10)
            assert (await another.upsert({"provider_name": "groq", "description": "rotated"})).changed
        await until(lambda: client.active.description == "rotated", 5)
        assert states == []
