"""Fault 35: the last-known-good file is damaged or somebody else's, or its disk takes nothing."""

import asyncio
import logging
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from providerd import Client, NotReadyError, State
from tests.disks import small_disk
from tests.faults.scale import scaled
from tests.faults.world import World, fresh_address, until

_REFUSED = "starting without the last-known-good file"
_NOT_KEPT = "the last-known-good file stays as it is"


async def kept(world: World, path: Path) -> bytes:
    """The file of a client that has seen the daemon of a world."""
    async with Client(world.daemons[0].address, snapshot_file=path) as client:
        await client.wait_ready(10)
        await until(path.exists, 10)
    return await asyncio.to_thread(path.read_bytes)


async def started(path: Path) -> str:
    """What a client without a daemon makes of the file: the active provider's name, or nothing."""
    client = Client(fresh_address(), snapshot_file=path)
    await client.start()
    # The file is read before the first attempt to reach a daemon.
    await until(lambda: client.error is not None, 10)
    try:
        name = client.active.provider_name
    except NotReadyError:
        name = ""
    await client.close()
    return name


def replace(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content)


async def test_fault_35_a_damaged_file(world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "last-known-good"
    good = await kept(world, path)
    assert await started(path) == "alpha"
    damages: list[Callable[[int], bytes]] = [
        lambda place: good[:place],
        lambda place: good[:place] + bytes([good[place] ^ 1 << random.randrange(8)]) + good[place + 1 :],
        lambda place: good[:place] + good[place + 1 :],
    ]
    places = random.sample(range(len(good)), min(scaled(20, 500), len(good)))
    for damage in damages:
        for place in places:
            replace(path, damage(place))
            caplog.clear()
            assert await started(path) == "", f"damaged at {place} and taken"
            assert _REFUSED in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_fault_35_a_file_of_somebody_else(world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "last-known-good"
    good = await kept(world, path)
    spoils: tuple[Callable[[], None], ...] = (
        lambda: path.chmod(0o644),
        lambda: os.chown(path, 65534, 65534),
        # The last one, for it spoils the directory.
        lambda: tmp_path.chmod(0o777),
    )
    for spoil in spoils:
        replace(path, good)
        assert await started(path) == "alpha"
        caplog.clear()
        spoil()
        assert await started(path) == ""
        assert _REFUSED in caplog.text


@pytest.mark.parametrize("trouble", ["full", "read-only"])
async def test_fault_35_a_disk_that_takes_nothing(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    caplog.set_level(logging.WARNING)
    with small_disk(tmp_path / "disk") as disk:
        path = disk.path / "last-known-good"
        before = await kept(world, path)
        (disk.fill if trouble == "full" else disk.freeze)()
        async with Client(world.daemons[0].address, snapshot_file=path) as client:
            states: list[State] = []
            async with world.load(watchers=2) as load:
                await until(lambda: client.state is State.READY, 10)
                client.on_state(states.append)
                await load.more_writes(scaled(5, 100))
                await until(lambda: _NOT_KEPT in caplog.text, 10)
            await until(lambda: client.revision.number >= load.writes[-1].revision, 10)
            # What was kept before is there, whole.
            assert path.read_bytes() == before
            (disk.free if trouble == "full" else disk.thaw)()
            async with asyncio.timeout(20):
                while path.read_bytes() == before:
                    await client.upsert({"provider_name": "alpha", "description": f"{random.random()}"})
                    await client.switch("alpha")
                    await asyncio.sleep(0.1)
            assert states == []
        assert await started(path) == "alpha"
