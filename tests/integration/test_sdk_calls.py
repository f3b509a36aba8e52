"""The calls of the SDK against a real gRPC server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

import providerd
from providerd import Client, State
from providerd.v1 import provider_pb2 as pb
from tests.integration.scripted_server import ScriptedServer, Watch, scripted_server
from tests.unit.sdk_messages import active, provider, revision, source

KEY = "canary-c2e1"


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as server:
        yield server


@pytest.fixture
async def client(server: ScriptedServer) -> AsyncIterator[Client]:
    async with Client(server.address, watch=False, timeout=2) as client:
        yield client


@asynccontextmanager
async def started(server: ScriptedServer) -> AsyncIterator[tuple[Client, Watch]]:
    """A client that knows groq to be active at revision 5, and the watch that told it."""
    client = Client(server.address)
    await client.start()
    watch = await server.watch()
    watch.send(active(5, "groq", "INITIAL"))
    await client.wait_ready(5)
    yield client, watch
    await client.close()


async def test_without_a_watch_only_the_calls_work(server: ScriptedServer, client: Client) -> None:
    async def answer(request: pb.GetProviderRequest, _: Any) -> pb.GetProviderResponse:
        return pb.GetProviderResponse(provider=provider(request.provider_name), revision=revision(3))

    server.answers["GetProvider"] = answer
    assert (await client.get("groq")).provider_name == "groq"
    with pytest.raises(providerd.NotReadyError, match="watch=False"):
        _ = client.active
    with pytest.raises(providerd.NotReadyError, match="watch=False"):
        await client.wait_ready(1)
    with pytest.raises(providerd.NotReadyError, match="watch=False"):
        client.changes()
    assert (client.state, client.revision) == (State.CONNECTING, None)


async def test_calls_need_no_start(server: ScriptedServer) -> None:
    async def answer(*_: Any) -> pb.GetProviderResponse:
        return pb.GetProviderResponse(provider=provider())

    server.answers["GetProvider"] = answer
    client = Client(server.address)
    await client.get("groq")
    await client.close()
    with pytest.raises(providerd.ClosedError):
        await client.get("groq")


async def test_the_active_provider_with_its_key(server: ScriptedServer, client: Client) -> None:
    async def answer(request: pb.GetActiveProviderRequest, _: Any) -> pb.GetActiveProviderResponse:
        credential = pb.Credential(api_key=KEY) if request.include_credential else None
        return pb.GetActiveProviderResponse(
            provider=provider(), credential=credential, revision=revision(8), source=source()
        )

    server.answers["GetActiveProvider"] = answer
    without = await client.get_active()
    assert (without.provider.provider_name, without.credential, without.revision.number) == ("groq", None, 8)
    with_key = await client.get_active(include_credential=True)
    assert with_key.credential is not None
    assert with_key.credential.api_key == KEY
    assert KEY not in repr(with_key)


async def test_a_list_is_all_its_pages(server: ScriptedServer, client: Client) -> None:
    pages = {"": (["a", "b"], "2"), "2": (["c"], "3"), "3": (["d"], "")}

    async def answer(request: pb.ListProvidersRequest, _: Any) -> pb.ListProvidersResponse:
        names, following = pages[request.page_token]
        return pb.ListProvidersResponse(providers=map(provider, names), next_page_token=following)

    server.answers["ListProviders"] = answer
    assert [each.provider_name for each in await client.list()] == ["a", "b", "c", "d"]


async def test_an_upsert_sends_what_was_given(server: ScriptedServer, client: Client) -> None:
    requests: list[pb.UpsertProviderRequest] = []

    async def answer(request: pb.UpsertProviderRequest, _: Any) -> pb.UpsertProviderResponse:
        requests.append(request)
        at = None if request.validate_only else revision(4)
        return pb.UpsertProviderResponse(provider=request.provider, created=True, changed=True, revision=at)

    server.answers["UpsertProvider"] = answer
    content = {"provider_name": "groq", "baseUrl": "https://api.groq.example", "is_enabled": True}
    result = await client.upsert(
        content, update_mask=["baseUrl"], api_key=KEY, expected_config_version=2, reason="moved", actor="ops"
    )
    assert (result.created, result.changed, result.revision) == (
        True,
        True,
        providerd.Revision(revision(4).store_id, 4),
    )
    assert result.provider.base_url == "https://api.groq.example"
    (request,) = requests
    assert (request.reason, request.actor, request.expected_config_version) == ("moved", "ops", 2)
    assert (list(request.update_mask.paths), request.new_api_key) == (["base_url"], KEY)
    assert (await client.upsert(content, validate_only=True)).revision is None

    with pytest.raises(providerd.InvalidArgumentError, match=r"request_builder_config\.n"):
        await client.upsert({"provider_name": "groq", "request_builder_config": {"n": 2**60}})
    assert len(requests) == 2  # the last one was never sent


async def test_a_switch_shows_in_the_client_that_made_it(server: ScriptedServer) -> None:
    async with started(server) as (client, watch):

        async def answer(request: pb.SwitchProviderRequest, _: Any) -> pb.SwitchProviderResponse:
            # The watch is told only after the answer is on its way.
            asyncio.get_running_loop().call_later(0.2, watch.send, active(6, request.provider_name))
            return pb.SwitchProviderResponse(
                previous=provider(),
                active=provider(request.provider_name, config_version=9),
                revision=revision(6),
                switched=True,
                warnings=[pb.Warning(reason="PROVIDER_HAS_NO_KEY", message="openrouter has no key")],
            )

        server.answers["SwitchProvider"] = answer
        result = await client.switch("openrouter", reason="cheaper")
        assert client.active.provider_name == "openrouter"
        assert (result.switched, result.revision) == (True, client.revision)
        assert result.previous is not None
        assert result.warnings == (providerd.SwitchWarning("PROVIDER_HAS_NO_KEY", "openrouter has no key"),)


async def test_a_switch_that_the_watch_does_not_show_returns_anyway(server: ScriptedServer) -> None:
    async def answer(*_: Any) -> pb.SwitchProviderResponse:
        return pb.SwitchProviderResponse(active=provider("openrouter"), revision=revision(6), switched=True)

    server.answers["SwitchProvider"] = answer
    async with started(server) as (client, _):
        assert (await client.switch("openrouter")).switched
        assert client.active.provider_name == "groq"


async def test_a_switch_to_what_is_active_waits_for_nothing(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(*_: Any) -> pb.SwitchProviderResponse:
        # Something else moved the revision, and no heartbeat has told yet.
        return pb.SwitchProviderResponse(active=provider("groq"), revision=revision(9))

    server.answers["SwitchProvider"] = answer
    monkeypatch.setattr("providerd.calls._VISIBLE_WITHIN", 1000)
    async with started(server) as (client, _), asyncio.timeout(20):
        assert not (await client.switch("groq")).switched


async def test_calls_are_spread_over_all_addresses(server: ScriptedServer) -> None:
    asked: set[str] = set()
    async with scripted_server() as other:
        for each in (server, other):

            async def answer(*_: Any, address: str = each.address) -> pb.GetProviderResponse:
                asked.add(address)
                return pb.GetProviderResponse(provider=provider())

            each.answers["GetProvider"] = answer
        async with Client(server.address, other.address, watch=False) as client:
            async with asyncio.timeout(20):
                while len(asked) < 2:
                    await client.get("groq")


async def test_a_refusal_is_typed_and_carries_its_details(server: ScriptedServer, client: Client) -> None:
    status = status_pb2.Status(code=code_pb2.FAILED_PRECONDITION, message="provider 'groq' is disabled")
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(reason="PROVIDER_DISABLED", domain="providerd", metadata={"provider_name": "groq"})
    )

    async def answer(_: Any, context: Any) -> None:
        trailer = (("grpc-status-details-bin", status.SerializeToString()),)
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, status.message, trailer)

    server.answers["SwitchProvider"] = answer
    with pytest.raises(providerd.FailedPreconditionError, match="is disabled") as refused:
        await client.switch("groq")
    assert (refused.value.reason, refused.value.metadata) == ("PROVIDER_DISABLED", {"provider_name": "groq"})
    assert refused.value.__suppress_context__  # gRPC's own error, of many lines, is not shown with it


async def test_a_daemon_that_is_away_fails_at_once_and_says_where() -> None:
    async with Client("127.0.0.1:1", watch=False) as client:
        with pytest.raises(
            providerd.UnavailableError, match=r"^cannot reach the daemon at 127\.0\.0\.1:1: "
        ) as refused:
            await client.get("groq")
    assert "\n" not in str(refused.value)


async def test_a_daemon_that_does_not_answer_times_out(server: ScriptedServer) -> None:
    asked = asyncio.Event()

    async def answer(*_: Any) -> None:
        asked.set()
        await asyncio.Event().wait()

    server.answers["GetProvider"] = answer
    async with Client(server.address, watch=False, timeout=0.3) as client:
        with pytest.raises(providerd.DeadlineExceededError, match="no answer from the daemon at 127"):
            await client.get("groq")
    assert asked.is_set()


async def test_closing_ends_a_call_that_waits(server: ScriptedServer, client: Client) -> None:
    asked = asyncio.Event()

    async def answer(*_: Any) -> None:
        asked.set()
        await asyncio.Event().wait()

    server.answers["GetProvider"] = answer
    call = asyncio.create_task(client.get("groq"))
    await asked.wait()
    await client.close()
    with pytest.raises(providerd.ClosedError):
        await call


async def test_a_call_can_be_cancelled(server: ScriptedServer, client: Client) -> None:
    asked = asyncio.Event()

    async def answer(*_: Any) -> None:
        asked.set()
        await asyncio.Event().wait()

    server.answers["GetProvider"] = answer
    call = asyncio.create_task(client.get("groq"))
    await asked.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_an_answer_that_is_no_message_is_an_error(server: ScriptedServer, client: Client) -> None:
    async def answer(*_: Any) -> bytes:
        return b"\xff\xff\xff"

    server.answers["GetProvider"] = answer
    with pytest.raises(providerd.InternalError, match="cannot be decoded"):
        await client.get("groq")
