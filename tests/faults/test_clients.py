"""Faults 32 and 33: clocks that jump, certificates that change."""

import asyncio
import json
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
from tests.faults.scale import scaled
from tests.faults.world import World, until
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
