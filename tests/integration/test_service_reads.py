"""Reads: answered from memory, with the revision and how fresh it is."""

import asyncpg
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.integration.serving import Serving, error_info, serving, violations


async def refused(daemon: Serving, method: str, **request: object) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await daemon.call(method, **request)
    return caught.value


async def test_the_active_provider_is_as_the_database_has_it(database: str) -> None:
    async with serving(database) as daemon:
        answer = await daemon.call("GetActiveProvider")
    connection = await asyncpg.connect(database)
    row = await connection.fetchrow("SELECT * FROM llm_provider_configs WHERE is_active")
    store = await connection.fetchrow("SELECT * FROM llm_provider_store")
    await connection.close()
    assert answer.provider.provider_name == row["provider_name"] == "groq"
    assert answer.provider.base_url == row["base_url"]
    assert answer.provider.config_version == row["config_version"]
    assert answer.provider.create_time.ToDatetime(row["created_at"].tzinfo) == row["created_at"]
    assert "payload_structure" in answer.provider.request_builder_config
    assert answer.provider.is_active
    assert not answer.provider.has_key
    assert not answer.HasField("credential")
    assert (answer.revision.store_id, answer.revision.number) == (str(store["store_id"]), store["revision"])
    assert 0 <= answer.source.age.ToMilliseconds() < 10_000
    assert not answer.source.stale


async def test_nobody_active_is_not_found(database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("UPDATE llm_provider_configs SET is_active = false")
    await connection.close()
    async with serving(database) as daemon:
        error = await refused(daemon, "GetActiveProvider")
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert error_info(error).reason == "NO_ACTIVE_PROVIDER"
    assert error_info(error).domain == "providerd"


async def test_one_provider_by_name(database: str) -> None:
    async with serving(database) as daemon:
        answer = await daemon.call("GetProvider", provider_name="google_ai")
        assert answer.provider.display_name
        assert not answer.provider.is_enabled
        assert answer.revision.number > 0
        error = await refused(daemon, "GetProvider", provider_name="nobody")
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert error_info(error).reason == "PROVIDER_NOT_FOUND"
        assert error_info(error).metadata["provider_name"] == "nobody"
        error = await refused(daemon, "GetProvider")
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert set(violations(error)) == {"provider_name"}


async def test_the_list_comes_in_pages_in_order_of_names(database: str) -> None:
    async with serving(database) as daemon:
        names, token, pages = [], "", 0
        while True:
            page = await daemon.call("ListProviders", page_size=3, page_token=token)
            names += [provider.provider_name for provider in page.providers]
            pages += 1
            token = page.next_page_token
            if not token:
                break
        assert names == ["chatgpt", "google_ai", "groq", "openrouter"]
        assert pages == 2
        assert len((await daemon.call("ListProviders")).providers) == 4
        for wrong in ({"page_token": "%%%"}, {"page_size": -1}):
            error = await refused(daemon, "ListProviders", **wrong)
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert set(violations(error)) == set(wrong)


async def test_a_key_is_sent_only_when_asked_for(database: str) -> None:
    async with serving(database) as daemon:
        await daemon.call("UpsertProvider", provider={"provider_name": "groq"}, new_api_key="gsk_canary")
        assert not (await daemon.call("GetActiveProvider")).HasField("credential")
        answer = await daemon.call("GetActiveProvider", include_credential=True)
        assert answer.credential.api_key == "gsk_canary"
        assert "gsk_canary" not in str(answer.provider)


async def test_a_key_that_cannot_be_decrypted_blocks_only_itself(database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute(
        "UPDATE llm_provider_configs SET api_key_encrypted = pgp_sym_encrypt('k', 'another passphrase')"
        " WHERE provider_name = 'groq'"
    )
    await connection.close()
    async with serving(database) as daemon:
        assert (await daemon.call("GetActiveProvider")).provider.has_key
        error = await refused(daemon, "GetActiveProvider", include_credential=True)
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert error_info(error).reason == "CREDENTIAL_UNREADABLE"


async def test_garbage_is_invalid_and_says_so(database: str) -> None:
    async with serving(database) as daemon, grpc.aio.insecure_channel(daemon.address) as channel:
        call = channel.unary_unary("/providerd.v1.ProviderService/SwitchProvider")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"\xff\xff\xff")
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert error_info(caught.value).reason == "MALFORMED_REQUEST"


async def test_health_answers_per_service(database: str) -> None:
    async with serving(database) as daemon, grpc.aio.insecure_channel(daemon.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "providerd.v1.ProviderService"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
