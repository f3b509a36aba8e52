"""Rotation under load, killed at random points: every key decrypts at every moment, and none that was stored is lost.

PROVIDERD_ROTATION_KILLS=20 for a long run.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import grpc
import pytest

from providerd.v1 import provider_pb2 as pb
from providerd.v1.provider_pb2_grpc import ProviderServiceStub
from providerd_server.store.keys import Keys
from tests.conftest import Psql
from tests.daemon import DAEMON_ROLE, PROVIDERD, as_role, clean_environment, running_daemon
from tests.integration.keyed import NEW, OLD, by_sql, learned, ring, rows_of
from tests.integration.test_service_writes import MISTRAL

KILLS = int(os.environ.get("PROVIDERD_ROTATION_KILLS", "5"))

BY_SQL = [f"sql-{number}" for number in range(4)]
BY_DAEMON = [f"daemon-{number}" for number in range(4)]

RING = {"DB_ENCRYPTION_KEY": NEW, "DB_ENCRYPTION_KEY_PREVIOUS": OLD}

# The founding document's own call, with one passphrase and, where that fails, with the other.
_IN_PSQL = """
CREATE FUNCTION pg_temp.opened(ciphertext text, passphrase text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN pgp_sym_decrypt(decode(ciphertext, 'hex'), passphrase);
EXCEPTION WHEN external_routine_invocation_exception THEN
    RETURN NULL;
END $$;
SELECT provider_name, coalesce(pg_temp.opened(api_key_encrypted, :'new'), pg_temp.opened(api_key_encrypted, :'old'))
FROM llm_provider_configs WHERE api_key_encrypted IS NOT NULL;
"""


class Ledger:
    """Which keys were given to a provider, and how far that is acknowledged. Each provider has one writer."""

    def __init__(self) -> None:
        self.begun = dict.fromkeys(BY_SQL + BY_DAEMON, 0)
        self.acknowledged = dict(self.begun)

    def begin(self, name: str) -> str:
        self.begun[name] += 1
        return f"sk-{name}-{self.begun[name]}"

    def acknowledge(self, name: str) -> None:
        self.acknowledged[name] = self.begun[name]

    def check(self, found: dict[str, str], since: dict[str, int]) -> None:
        """Wants every provider to have a key no older than ``since``."""
        assert found.keys() >= self.begun.keys(), f"no key of {self.begun.keys() - found.keys()}"
        for name in self.begun:
            given, _, number = found[name].rpartition("-")
            assert given == f"sk-{name}"
            assert since[name] <= int(number) <= self.begun[name], name


class Load:
    """Writers and a watcher of one daemon, and a judge of what all of them see."""

    def __init__(self, stub: Any, dsn: str, psql: Psql) -> None:
        self.ledger = Ledger()
        self.watched = 0
        self.judged = 0
        self._stub = stub
        self._dsn = dsn
        self._psql = psql

    async def give_by_daemon(self, name: str) -> None:
        api_key = self.ledger.begin(name)
        request = pb.UpsertProviderRequest(provider={"provider_name": name}, new_api_key=api_key)
        with suppress(grpc.aio.AioRpcError):
            await self._stub.UpsertProvider(request, timeout=20)
            self.ledger.acknowledge(name)

    async def give_by_sql(self, db: asyncpg.Connection, name: str) -> None:
        await by_sql(db, name, self.ledger.begin(name), OLD)
        self.ledger.acknowledge(name)

    async def write_by_daemon(self) -> None:
        while True:
            await self.give_by_daemon(random.choice(BY_DAEMON))
            with suppress(grpc.aio.AioRpcError):
                name = random.choice(BY_SQL + BY_DAEMON)
                await self._stub.SwitchProvider(pb.SwitchProviderRequest(provider_name=name), timeout=20)

    async def write_by_sql(self) -> None:
        db = await asyncpg.connect(self._dsn)
        while True:
            await self.give_by_sql(db, random.choice(BY_SQL))
            await asyncio.sleep(0.1)

    async def watch(self) -> None:
        """Wants every active provider to come with a key of its own."""
        watch = self._stub.WatchActive(pb.WatchActiveRequest(include_credential=True))
        async for response in watch:
            if response.HasField("active"):
                name = response.active.provider.provider_name
                assert response.active.credential.api_key.startswith(f"sk-{name}-"), name
                self.watched += 1

    async def judge(self) -> None:
        """Looks once: as the daemon does, and with the founding document's SQL in psql."""
        db = await asyncpg.connect(self._dsn)
        since = dict(self.ledger.acknowledged)
        rows = await rows_of(db)
        keys = Keys(ring(NEW, OLD))
        await keys.learn(db, rows)
        await db.close()
        self.ledger.check({row["provider_name"]: key.reveal() for row in rows if (key := keys.of(row))}, since)
        self.ledger.check(await self.in_psql(NEW, OLD), since)
        self.judged += 1

    async def in_psql(self, new: str, old: str) -> dict[str, str]:
        variables = ("-v", f"new={new}", "-v", f"old={old}", "-F", " ")
        done = await asyncio.to_thread(self._psql, self._dsn, *variables, input=_IN_PSQL)
        assert done.returncode == 0, done.stderr
        return dict(line.split(" ", 1) for line in done.stdout.splitlines())


@asynccontextmanager
async def going_on(*works: Callable[[], Any]) -> AsyncIterator[None]:
    """Has all of them go on for as long as the block, and wants none of them to end by itself."""
    tasks = [asyncio.create_task(work()) for work in works]
    try:
        yield
        for task in tasks:
            assert not task.done(), task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def rotate(dsn: str, *, until: float | None) -> int:
    """Runs `providerd keys rotate` to its end, or kills it that many seconds after its first batch."""
    process = await asyncio.create_subprocess_exec(
        *(PROVIDERD, "keys", "rotate", "--batch-size", "2"),
        env={**clean_environment(), **RING, "SUPABASE_DB_URL": as_role(dsn, DAEMON_ROLE)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    if until is not None:
        await process.stdout.readline()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), until)
        with suppress(ProcessLookupError):
            process.kill()
    await process.communicate()
    assert process.returncode is not None
    return process.returncode


@pytest.mark.timeout(900)
async def test_rotation_under_load_killed_at_random_points(database: str, psql: Psql) -> None:
    with running_daemon(database, **RING) as daemon:
        async with grpc.aio.insecure_channel(daemon.address) as channel:
            stub = ProviderServiceStub(channel)
            load = Load(stub, database, psql)
            await prepare(stub, load, database)
            killed = 0
            async with going_on(load.write_by_daemon, load.write_by_sql, load.watch):
                while killed < KILLS:
                    killed += await rotate(database, until=random.uniform(0, 0.6)) < 0
                    await load.judge()
            assert await rotate(database, until=None) == 0
            await load.judge()
        daemon.stop()
        assert "cannot be decrypted" not in daemon.log.read_text()
    # Of the old passphrase nothing is left.
    db = await asyncpg.connect(database)
    rows = [row for row in await rows_of(db) if row["api_key_encrypted"]]
    keys = await learned(db, NEW)
    await db.close()
    assert {row["api_key_id"] for row in rows} == {ring(NEW).current.id}
    load.ledger.check(
        {row["provider_name"]: key.reveal() for row in rows if (key := keys.of(row))}, load.ledger.acknowledged
    )
    load.ledger.check(await load.in_psql(NEW, NEW), load.ledger.acknowledged)
    assert load.watched > KILLS
    acknowledged = sum(load.ledger.acknowledged.values())
    # For whoever runs it with -s.
    print(f"killed {killed} times: {load.judged} looks, {load.watched} watched, {acknowledged} acknowledged, 0 lost")  # noqa: T201


async def prepare(stub: Any, load: Load, dsn: str) -> None:
    """Gives every provider a key, and makes one of them active."""
    db = await asyncpg.connect(dsn)
    for name in BY_SQL + BY_DAEMON:
        content = {key: value for key, value in MISTRAL.items() if key != "provider_name"}
        await stub.UpsertProvider(pb.UpsertProviderRequest(provider={"provider_name": name, **content}))
        await load.give_by_sql(db, name)
    await stub.SwitchProvider(pb.SwitchProviderRequest(provider_name=BY_SQL[0]))
    await db.close()
