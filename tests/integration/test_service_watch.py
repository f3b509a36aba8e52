"""The watch: state first, then each change, heartbeats between, and never a silent end."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import grpc
import pytest

from providerd.v1 import provider_pb2 as pb
from providerd_server import rpc
from providerd_server.embedded import EmbeddedPostgres
from providerd_server.watch import Watch
from tests.integration.serving import error_info, serving, violations


async def read(watch: Any) -> pb.WatchActiveResponse:
    message = await asyncio.wait_for(watch.read(), 10)
    assert message is not grpc.aio.EOF
    return message


async def read_event(watch: Any) -> pb.WatchActiveResponse:
    """The next message that is not a heartbeat."""
    while True:
        message = await read(watch)
        if message.WhichOneof("event") != "heartbeat":
            return message


async def enable_all(connection: asyncpg.Connection) -> None:
    await connection.execute("UPDATE llm_provider_configs SET is_enabled = true")


async def test_the_state_comes_first_then_each_change_of_it(database: str) -> None:
    sql = await asyncpg.connect(database)
    await enable_all(sql)
    async with serving(database) as daemon:
        watch = daemon.watch()
        first = await read(watch)
        assert first.active.cause == pb.CHANGE_CAUSE_INITIAL
        assert first.active.provider.provider_name == "groq"

        await sql.execute("SELECT switch_active_provider('openrouter', 'psql')")
        switched = await read_event(watch)
        assert switched.active.cause == pb.CHANGE_CAUSE_SWITCHED
        assert switched.active.provider.provider_name == "openrouter"
        assert switched.revision.number == first.revision.number + 1

        await sql.execute("UPDATE llm_provider_configs SET default_model = 'x' WHERE provider_name = 'openrouter'")
        updated = await read_event(watch)
        assert updated.active.cause == pb.CHANGE_CAUSE_UPDATED
        assert updated.active.provider.default_model == "x"

        await daemon.call("UpsertProvider", provider={"provider_name": "openrouter"}, new_api_key="sk-canary")
        key = await read_event(watch)
        assert key.active.cause == pb.CHANGE_CAUSE_KEY_CHANGED
        assert key.active.provider.has_key
        assert "sk-canary" not in str(key)

        # Not what this watch is about, so the next message is about what follows it.
        await sql.execute("UPDATE llm_provider_configs SET default_model = 'y' WHERE provider_name = 'groq'")
        await sql.execute("UPDATE llm_provider_configs SET is_active = false")
        nobody = await read_event(watch)
        assert nobody.active.cause == pb.CHANGE_CAUSE_NONE_ACTIVE
        assert not nobody.active.HasField("provider")
        assert nobody.revision.number == key.revision.number + 2

        await sql.execute("SELECT switch_active_provider('groq', 'psql')")
        assert (await read_event(watch)).active.cause == pb.CHANGE_CAUSE_SWITCHED
    await sql.close()


async def test_the_key_travels_only_to_who_asked_for_it(database: str) -> None:
    async with serving(database) as daemon:
        with_key, without = daemon.watch(include_credential=True), daemon.watch()
        assert not (await read(with_key)).active.HasField("credential")
        await read(without)
        await daemon.call("UpsertProvider", provider={"provider_name": "groq"}, new_api_key="gsk_canary")
        assert (await read_event(with_key)).active.credential.api_key == "gsk_canary"
        assert not (await read_event(without)).active.HasField("credential")


async def test_a_client_that_is_current_gets_a_heartbeat_and_one_that_is_not_the_state(database: str) -> None:
    sql = await asyncpg.connect(database)
    await enable_all(sql)
    async with serving(database) as daemon:
        before = (await read(daemon.watch())).revision
        await daemon.call("SwitchProvider", provider_name="openrouter")
        switched = (await read(daemon.watch())).revision
        await daemon.call("UpsertProvider", provider={"provider_name": "groq", "description": "not watched"})

        def known(revision: pb.Revision) -> dict[str, Any]:
            return {"known_revision": {"store_id": revision.store_id, "number": revision.number}}

        current = await read(daemon.watch(**known(switched)))
        assert current.WhichOneof("event") == "heartbeat"
        assert current.revision.number == switched.number + 1
        behind = await read(daemon.watch(**known(before)))
        assert behind.active.cause == pb.CHANGE_CAUSE_INITIAL
        future = await read(daemon.watch(**known(pb.Revision(store_id=before.store_id, number=10**9))))
        assert future.active.cause == pb.CHANGE_CAUSE_RESYNC
        foreign = await read(daemon.watch(**known(pb.Revision(store_id="another", number=1))))
        assert foreign.active.cause == pb.CHANGE_CAUSE_RESYNC
    await sql.close()


async def test_heartbeats_come_as_often_as_asked_and_say_how_fresh(database: str) -> None:
    async with serving(database) as daemon:
        watch = daemon.watch(heartbeat_interval="1s")
        first = await read(watch)
        beat = await read(watch)
        assert beat.WhichOneof("event") == "heartbeat"
        assert beat.revision == first.revision
        assert not beat.source.stale
        assert beat.source.age.ToMilliseconds() < 10_000


async def test_changes_of_other_providers_do_not_starve_the_heartbeat(database: str) -> None:
    async with serving(database) as daemon:
        watch = daemon.watch(heartbeat_interval="1s")
        await read(watch)

        async def disturb() -> None:
            for turn in range(1000):
                await daemon.call("UpsertProvider", provider={"provider_name": "chatgpt", "description": str(turn)})
                await asyncio.sleep(0.2)

        disturbing = asyncio.create_task(disturb())
        beat = await read(watch)
        disturbing.cancel()
        assert beat.WhichOneof("event") == "heartbeat"
        assert beat.revision.number > 1


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"heartbeat_interval": "0.5s"}, "heartbeat_interval"),
        ({"heartbeat_interval": "301s"}, "heartbeat_interval"),
        ({"known_revision": {"store_id": "s", "number": -1}}, "known_revision.number"),
    ],
)
async def test_a_wrong_watch_is_refused(database: str, request_: dict[str, Any], field: str) -> None:
    async with serving(database) as daemon:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await daemon.watch(**request_).read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert set(violations(caught.value)) == {field}


async def test_shutdown_says_goodbye_and_that_coming_back_is_right(database: str) -> None:
    async with serving(database) as daemon:
        watches = [daemon.watch() for _ in range(20)]
        for watch in watches:
            await read(watch)
        daemon.task.cancel()
        drains = [await read_event(watch) for watch in watches]
        assert all(message.WhichOneof("event") == "drain" for message in drains)
        waits = {message.drain.retry_after.ToMilliseconds() for message in drains}
        assert len(waits) > 10
        assert max(waits) <= 5000
        for watch in watches:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await watch.read()
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert error_info(caught.value).reason == "DRAINING"


async def test_a_restored_store_is_a_resync(database: str) -> None:
    sql = await asyncpg.connect(database)
    await enable_all(sql)
    async with serving(database, poll_interval=0.2) as daemon:
        for name in ("openrouter", "groq", "chatgpt"):
            await daemon.call("SwitchProvider", provider_name=name)
        watch = daemon.watch()
        newest = await read(watch)
        # What restoring an older dump leaves: a lower number, and nobody to notify of it.
        await sql.execute("UPDATE llm_provider_store SET revision = revision - 2")
        resync = await read_event(watch)
        assert resync.active.cause == pb.CHANGE_CAUSE_RESYNC
        assert resync.revision.number == newest.revision.number - 2
        await sql.execute("UPDATE llm_provider_store SET store_id = gen_random_uuid(), revision = revision + 100")
        replaced = await read_event(watch)
        assert replaced.active.cause == pb.CHANGE_CAUSE_RESYNC
        assert replaced.revision.store_id != newest.revision.store_id
    await sql.close()


async def test_the_same_revision_with_other_content_is_a_resync(database: str) -> None:
    sql = await asyncpg.connect(database)
    await enable_all(sql)
    async with serving(database, poll_interval=0.2) as daemon:
        watch = daemon.watch()
        first = await read(watch)
        # What a failover to a server that had lost the last revision and counted it again leaves.
        await sql.execute("SELECT switch_active_provider('openrouter', 'elsewhere')")
        await read_event(watch)
        async with sql.transaction():
            await sql.execute("SELECT switch_active_provider('chatgpt', 'elsewhere')")
            await sql.execute("UPDATE llm_provider_store SET revision = revision - 1")
        resync = await read_event(watch)
        assert resync.active.cause == pb.CHANGE_CAUSE_RESYNC
        assert resync.active.provider.provider_name == "chatgpt"
        assert resync.revision.number == first.revision.number + 1
    await sql.close()


async def test_watchers_hear_at_once_that_the_source_is_stale_and_that_it_no_longer_is(
    database: str, cluster: EmbeddedPostgres
) -> None:
    name = urlsplit(database).path.lstrip("/")
    admin = await asyncpg.connect(cluster.dsn("postgres"))
    async with serving(database, poll_interval=0.2, stale_after=1.0) as daemon:
        watch = daemon.watch(heartbeat_interval="300s")
        assert not (await read(watch)).source.stale
        await admin.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        assert (await read(watch)).source.stale
        assert (await daemon.call("GetActiveProvider")).source.stale
        await admin.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
        assert not (await read(watch)).source.stale
    await admin.close()


async def test_the_handlers_of_clients_that_never_read_again_end(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "_ABORT_SECONDS", 0.5)
    # The task of a handler is gRPC's; it ends when the handler does, which a waiting status would prevent.
    ended: list[asyncio.Task[object]] = []
    run = Watch.run

    async def noted(self: Watch) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(ended.append)
        await run(self)

    monkeypatch.setattr(Watch, "run", noted)
    sql = await asyncpg.connect(database)
    await sql.execute("UPDATE llm_provider_configs SET is_enabled = true, description = repeat('x', 9000)")
    async with serving(database, watch_write_timeout=0.5) as daemon:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]
        async with grpc.aio.insecure_channel(daemon.address, options=options) as channel:
            stalled = [channel.unary_stream("/providerd.v1.ProviderService/WatchActive")(b"") for _ in range(5)]
            for watch in stalled:
                await watch.read()
            assert not ended
            async with asyncio.timeout(30):
                turn = 0
                while len(ended) < 5:
                    name = "openrouter" if (turn := turn + 1) % 2 else "groq"
                    await daemon.call("SwitchProvider", provider_name=name)
    await sql.close()


async def test_a_client_that_stops_reading_is_let_go_and_delays_nobody(database: str) -> None:
    sql = await asyncpg.connect(database)
    # A large provider fills the stalled client's flow control window after few messages.
    await sql.execute("UPDATE llm_provider_configs SET is_enabled = true, description = repeat('x', 9000)")
    async with (
        serving(database, watch_write_timeout=1.0) as daemon,
        grpc.aio.insecure_channel(
            daemon.address, options=[("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]
        ) as channel,
    ):
        stalled = channel.unary_stream("/providerd.v1.ProviderService/WatchActive")(b"")
        await stalled.read()
        reader = daemon.watch()
        await read(reader)
        for turn in range(60):
            name = "openrouter" if turn % 2 == 0 else "groq"
            answer = await daemon.call("SwitchProvider", provider_name=name)
            message = await read_event(reader)
            assert message.revision.number == answer.revision.number
        # It took in what its window held, then nothing: the daemon must end it, not wait for it.
        await asyncio.sleep(2)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            for _ in range(100):
                await asyncio.wait_for(stalled.read(), 10)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await sql.close()
