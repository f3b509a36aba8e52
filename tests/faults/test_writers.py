"""Faults 12 to 16: writers in each other's way, and a database that has no room for them."""

import asyncio
import os
import signal
import statistics
import time
from collections import Counter
from typing import Any

import asyncpg
import grpc

from providerd.v1 import provider_pb2 as pb
from providerd.v1.provider_pb2_grpc import ProviderServiceStub
from tests.faults.load import PROVIDERS
from tests.faults.report import Report
from tests.faults.scale import scaled
from tests.faults.watcher import OWN_CONNECTION
from tests.faults.world import World, until

_TRIGGER = "TRIGGER trg_log_provider_config_change"


async def test_fault_12_a_trigger_is_disabled_and_somebody_writes(world: World) -> None:
    [daemon] = world.daemons
    async with world.load(writes=0) as load:
        before = await world.truth()
        await world.cluster.execute(
            world.name,
            f"ALTER TABLE llm_provider_configs DISABLE {_TRIGGER};"
            " UPDATE llm_provider_configs SET description = 'nobody is to know' WHERE provider_name = 'beta'",
        )
        assert (await world.truth()).newest == before.newest
        await until(lambda: "disabled trigger trg_log_provider_config_change" in daemon.log.read_text(), 15)
        await until(lambda: load.reads["STALE"] > 0, 15)
        await world.cluster.execute(world.name, f"ALTER TABLE llm_provider_configs ENABLE ALWAYS {_TRIGGER}")
        await load.converged(10)
        async with grpc.aio.insecure_channel(daemon.address) as channel:
            stub: Any = ProviderServiceStub(channel)
            beta = (await stub.GetProvider(pb.GetProviderRequest(provider_name="beta"), timeout=5)).provider
        assert beta.description == "nobody is to know"


async def test_fault_13_a_session_holds_the_revision_lock(world: World) -> None:
    async with world.load() as load:
        await load.more_writes(3)
        connection = await asyncpg.connect(world.dsn)
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SELECT lock_provider_store()")
        acknowledged = len(load.writes)
        await asyncio.sleep(scaled(3, 30))
        assert len(load.writes) <= acknowledged + 1  # the one that was about to be answered
        await transaction.rollback()
        await connection.close()
        await load.converged(5)
    assert load.failures
    assert {failed.code for failed in load.failures} == {"UNAVAILABLE"}
    assert max(failed.seconds for failed in load.failures) <= 13
    assert set(load.reads) == {"OK"}


async def test_fault_14_32_switchers_at_once(world: World, report: Report) -> None:
    codes: Counter[str] = Counter()

    async def switch_over_and_over(stub: Any, first: int) -> None:
        for turn in range(scaled(8, 1000)):
            request = pb.SwitchProviderRequest(provider_name=PROVIDERS[(first + turn) % len(PROVIDERS)])
            try:
                await stub.SwitchProvider(request, timeout=30)
            except grpc.aio.AioRpcError as error:
                codes[f"{error.code().name} {error.details()}"] += 1
            else:
                codes["OK"] += 1

    began = time.monotonic()
    async with world.load(writes=0) as load:
        async with grpc.aio.insecure_channel(world.daemons[0].address, options=OWN_CONNECTION) as channel:
            stub: Any = ProviderServiceStub(channel)
            await asyncio.gather(*(switch_over_and_over(stub, number) for number in range(32)))
        seconds = time.monotonic() - began
        await load.converged(5)
    assert set(codes) == {"OK"}
    assert set(load.reads) == {"OK"}
    report.measured(f"32 switchers at once: {codes['OK']:,} switches, {codes['OK'] / seconds:.0f} a second")


async def test_fault_15_a_transaction_that_starts_early_and_writes_late(world: World) -> None:
    async with world.load() as load:
        for _ in range(scaled(1, 20)):
            connection = await asyncpg.connect(world.dsn)
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("SELECT pg_current_xact_id()")
            await load.more_writes(scaled(4, 20))
            acknowledged = max(write.revision for write in load.writes)
            await connection.execute(
                "UPDATE llm_provider_configs SET description = 'late' WHERE provider_name = 'gamma'"
            )
            await transaction.commit()
            [mine] = await connection.fetch(
                "SELECT revision FROM llm_provider_config_history WHERE config_snapshot ->> 'description' = 'late'"
                " ORDER BY revision DESC LIMIT 1"
            )
            await connection.close()
            assert mine["revision"] > acknowledged
            await load.converged(5)
    past = await world.truth()
    times = [past.committed_at[revision] for revision in sorted(past.committed_at)]
    assert times == sorted(times)


async def test_fault_16_connections_are_exhausted(world: World) -> None:
    backends = await world.cluster.backends(world.name)
    async with world.load() as load:
        async with world.cluster.full():
            await asyncio.sleep(0.5)
            for pid in backends:
                os.kill(pid, signal.SIGTERM)
            await until(lambda: len(load.failures) >= scaled(5, 50), 30)
            assert load.reads["OK"] + load.reads["STALE"] == load.reads.total()
        await load.converged(8)
    assert not any(watcher.ends for watcher in load.watchers)
    assert {failed.code for failed in load.failures} == {"UNAVAILABLE"}
    # Fast, because nobody waits for the end of what PostgreSQL has refused.
    seconds = [failed.seconds for failed in load.failures]
    assert statistics.median(seconds) < 0.5
    assert max(seconds) <= 5.5
