"""The tokens of the SDK, against a real gRPC server: what is sent, and what becomes of who is not known."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import providerd
from providerd import Client, Secret, State
from providerd.v1 import provider_pb2 as pb
from tests.certificates import Authority, replace
from tests.integration.scripted_server import ScriptedServer, Watch, authorization, scripted_server
from tests.unit.sdk_messages import active, provider


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as server:
        yield server


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    replace(tmp_path / "token", b"first\n")
    return tmp_path / "token"


async def eventually(client: Client, state: State) -> None:
    async with asyncio.timeout(20):
        await client._announcer.until(lambda: client.state is state)


async def refused(server: ScriptedServer) -> Watch:
    watch = await server.watch()
    watch.end(grpc.StatusCode.UNAUTHENTICATED, "the token is unknown or was revoked")
    return watch


@pytest.mark.parametrize("token", ["first", Secret("first")])
async def test_every_call_and_every_watch_shows_the_token(server: ScriptedServer, token: str | Secret) -> None:
    shown: list[list[str]] = []

    async def answer(_: Any, context: Any) -> pb.GetProviderResponse:
        shown.append(authorization(context))
        return pb.GetProviderResponse(provider=provider())

    server.answers["GetProvider"] = answer
    async with Client(server.address, token=token, timeout=0.01) as client:
        watch = await server.watch()
        await client.get("groq")
        watch.end(grpc.StatusCode.UNAVAILABLE)
        again = await server.watch()
    assert [*shown, watch.authorization, again.authorization] == [["Bearer first"]] * 3


async def test_without_a_token_none_is_shown(server: ScriptedServer) -> None:
    async with Client(server.address, timeout=0.01):
        assert (await server.watch()).authorization == []


async def test_a_new_token_is_shown_from_the_next_call_on(server: ScriptedServer, token_file: Path) -> None:
    shown: list[str] = []

    async def answer(_: Any, context: Any) -> pb.GetProviderResponse:
        shown.extend(authorization(context))
        return pb.GetProviderResponse(provider=provider())

    server.answers["GetProvider"] = answer
    async with Client(server.address, token_file=token_file, watch=False) as client:
        for token in (b"second", b"", b"thi rd", b"fourth"):
            await client.get("groq")
            replace(token_file, token)
        await client.get("groq")
    assert shown == ["Bearer first", "Bearer second", "Bearer second", "Bearer second", "Bearer fourth"]


async def test_with_a_token_from_a_file_the_watch_comes_back_when_it_is_not_known(
    server: ScriptedServer, token_file: Path
) -> None:
    async with Client(server.address, token_file=token_file, timeout=0.01) as client:
        watch = await server.watch()
        watch.send(active(5, "groq", "INITIAL"))
        await client.wait_ready(5)
        # The file is new before the old token is revoked, as it should be.
        replace(token_file, b"second")
        watch.end(grpc.StatusCode.UNAUTHENTICATED, "the token is unknown or was revoked")
        again = await server.watch()
        assert again.authorization == ["Bearer second"]
        assert (client.state, client.active.provider_name) == (State.STALE, "groq")
        assert isinstance(client.error, providerd.UnauthenticatedError)
        again.send(active(6, "openrouter", "INITIAL"))
        await eventually(client, State.READY)
        assert client.active.provider_name == "openrouter"


async def test_who_is_not_known_at_first_says_so_and_keeps_trying(server: ScriptedServer, token_file: Path) -> None:
    async with Client(server.address, token_file=token_file, timeout=0.01) as client:
        assert (await refused(server)).authorization == ["Bearer first"]
        with pytest.raises(providerd.NotReadyError, match="the token is unknown or was revoked"):
            await client.wait_ready(0.3)
        assert client.state is State.CONNECTING
        replace(token_file, b"second")
        watch = await server.watch()
        if watch.authorization == ["Bearer first"]:  # it was under way already
            watch.end(grpc.StatusCode.UNAUTHENTICATED, "the token is unknown or was revoked")
            watch = await server.watch()
        assert watch.authorization == ["Bearer second"]
        watch.send(active(5, "groq", "INITIAL"))
        await eventually(client, State.READY)


async def test_who_is_not_known_asks_ever_more_rarely(server: ScriptedServer, token_file: Path) -> None:
    client = Client(server.address, token_file=token_file)
    waits = [client._stream._unknown.next() for _ in range(300)]
    assert waits[0] <= 1
    assert 15 < max(waits) <= 30


async def test_a_certificate_from_a_file_may_get_known_as_well(server: ScriptedServer, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    daemon_cert, daemon_key = authority.issue("daemon", "127.0.0.1")
    cert_file, key_file = authority.issue("worker", "worker.example")
    ca = authority.ca_file.read_bytes()

    def credentials() -> grpc.ServerCredentials:
        return grpc.ssl_server_credentials([(daemon_key.read_bytes(), daemon_cert.read_bytes())], ca, True)

    options: dict[str, Any] = {"ca_file": authority.ca_file, "cert_file": cert_file, "key_file": key_file}
    async with scripted_server(credentials) as server:
        async with Client(server.address, timeout=0.01, **options) as client:
            assert (await refused(server)).names == ["worker.example"]
            (await server.watch()).send(active(5, "groq", "INITIAL"))
            await eventually(client, State.READY)
        # Here the token decides, and it stays what it is.
        async with Client(server.address, timeout=0.01, token="first", **options) as client:
            await refused(server)
            await eventually(client, State.FATAL)


@pytest.mark.parametrize("options", [{}, {"token": "first"}])
async def test_without_a_file_it_is_fatal(server: ScriptedServer, options: dict[str, Any]) -> None:
    async with Client(server.address, timeout=0.01, **options) as client:
        await refused(server)
        await eventually(client, State.FATAL)
        assert isinstance(client.error, providerd.UnauthenticatedError)


async def test_to_lack_a_scope_is_fatal_with_a_file_too(server: ScriptedServer, token_file: Path) -> None:
    async with Client(server.address, token_file=token_file, timeout=0.01) as client:
        (await server.watch()).end(grpc.StatusCode.PERMISSION_DENIED, "worker lacks the scope 'read'")
        await eventually(client, State.FATAL)
