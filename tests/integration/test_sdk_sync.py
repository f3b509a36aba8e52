"""The client for threads, against a real gRPC server."""

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import providerd
import providerd.sync
from providerd import Cause, State
from providerd.v1 import provider_pb2 as pb
from tests.integration.scripted_server import ScriptedServer, scripted_server
from tests.unit.sdk_messages import active, provider, revision


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as server:
        yield server


async def answering(server: ScriptedServer, number: int = 5, name: str = "groq") -> Any:
    watch = await server.watch()
    watch.send(active(number, name, "INITIAL"))
    return watch


async def test_it_is_the_same_client_for_threads(server: ScriptedServer) -> None:
    switched = threading.Event()

    async def answer(request: pb.SwitchProviderRequest, _: Any) -> pb.SwitchProviderResponse:
        watch.send(active(6, request.provider_name))
        return pb.SwitchProviderResponse(active=provider(request.provider_name), revision=revision(6), switched=True)

    server.answers["SwitchProvider"] = answer

    def use() -> None:
        with providerd.sync.Client(server.address) as client:
            assert (client.active.provider_name, client.state) == ("groq", State.READY)
            changes = client.changes()
            assert next(changes).cause is Cause.INITIAL
            threads: list[threading.Thread] = []

            def told(_: providerd.Change) -> None:
                threads.append(threading.current_thread())
                switched.set()

            client.on_change(told)
            assert client.switch("openrouter").switched
            assert client.active.provider_name == "openrouter"
            change = next(changes)
            assert (change.cause, change.provider) == (Cause.SWITCHED, client.active)
            assert switched.wait(5)
            assert [thread.name for thread in threads] == ["providerd"]
        assert list(changes) == []
        with pytest.raises(providerd.ClosedError):
            _ = client.active
        with pytest.raises(providerd.ClosedError):
            client.switch("groq")
        client.close()

    using = asyncio.create_task(asyncio.to_thread(use))
    watch = await answering(server)
    await using
    assert not [thread for thread in threading.enumerate() if thread.name == "providerd"]


async def test_many_threads_share_one(server: ScriptedServer) -> None:
    async def answer(request: pb.GetProviderRequest, _: Any) -> pb.GetProviderResponse:
        return pb.GetProviderResponse(provider=provider(request.provider_name))

    server.answers["GetProvider"] = answer

    def use() -> None:
        with providerd.sync.Client(server.address) as client, ThreadPoolExecutor(8) as pool:
            waiting = [pool.submit(lambda: [each.revision.number for each in client.changes()]) for _ in range(3)]
            names = [f"name-{number}" for number in range(200)]
            assert [each.provider_name for each in pool.map(client.get, names)] == names
            assert {each.provider_name for each in pool.map(lambda _: client.active, names)} == {"groq"}
            client.close()  # ends the iterations in the other threads
            assert {tuple(each.result(5)) for each in waiting} == {(5,)}

    using = asyncio.create_task(asyncio.to_thread(use))
    await answering(server)
    await using


async def test_a_call_in_flight_ends_with_the_client(server: ScriptedServer) -> None:
    asked = asyncio.Event()

    async def answer(*_: Any) -> None:
        asked.set()
        await asyncio.Event().wait()

    server.answers["GetProvider"] = answer
    client = providerd.sync.Client(server.address, watch=False, timeout=60)
    call = asyncio.create_task(asyncio.to_thread(client.get, "groq"))
    await asked.wait()
    await asyncio.to_thread(client.close)
    with pytest.raises(providerd.ClosedError):
        await call


async def test_a_callback_cannot_wait_for_its_own_thread(server: ScriptedServer) -> None:
    failures: list[BaseException] = []
    called = threading.Event()

    def use() -> None:
        with providerd.sync.Client(server.address, watch=True) as client:

            def callback(_: State) -> None:
                try:
                    client.get("groq")
                except RuntimeError as error:
                    failures.append(error)
                called.set()

            client.on_state(callback)
            loop.call_soon_threadsafe(watch.send, active(6, "groq", stale=True))
            assert called.wait(5)

    loop = asyncio.get_running_loop()
    using = asyncio.create_task(asyncio.to_thread(use))
    watch = await answering(server)
    await using
    assert "must not block" in str(failures[0])


async def test_waiting_ends_when_the_time_is_over() -> None:
    def use() -> None:
        client = providerd.sync.Client("127.0.0.1:1")
        client.start()
        with pytest.raises(providerd.NotReadyError, match="cannot reach the daemon"):
            client.wait_ready(0.2)
        client.close()

    await asyncio.to_thread(use)
