"""The watch against a real gRPC server: what is delivered, and what survives."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable

import grpc
import pytest

import providerd
from providerd import Cause, Client, State
from tests.integration.scripted_server import ScriptedServer, Watch, scripted_server
from tests.unit.sdk_messages import OTHER_STORE, active, drain, heartbeat, provider


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as server:
        yield server


@pytest.fixture
async def client(server: ScriptedServer) -> AsyncIterator[Client]:
    """A started client, which nobody has answered yet."""
    client = Client(server.address, heartbeat_interval=1)
    await client.start()
    yield client
    await client.close()


async def eventually(client: Client, condition: Callable[[], bool]) -> None:
    """Waits for something to happen in the client that makes the condition true."""
    async with asyncio.timeout(20):
        await client._announcer.until(condition)


async def first(server: ScriptedServer, client: Client, number: int = 5, name: str = "groq") -> Watch:
    watch = await server.watch()
    watch.send(active(number, name, "INITIAL"))
    await client.wait_ready(5)
    return watch


async def test_the_watch_says_who_asks_and_what_for(server: ScriptedServer) -> None:
    options = {"heartbeat_interval": 2.5, "include_credential": True, "name": "billing-worker"}
    client = Client(server.address, **options)  # type: ignore[arg-type]
    await client.start()
    request = (await server.watch()).request
    await client.close()
    assert (request.heartbeat_interval.seconds, request.heartbeat_interval.nanos) == (2, 500_000_000)
    assert request.include_credential
    assert not request.HasField("known_revision")
    assert (request.client.name, request.client.version) == ("billing-worker", providerd.__version__)
    assert request.client.instance.endswith(f":{os.getpid()}")


async def test_entering_waits_for_the_first_answer(server: ScriptedServer) -> None:
    async def answer() -> None:
        (await server.watch()).send(active(5, "groq", "INITIAL", key="canary-key", age=2))

    answering = asyncio.create_task(answer())
    async with Client(server.address, include_credential=True) as client:
        assert client.active.provider_name == "groq"
        assert client.credential.api_key == "canary-key"
        assert client.current.provider is client.active
        assert client.current.credential == client.credential
        assert (client.state, client.revision) == (State.READY, client.current.revision)
        assert 2 <= client.age < 60
        assert client.error is None
    await answering
    with pytest.raises(providerd.ClosedError):
        _ = client.active
    assert client.state is State.CLOSED


async def test_entering_does_not_need_a_daemon() -> None:
    async with Client("127.0.0.1:1", timeout=0.3) as client:
        assert client.state is State.CONNECTING
        with pytest.raises(providerd.NotReadyError, match=r"127\.0\.0\.1:1 yet: cannot reach the daemon"):
            _ = client.active
        with pytest.raises(providerd.NotReadyError, match="cannot reach the daemon"):
            await client.wait_ready(0.1)


async def test_changes_start_with_the_current_state_and_follow_it(server: ScriptedServer, client: Client) -> None:
    watch = await first(server, client)
    seen: list[providerd.Change] = []
    client.on_change(seen.append)
    changes = client.changes()
    initial = await anext(changes)
    assert (initial.cause, initial.provider, initial.previous) == (Cause.INITIAL, client.active, None)

    watch.send(active(6, "openrouter"))
    switched = await anext(changes)
    assert switched.cause is Cause.SWITCHED
    assert (switched.provider, switched.previous) == (client.active, initial.provider)

    watch.send(active(7, None, "NONE_ACTIVE"))
    gone = await anext(changes)
    assert (gone.cause, gone.provider, gone.revision.number) == (Cause.NONE_ACTIVE, None, 7)
    with pytest.raises(providerd.NoActiveProviderError):
        _ = client.active
    assert client.state is State.READY
    assert seen == [switched, gone]

    await client.close()
    with pytest.raises(StopAsyncIteration):
        await anext(changes)


async def test_a_slow_consumer_gets_the_newest(server: ScriptedServer, client: Client) -> None:
    changes = client.changes()
    watch = await first(server, client)
    assert (await anext(changes)).revision.number == 5
    watch.send(*(active(number, provider("groq", config_version=number)) for number in range(6, 206)))
    await eventually(client, lambda: client.revision is not None and client.revision.number == 205)
    newest = await anext(changes)
    assert newest.provider is client.active
    assert newest.previous is not None
    assert (newest.cause, newest.previous.config_version) == (Cause.UPDATED, 0)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(changes), 0.05)


async def test_a_raising_callback_hurts_nobody(
    server: ScriptedServer, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    watch = await first(server, client)
    client.on_change(lambda _: 1 / 0)
    seen: list[providerd.Change] = []
    client.on_change(seen.append)
    with caplog.at_level(logging.ERROR, "providerd"):
        watch.send(active(6, "openrouter"))
        await eventually(client, lambda: bool(seen))
        watch.send(active(7, "chatgpt"))
        await eventually(client, lambda: len(seen) == 2)
    assert client.active.provider_name == "chatgpt"
    assert caplog.text.count("ZeroDivisionError") == 2


async def test_the_order_of_revisions_is_kept(server: ScriptedServer, client: Client) -> None:
    watch = await first(server, client, 5)
    changes = client.changes()
    await anext(changes)
    watch.send(active(4, "openrouter"), active(2, "chatgpt", "RESYNC"))
    resync = await anext(changes)
    assert (resync.cause, resync.revision.number) == (Cause.RESYNC, 2)
    assert resync.previous is not None
    assert resync.previous.provider_name == "groq"  # 4 was never applied
    watch.send(active(1, "openrouter", store=OTHER_STORE), active(3, "google_ai"))
    assert (await anext(changes)).revision.number == 3
    assert client.active.provider_name == "google_ai"


async def test_an_unusable_value_keeps_the_old_one(server: ScriptedServer, client: Client) -> None:
    watch = await first(server, client)
    watch.send(active(6, provider("openrouter", base_url="")))
    await eventually(client, lambda: client.error is not None)
    assert client.active.provider_name == "groq"
    assert "base_url" in str(client.error)
    assert client.state is State.STALE
    # The daemon goes on as if it had been taken: the client asks again, from what it really has.
    watch.send(heartbeat(6))
    again = await server.watch()
    assert again.known == 5
    again.send(active(7, "openrouter", "INITIAL"))
    await eventually(client, lambda: client.state is State.READY)
    assert client.active.provider_name == "openrouter"


async def test_bytes_that_are_no_message_mean_to_come_back(server: ScriptedServer, client: Client) -> None:
    watch = await first(server, client)
    watch.send_bytes(b"\xff\xff\xff\xff")
    again = await server.watch()
    assert "undecodable" in str(client.error)
    assert (again.known, client.active.provider_name) == (5, "groq")


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.OK,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.UNKNOWN,
    ],
)
async def test_every_other_end_means_to_come_back_with_what_is_known(
    server: ScriptedServer, client: Client, code: grpc.StatusCode
) -> None:
    states: list[State] = []
    watch = await first(server, client)
    client.on_state(states.append)
    watch.send(heartbeat(8))
    watch.end(code, "for a reason")
    again = await server.watch()
    assert again.known == 8  # heartbeats move it, too
    assert client.active.provider_name == "groq"
    assert (client.state, client.error is None) == (State.STALE, False)
    again.send(heartbeat(8))
    await eventually(client, lambda: client.state is State.READY)
    assert client.error is None
    assert states == [State.STALE, State.READY]


async def test_the_waits_grow_and_start_over_after_a_message(
    server: ScriptedServer, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "providerd")
    for _ in range(5):
        (await server.watch()).end(grpc.StatusCode.UNAVAILABLE, "not yet")
    watch = await first(server, client)
    watch.end(grpc.StatusCode.UNAVAILABLE, "gone again")
    await server.watch()
    lost = [record for record in caplog.records if record.name == "providerd"]
    waits = [float(record.args[0]) for record in lost if isinstance(record.args, tuple)]
    assert len(waits) == 6
    assert all(wait <= 0.1 * 2**number for number, wait in enumerate(waits[:5]))
    assert waits[5] <= 0.1
    # An outage is told once, at its start.
    assert [record.levelname for record in lost] == ["WARNING", *["DEBUG"] * 4, "WARNING"]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, providerd.UnauthenticatedError),
        (grpc.StatusCode.PERMISSION_DENIED, providerd.PermissionDeniedError),
        (grpc.StatusCode.INVALID_ARGUMENT, providerd.InvalidArgumentError),
        (grpc.StatusCode.UNIMPLEMENTED, providerd.UnimplementedError),
        (grpc.StatusCode.FAILED_PRECONDITION, providerd.FailedPreconditionError),
    ],
)
async def test_a_refusal_for_good_is_fatal(
    server: ScriptedServer, client: Client, code: grpc.StatusCode, error: type[Exception]
) -> None:
    changes = client.changes()
    states: list[State] = []
    client.on_state(states.append)
    (await server.watch()).end(code, "not for you")
    with pytest.raises(error, match="not for you"):
        await client.wait_ready(5)
    with pytest.raises(error, match="not for you"):
        await anext(changes)
    with pytest.raises(error, match="not for you"):
        _ = client.active
    with pytest.raises(error, match="not for you"):
        await anext(client.changes())
    assert states == [State.FATAL]
    assert isinstance(client.error, error)


async def test_a_fatal_end_leaves_the_value_readable(server: ScriptedServer, client: Client) -> None:
    watch = await first(server, client)
    changes = client.changes()
    watch.end(grpc.StatusCode.PERMISSION_DENIED, "no longer")
    assert (await anext(changes)).cause is Cause.INITIAL
    with pytest.raises(providerd.PermissionDeniedError):
        await anext(changes)
    assert (client.state, client.active.provider_name) == (State.FATAL, "groq")


async def test_a_drain_is_followed_and_its_wait_bounded(server: ScriptedServer, client: Client) -> None:
    watch = await first(server, client)
    # The status comes with the drain, as from a daemon that stops: the drain must not be lost for it.
    watch.send(drain(9, 0.4))
    watch.end(grpc.StatusCode.UNAVAILABLE, "shutting down")
    before = time.monotonic()
    again = await server.watch()
    assert time.monotonic() - before > 0.3
    assert client.error is not None
    assert client.error.reason == "DRAIN"
    assert again.known == 5
    again.send(drain(9, 3600))
    last = await server.watch()
    assert last.known == 5
    assert client.active.provider_name == "groq"


async def test_silence_for_three_heartbeats_ends_the_watch(server: ScriptedServer, client: Client) -> None:
    watch = await first(server, client)
    states: list[State] = []
    client.on_state(states.append)
    await watch.gone.wait()  # the client cancelled it
    assert states == [State.STALE]
    assert "no message for 3 s" in str(client.error)
    again = await server.watch()
    again.send(heartbeat(5))
    await eventually(client, lambda: client.state is State.READY)


async def test_the_state_is_honest_while_the_event_loop_is_blocked(server: ScriptedServer, client: Client) -> None:
    await first(server, client)
    assert client.state is State.READY
    time.sleep(3.1)  # noqa: ASYNC251 - blocking it is the point
    assert client.state is State.STALE
    assert client.age > 3


async def test_a_stale_source_is_passed_on(server: ScriptedServer, client: Client) -> None:
    watch = await first(server, client)
    watch.send(heartbeat(5, age=40, stale=True))
    await eventually(client, lambda: client.state is State.STALE)
    assert 40 <= client.age < 60
    assert client.active.provider_name == "groq"
    watch.send(heartbeat(5))
    await eventually(client, lambda: client.state is State.READY)


async def test_a_value_older_than_max_age_is_not_served(server: ScriptedServer) -> None:
    async with Client(server.address, max_age=30, timeout=0.01) as client:
        watch = await first(server, client)
        assert client.active.provider_name == "groq"
        watch.send(heartbeat(5, age=40, stale=True))
        await eventually(client, lambda: client.state is State.STALE)
        with pytest.raises(providerd.StaleError, match="max_age is 30 s"):
            _ = client.active


async def test_a_daemon_that_restarts_is_found_again(server: ScriptedServer, client: Client) -> None:
    await first(server, client)
    await server.stop()
    await eventually(client, lambda: client.state is State.STALE)
    await server.start()
    again = await server.watch()
    assert again.known == 5
    again.send(active(6, "openrouter", "INITIAL"))
    await eventually(client, lambda: client.state is State.READY)
    assert client.active.provider_name == "openrouter"


async def test_of_two_addresses_one_may_be_down(server: ScriptedServer) -> None:
    async with scripted_server() as other, Client(server.address, other.address, timeout=0.01) as client:
        waits = [asyncio.create_task(each.watch()) for each in (server, other)]
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        chosen = server if waits[0] in done else other
        done.pop().result().send(active(5, "groq", "INITIAL"))
        await client.wait_ready(5)
        await chosen.stop()
        survivor = await next(wait for wait in waits if not wait.done())
        assert survivor.known == 5
        survivor.send(active(6, "openrouter", "INITIAL"))
        await eventually(client, lambda: client.state is State.READY)
        assert client.active.provider_name == "openrouter"


async def test_closing_ends_the_watch_and_may_be_repeated(server: ScriptedServer, client: Client) -> None:
    watch = await first(server, client)
    states: list[State] = []
    client.on_state(states.append)
    await client.close()
    await client.close()
    async with asyncio.timeout(5):
        await watch.gone.wait()
    assert states == [State.CLOSED]
    with pytest.raises(providerd.ClosedError):
        await client.start()
    with pytest.raises(providerd.ClosedError):
        client.changes()


async def test_a_watch_that_is_killed_says_so(server: ScriptedServer, client: Client) -> None:
    await first(server, client)
    (watching,) = [task for task in asyncio.all_tasks() if task.get_name() == "providerd-watch"]
    watching.cancel()
    await eventually(client, lambda: client.state is State.FATAL)
    assert "cancelled from outside" in str(client.error)


async def test_a_bug_in_the_watch_is_logged_and_survived(
    server: ScriptedServer, client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = await first(server, client)
    with monkeypatch.context() as patch:
        patch.setattr(client._cache, "apply", lambda _: 1 / 0)
        watch.send(heartbeat(6))
        await eventually(client, lambda: client.state is State.STALE)
    assert "ZeroDivisionError" in caplog.text
    (await server.watch()).send(active(7, "openrouter", "INITIAL"))
    await eventually(client, lambda: client.state is State.READY)


async def test_no_key_appears_in_any_log(server: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    key = "canary-93bd"
    with caplog.at_level(logging.DEBUG):
        async with Client(server.address, include_credential=True, timeout=0.01) as client:
            watch = await server.watch()
            watch.send(
                active(5, "groq", "INITIAL", key=key),
                active(6, provider("groq", base_url=""), key=key),
                active(4, "openrouter", key=key),
            )
            await eventually(client, lambda: client.error is not None)
            assert client.credential.api_key == key
            assert key not in repr(client.current)
            watch.end(grpc.StatusCode.INTERNAL, "broken")
            await server.watch()
    assert "unusable" in caplog.text
    assert key not in caplog.text
