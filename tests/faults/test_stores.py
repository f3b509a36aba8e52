"""Faults 9, 17, 18 and 21: a database that is not there yet, restored, full, or migrated under load."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from providerd_server import migrate
from tests.faults.cluster import TEMPLATE
from tests.faults.scale import scaled
from tests.faults.world import World, fresh_address, until
from tests.integration.database_server import give_to_server, server_directory

_SERVING = health_pb2.HealthCheckResponse.SERVING


async def test_fault_09_the_database_appears_late(bare: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.daemon._START_SECONDS", 120)
    cluster, address = bare.cluster, fresh_address()
    await cluster.execute("postgres", f"DROP DATABASE {bare.name}")

    async def appear() -> list[int]:
        states = []
        async with grpc.aio.insecure_channel(address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest(service="providerd.v1.ProviderService")
            for _ in range(scaled(2, 60)):
                await asyncio.sleep(1)
                states.append((await health.Check(request, wait_for_ready=True, timeout=10)).status)
        await cluster.execute("postgres", f"CREATE DATABASE {bare.name} TEMPLATE {TEMPLATE}")
        return states

    appearing = asyncio.create_task(appear())
    async with bare.daemon(PROVIDERD_LISTEN=address) as daemon:
        assert set(await appearing) == {health_pb2.HealthCheckResponse.NOT_SERVING}
        await bare.seed(daemon.address)
        async with bare.load() as load:
            await load.more_writes(3)


async def test_fault_17_an_older_dump_is_restored_and_overtakes(world: World) -> None:
    cluster, other = world.cluster, f"{world.name}_restored"
    async with world.load(writes=0) as load:
        await load.converged(5)
        dump = cluster.run("pg_dump", "--dbname", world.dsn)
        for _ in range(3):
            await load.converged(5)
        world.before.append(await world.truth())
        await cluster.execute("postgres", f"CREATE DATABASE {other}")
        cluster.run("psql", "-Xqd", cluster.dsn(other), "-v", "ON_ERROR_STOP=1", text=dump)
        # As docs/how-to/restore-a-backup.md wants it.
        await cluster.execute(other, "UPDATE llm_provider_store SET store_id = gen_random_uuid()")
        for turn in range(10):
            await cluster.execute(
                other, f"UPDATE llm_provider_configs SET description = 'after it {turn}' WHERE is_active"
            )
        await _replace(world, other)
        await load.converged(10)
    assert (await world.truth()).newest > world.before[0].newest
    for watcher in load.watchers:
        assert [message.cause for message in watcher.told].count("RESYNC") == 1


async def test_fault_18_the_disk_is_full(bare: World) -> None:
    with _small_disk() as (disk, place):
        give_to_server(bare.cluster.directory, place)
        await bare.cluster.execute("postgres", f"CREATE TABLESPACE small LOCATION '{place}'")
        await bare.cluster.execute("postgres", f"ALTER DATABASE {bare.name} SET TABLESPACE small")
        async with bare.daemon() as daemon:
            await bare.seed(daemon.address)
            async with bare.load(writes=40) as load:
                filler = disk / "filler"
                with filler.open("wb") as file, pytest.raises(OSError, match="No space left"):
                    while True:
                        file.write(bytes(1 << 16))
                        file.flush()
                await until(lambda: len(load.failures) > scaled(10, 100), 60)
                filler.unlink()
                await load.converged(5)
                await load.more_writes(5)
        await bare.cluster.execute("postgres", f"ALTER DATABASE {bare.name} SET TABLESPACE pg_default")
        await bare.cluster.execute("postgres", "DROP TABLESPACE small")
    assert {failed.code for failed in load.failures} == {"UNAVAILABLE"}
    assert "STORE_UNWRITABLE" in load.failures[0].said
    assert not any(watcher.ends for watcher in load.watchers)
    assert set(load.reads) == {"OK"}


async def test_fault_21_migrations_run_under_load(world: World) -> None:
    async with world.load() as load:
        for _ in range(scaled(2, 20)):
            # The newest one again. Those before it would take rights from the daemon's role until it has run, too.
            newest = "DELETE FROM providerd_migrations WHERE name = (SELECT max(name) FROM providerd_migrations)"
            await world.cluster.execute(world.name, newest)
            assert await migrate.up(world.dsn)
            roles = str(migrate.migration_directory() / "roles.sql")
            await asyncio.to_thread(world.cluster.run, "psql", "-Xqd", world.dsn, "-v", "ON_ERROR_STOP=1", "-f", roles)
            await load.more_writes(3)
            await load.converged(5)
    assert set(load.reads) == {"OK"}


async def _replace(world: World, other: str) -> None:
    """Puts another database in the place of the world's."""
    connection = await asyncpg.connect(world.cluster.dsn("postgres"))
    await connection.execute(f"DROP DATABASE {world.name} WITH (FORCE)")
    await connection.execute(f"ALTER DATABASE {other} RENAME TO {world.name}")
    await connection.close()


@contextmanager
def _small_disk() -> Iterator[tuple[Path, Path]]:
    """A file system of a few megabytes, and a directory in it."""
    mount = shutil.which("mount")
    with server_directory() as directory:
        disk = directory / "disk"
        disk.mkdir()
        done = subprocess.run(
            [mount or "false", "-t", "tmpfs", "-o", "size=24m,mode=755", "none", disk], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("filling a disk takes the right to mount a small one")
        try:
            place = disk / "tablespace"
            place.mkdir(mode=0o700)
            yield disk, place
        finally:
            subprocess.run(["umount", "--lazy", disk], check=True)
