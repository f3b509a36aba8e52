"""The sidecar between workers and an upstream that does what the test says."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from providerd import Client, State
from providerd.v1 import provider_pb2 as pb
from providerd_server.source.upstream import Upstream, UpstreamSource
from tests.integration.scripted_server import ScriptedServer, Watch, scripted_server
from tests.integration.serving import Serving, error_info
from tests.integration.sidecars import first_watch, next_event, next_where, sidecar_of, until_serving
from tests.unit.sdk_messages import OTHER_STORE, STORE, active, drain, heartbeat, provider

WORKERS = 100


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as server:
        yield server


@pytest.fixture
async def sidecar(upstream: ScriptedServer) -> AsyncIterator[tuple[Serving, Watch]]:
    """A sidecar that has heard of revision 7, and the stream that it hears from."""
    async with sidecar_of(upstream.address, serving=False) as found:
        stream = await first_watch(upstream)
        await until_serving(found)
        yield found, stream


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_a_hundred_workers_are_one_stream_of_the_upstream(
    upstream: ScriptedServer, sidecar: tuple[Serving, Watch]
) -> None:
    local, stream = sidecar
    watches = [local.watch() for _ in range(WORKERS)]
    first = await asyncio.gather(*(next_event(watch) for watch in watches))
    assert {message.active.provider.provider_name for message in first} == {"groq"}
    stream.send(active(8, "mistral"))
    told = await asyncio.gather(*(next_event(watch) for watch in watches))
    assert {(message.active.cause, message.revision.number) for message in told} == {(pb.CHANGE_CAUSE_SWITCHED, 8)}
    assert upstream._watches.empty()
    assert not stream.gone.is_set()


async def test_workers_are_told_what_happened(sidecar: tuple[Serving, Watch]) -> None:
    local, stream = sidecar
    watch = local.watch()
    assert (await next_event(watch)).active.cause == pb.CHANGE_CAUSE_INITIAL
    updated = provider("groq", default_model="small", config_version=2)
    keyed = provider("groq", default_model="small", config_version=3, has_key=True, key_fingerprint="ab")
    for sent, cause in (
        (active(8, "mistral", "SWITCHED"), pb.CHANGE_CAUSE_SWITCHED),
        (active(9, "groq", "SWITCHED"), pb.CHANGE_CAUSE_SWITCHED),
        (active(10, updated, "UPDATED"), pb.CHANGE_CAUSE_UPDATED),
        (active(11, keyed, "KEY_CHANGED"), pb.CHANGE_CAUSE_KEY_CHANGED),
        (active(12, None, "NONE_ACTIVE"), pb.CHANGE_CAUSE_NONE_ACTIVE),
        (active(13, "groq", "SWITCHED"), pb.CHANGE_CAUSE_SWITCHED),
        (active(3, "groq", "RESYNC"), pb.CHANGE_CAUSE_RESYNC),
        # Of a past that is gone as well, though nothing but the word of the upstream says so.
        (active(20, "groq", "RESYNC"), pb.CHANGE_CAUSE_RESYNC),
        (active(1, "groq", "RESYNC", store=OTHER_STORE), pb.CHANGE_CAUSE_RESYNC),
    ):
        stream.send(sent)
        told = await next_event(watch)
        assert (told.active.cause, told.revision) == (cause, sent.revision)
        if sent.active.HasField("provider"):
            sent.active.provider.http_method = "POST"  # what none means
        assert told.active == sent.active


async def test_nobody_active_is_an_answer(sidecar: tuple[Serving, Watch]) -> None:
    local, stream = sidecar
    watch = local.watch()
    await next_event(watch)
    stream.send(active(8, None, "NONE_ACTIVE"))
    await next_event(watch)
    assert error_info(await refusal(local.call("GetActiveProvider"))).reason == "NO_ACTIVE_PROVIDER"


async def test_a_revision_that_only_heartbeats_tell_of_is_passed_on(sidecar: tuple[Serving, Watch]) -> None:
    local, stream = sidecar
    watch = local.watch(heartbeat_interval="1s")
    await next_event(watch)
    stream.send(heartbeat(9))
    await next_where(watch, lambda message: message.revision.number == 9)
    assert (await local.call("GetActiveProvider")).revision.number == 9


async def test_the_age_is_that_of_the_upstream_and_the_time_since(upstream: ScriptedServer) -> None:
    async with sidecar_of(upstream.address, serving=False, stale_after=300) as local:
        stream = await first_watch(upstream, age=30.0)
        await until_serving(local)
        async with Client(local.address) as worker:
            assert worker.state is State.READY
            assert 30 <= worker.age < 50
        before = (await local.call("GetActiveProvider")).source
        await next_where(local.watch(heartbeat_interval="1s"), lambda message: message.HasField("heartbeat"))
        after = (await local.call("GetActiveProvider")).source
        assert 1000 <= after.age.ToMilliseconds() - before.age.ToMilliseconds() < 20_000
        stream.send(heartbeat(7, age=2.0))
        watch = local.watch(heartbeat_interval="1s")
        await next_where(watch, lambda message: 2000 <= message.source.age.ToMilliseconds() < 20_000)


async def test_a_stale_upstream_makes_a_stale_sidecar_at_once(sidecar: tuple[Serving, Watch]) -> None:
    local, stream = sidecar
    watch = local.watch(heartbeat_interval="300s")
    assert not (await next_event(watch)).source.stale
    stream.send(heartbeat(7, age=1.0, stale=True))
    assert (await next_where(watch, lambda _: True)).source.stale
    stream.send(heartbeat(7))
    assert not (await next_where(watch, lambda _: True)).source.stale


async def test_an_old_answer_is_stale_though_the_upstream_does_not_say_so(upstream: ScriptedServer) -> None:
    async with sidecar_of(upstream.address, serving=False, stale_after=20) as local:
        await first_watch(upstream, age=25.0)
        await until_serving(local)
        assert (await local.call("GetActiveProvider")).source.stale


@pytest.mark.parametrize("goodbye", ["nothing", "drain"])
async def test_an_upstream_that_leaves_makes_it_stale_until_it_is_back(upstream: ScriptedServer, goodbye: str) -> None:
    async with sidecar_of(upstream.address, serving=False) as local:
        stream = await first_watch(upstream)
        await until_serving(local)
        watch = local.watch(heartbeat_interval="300s")
        await next_event(watch)
        if goodbye == "drain":
            stream.send(drain(7, 0.0))
        stream.end(grpc.StatusCode.UNAVAILABLE)
        away = await next_where(watch, lambda _: True)
        # Neither the drain nor the end is passed on: this one stays.
        assert away.HasField("heartbeat")
        assert away.source.stale
        assert (await local.call("GetActiveProvider")).provider.provider_name == "groq"
        back = await upstream.watch()
        assert back.known == 7
        back.send(heartbeat(7))
        assert not (await next_where(watch, lambda _: True)).source.stale


async def test_no_lower_revision_of_the_store_passes_when_it_fails_over(
    upstream: ScriptedServer, sidecar: tuple[Serving, Watch]
) -> None:
    local, stream = sidecar
    watch = local.watch(heartbeat_interval="1s")
    await next_event(watch)
    stream.send(active(9, "mistral"))
    await next_event(watch)
    stream.end(grpc.StatusCode.UNAVAILABLE)
    behind = await upstream.watch()
    assert behind.known == 9
    behind.send(active(5, "groq", "INITIAL"), heartbeat(6))
    lagging = await next_where(watch, lambda message: message.source.stale)
    assert (lagging.WhichOneof("event"), lagging.revision.number) == ("heartbeat", 9)
    answer = await local.call("GetActiveProvider")
    assert (answer.provider.provider_name, answer.revision.number) == ("mistral", 9)
    behind.send(active(10, "groq", "SWITCHED"))
    caught_up = await next_event(watch)
    assert (caught_up.active.cause, caught_up.revision.number) == (pb.CHANGE_CAUSE_SWITCHED, 10)
    assert not caught_up.source.stale


def ahead(local: Serving, number: int = 9) -> Any:
    """A watch of a worker that has heard more than the sidecar."""
    return local.watch(known_revision={"store_id": STORE, "number": number})


async def test_a_worker_that_knows_more_waits_until_the_sidecar_does(
    upstream: ScriptedServer, sidecar: tuple[Serving, Watch]
) -> None:
    local, stream = sidecar
    first = asyncio.create_task(next_where(ahead(local), lambda _: True))
    question = await upstream.watch()
    assert question.known == 2**63 - 1
    question.send(active(9, "mistral", "RESYNC"))
    await question.gone.wait()
    assert not first.done()
    stream.send(heartbeat(9))
    told = await first
    assert (told.WhichOneof("event"), told.revision.number) == ("heartbeat", 9)


async def test_a_worker_that_knows_what_a_restored_store_lost_is_resynced(
    upstream: ScriptedServer, sidecar: tuple[Serving, Watch]
) -> None:
    local, _ = sidecar
    first = asyncio.create_task(next_where(ahead(local), lambda _: True))
    (await upstream.watch()).send(active(7, "groq", "RESYNC"))
    told = await first
    assert (told.active.cause, told.revision.number) == (pb.CHANGE_CAUSE_RESYNC, 7)


async def test_many_who_want_to_know_are_two_questions(upstream: ScriptedServer) -> None:
    source = UpstreamSource(Upstream(upstream.address))
    following = asyncio.create_task(source.run(lambda _: None))
    await first_watch(upstream)
    asking = [asyncio.create_task(source.verify()) for _ in range(WORKERS)]
    # The first one began before the others asked; the second is for all of them.
    for _ in range(2):
        (await upstream.watch()).send(active(7, "groq", "RESYNC"))
    await asyncio.wait_for(asyncio.gather(*asking), 20)
    assert upstream._watches.empty()
    following.cancel()
    await asyncio.wait({following})


async def test_a_worker_that_knows_more_is_sent_away_while_nobody_can_tell(upstream: ScriptedServer) -> None:
    async with sidecar_of(upstream.address, serving=False) as local:
        await first_watch(upstream)
        await until_serving(local)
        await upstream.stop()
        error = await refusal(next_where(ahead(local), lambda _: True))
        assert (error.code(), error_info(error).reason) == (grpc.StatusCode.UNAVAILABLE, "BEHIND")
        await upstream.start()
