"""kill -9 of the daemon, then of PostgreSQL, while a client watches and another one writes."""

import asyncio
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from providerd import Client, RpcError, State, UnavailableError
from tests.daemon import running_daemon
from tests.integration.serving import free_port


@pytest.fixture
def data_dir() -> Iterator[Path]:
    # Directly under /tmp and open to pass through, because root's PostgreSQL runs as another account.
    with tempfile.TemporaryDirectory(prefix="providerd-", dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory) / "data"


class Writer:
    """Changes the active provider over and over, and remembers what was acknowledged."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.acknowledged: dict[int, str] = {}

    async def run(self) -> None:
        for turn in range(1_000_000):
            text = f"turn {turn}"
            with suppress(RpcError):
                done = await self._client.upsert({"provider_name": "groq", "description": text})
                assert done.revision is not None
                self.acknowledged[done.revision.number] = text
            await asyncio.sleep(0.01)

    async def until_more(self, count: int) -> None:
        """Returns once ``count`` more changes are acknowledged."""
        goal = len(self.acknowledged) + count
        async with asyncio.timeout(40):
            while len(self.acknowledged) < goal:
                await asyncio.sleep(0.02)


async def until_state(client: Client, wanted: State) -> None:
    async with asyncio.timeout(40):
        while client.state is not wanted:
            await asyncio.sleep(0.01)


def postmaster(data_dir: Path) -> int:
    return int((data_dir / "cluster" / "postmaster.pid").read_text().split()[0])


def kill_if_alive(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def processes(data_dir: Path) -> list[int]:
    """The postmaster and all of its children."""
    parent = postmaster(data_dir)
    children = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True, check=True).stdout
    return [parent, *map(int, children.split())]


async def test_a_frozen_database_leaves_reads_going_writes_bounded_and_nobody_misled(data_dir: Path) -> None:
    environment = {"PROVIDERD_DATA_DIR": str(data_dir), "PROVIDERD_STALE_AFTER": "2", "PROVIDERD_POLL_INTERVAL": "0.5"}
    with running_daemon("", **environment) as daemon:
        async with Client(daemon.address, timeout=30) as client:
            await client.wait_ready(timeout=20)
            frozen = processes(data_dir)
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)
            try:
                await until_state(client, State.STALE)
                assert client.active.provider_name == "groq"
                assert client.age >= 2
                with pytest.raises(UnavailableError) as caught:
                    await client.upsert({"provider_name": "groq", "description": "never"})
                assert caught.value.reason in {"STORE_UNREACHABLE", "OUTCOME_UNKNOWN"}
                assert (await client.get_active()).provider.provider_name == "groq"
            finally:
                for pid in frozen:
                    os.kill(pid, signal.SIGCONT)
            await until_state(client, State.READY)
            done = await client.upsert({"provider_name": "groq", "description": "thawed"})
            async with asyncio.timeout(20):
                while client.active.description != "thawed":
                    await asyncio.sleep(0.01)
            assert client.revision is not None
            assert done.revision is not None
            assert client.revision.number >= done.revision.number


async def test_what_was_acknowledged_survives_and_the_client_comes_back_by_itself(data_dir: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    environment = {"PROVIDERD_DATA_DIR": str(data_dir), "PROVIDERD_LISTEN": address}
    async with Client(address, heartbeat_interval=1) as client, Client(address, watch=False) as operator:
        writer = Writer(operator)
        writing = asyncio.create_task(writer.run())
        seen: list[int] = []
        client.on_change(lambda change: seen.append(change.revision.number))

        with running_daemon("", **environment) as daemon:
            await client.wait_ready(timeout=30)
            await writer.until_more(20)
            daemon.kill()
            await until_state(client, State.STALE)
            assert client.active.provider_name == "groq"  # the last good one is still served

        with running_daemon("", **environment):
            await until_state(client, State.READY)
            await writer.until_more(20)
            kill_if_alive(postmaster(data_dir))
            await writer.until_more(20)

            writing.cancel()
            newest = await operator.upsert({"provider_name": "groq", "description": "the end"})
            assert newest.revision is not None
            writer.acknowledged[newest.revision.number] = "the end"
            async with asyncio.timeout(20):
                while client.active.description != "the end":
                    await asyncio.sleep(0.01)
            await until_state(client, State.READY)
            assert client.revision == newest.revision

            sql = await asyncpg.connect(f"postgresql://providerd@/providerd?host={data_dir}/run")
            rows = await sql.fetch("SELECT revision, config_snapshot->>'description' FROM llm_provider_config_history")
            await sql.close()
        history: dict[int, str] = dict(rows)
        lost = {number for number, text in writer.acknowledged.items() if history.get(number) != text}
        assert len(writer.acknowledged) > 60
        assert not lost
        assert seen == sorted(seen)
