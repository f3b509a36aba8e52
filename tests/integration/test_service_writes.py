"""Writes: durable when acknowledged, numbered, refused with a reason, and seen by reads right after."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import grpc
import pytest

from providerd.v1 import provider_pb2 as pb
from providerd.v1.provider_pb2_grpc import ProviderServiceStub
from providerd_server.embedded import EmbeddedPostgres
from tests.integration.serving import Serving, error_info, serving, violations

REQUEST_BUILDER: dict[str, Any] = {
    "version": "1.0",
    "payload_structure": {
        "model": {"source": "param:model_name", "required": True},
        "messages": {"source": "param:messages", "required": True},
    },
}
RESPONSE_EXTRACTOR = {
    "version": "1.0",
    "extraction_rules": {
        "text_content": {"type": "string", "paths": ["choices[0].message.content"]},
        "usage_stats": {"type": "object", "fields": {"total_tokens": {"paths": ["usage.total_tokens"]}}},
    },
}
MISTRAL: dict[str, Any] = {
    "provider_name": "mistral",
    "display_name": "Mistral",
    "base_url": "https://api.mistral.ai",
    "endpoint_path_template": "/v1/chat/completions",
    "default_model": "mistral-large",
    "supported_models": ["mistral-large", "mistral-small"],
    "model_capabilities": {"tools": True, "temperature": {"max": 1.5}},
    "context_window_tokens": 128000,
    "request_builder_config": REQUEST_BUILDER,
    "response_extractor_config": RESPONSE_EXTRACTOR,
}


async def refused(daemon: Serving, method: str, **request: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await daemon.call(method, **request)
    return caught.value


async def revision(daemon: Serving) -> int:
    number: int = (await daemon.call("ListProviders")).revision.number
    return number


async def test_a_switch_is_one_revision_and_the_next_read_shows_it(database: str) -> None:
    async with serving(database) as daemon:
        await daemon.call("UpsertProvider", provider=MISTRAL)
        before = await revision(daemon)
        answer = await daemon.call("SwitchProvider", provider_name="mistral", actor="ops", reason="groq is slow")
        assert answer.switched
        assert (answer.previous.provider_name, answer.active.provider_name) == ("groq", "mistral")
        assert answer.active.is_active
        assert answer.revision.number == before + 1
        assert [warning.reason for warning in answer.warnings] == ["PROVIDER_HAS_NO_KEY"]
        seen = await daemon.call("GetActiveProvider")
        assert seen.provider.provider_name == "mistral"
        assert seen.revision.number == before + 1
    connection = await asyncpg.connect(database)
    rows = await connection.fetch(
        "SELECT action, provider_name, changed_by, reason FROM llm_provider_config_history WHERE revision = $1"
        " ORDER BY action",
        before + 1,
    )
    await connection.close()
    assert [tuple(row) for row in rows] == [
        ("activated", "mistral", "ops", "groq is slow"),
        ("deactivated", "groq", "ops", "groq is slow"),
    ]


async def test_a_switch_to_the_active_one_is_no_revision(database: str) -> None:
    async with serving(database) as daemon:
        before = await revision(daemon)
        answer = await daemon.call("SwitchProvider", provider_name="groq")
        assert not answer.switched
        assert answer.revision.number == before == await revision(daemon)


async def test_a_switch_is_refused_with_its_reason_and_changes_nothing(database: str) -> None:
    async with serving(database) as daemon:
        before = (await daemon.call("GetActiveProvider")).revision
        cases: list[tuple[dict[str, Any], grpc.StatusCode, str]] = [
            ({"provider_name": "openrouter"}, grpc.StatusCode.FAILED_PRECONDITION, "PROVIDER_DISABLED"),
            ({"provider_name": "nobody"}, grpc.StatusCode.NOT_FOUND, "PROVIDER_NOT_FOUND"),
            ({"provider_name": ""}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELDS"),
            ({"provider_name": "groq'; DROP TABLE x; --"}, grpc.StatusCode.NOT_FOUND, "PROVIDER_NOT_FOUND"),
            (
                {"provider_name": "groq", "expected_revision": {"store_id": before.store_id, "number": 999}},
                grpc.StatusCode.ABORTED,
                "REVISION_MISMATCH",
            ),
            (
                {"provider_name": "groq", "expected_revision": {"store_id": "other", "number": before.number}},
                grpc.StatusCode.ABORTED,
                "REVISION_MISMATCH",
            ),
        ]
        for request, code, reason in cases:
            error = await refused(daemon, "SwitchProvider", **request)
            assert (error.code(), error_info(error).reason) == (code, reason), request
        assert error_info(error).metadata["current_revision"] == str(before.number)
        assert await revision(daemon) == before.number


async def test_the_expected_revision_lets_the_first_of_two_through(database: str) -> None:
    async with serving(database) as daemon:
        await daemon.call("UpsertProvider", provider=MISTRAL)
        seen = (await daemon.call("GetActiveProvider")).revision
        expected = {"store_id": seen.store_id, "number": seen.number}
        await daemon.call("SwitchProvider", provider_name="mistral", expected_revision=expected)
        error = await refused(daemon, "SwitchProvider", provider_name="groq", expected_revision=expected)
        assert error.code() is grpc.StatusCode.ABORTED


async def test_an_upsert_creates_then_changes_then_does_nothing(database: str) -> None:
    async with serving(database) as daemon:
        created = await daemon.call("UpsertProvider", provider=MISTRAL, actor="ops")
        assert (created.created, created.changed) == (True, True)
        assert created.provider.is_enabled
        assert not created.provider.is_active
        assert created.provider.config_version == 1
        assert created.provider.updated_by == "ops"
        again = await daemon.call("UpsertProvider", provider=MISTRAL, actor="somebody else")
        assert (again.created, again.changed) == (False, False)
        assert again.revision.number == created.revision.number
        changed = await daemon.call(
            "UpsertProvider", provider={"provider_name": "mistral", "default_model": "mistral-small"}
        )
        assert (changed.created, changed.changed) == (False, True)
        assert changed.provider.config_version == 2
        assert changed.provider.display_name == "Mistral"
        assert changed.revision.number == created.revision.number + 1
        seen = await daemon.call("GetProvider", provider_name="mistral")
        assert seen.provider == changed.provider
        assert seen.provider.model_capabilities["temperature"]["max"] == 1.5


async def test_a_wrong_upsert_names_every_field_and_changes_nothing(database: str) -> None:
    async with serving(database) as daemon:
        before = await revision(daemon)
        wrong = {**MISTRAL, "base_url": "nowhere", "default_model": "", "request_builder_config": {}}
        error = await refused(daemon, "UpsertProvider", provider=wrong)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert violations(error)["provider.request_builder_config.version"] == (
            'request_builder_config must contain "version" field'
        )
        assert {"provider.base_url", "provider.default_model"} <= set(violations(error))
        assert await revision(daemon) == before


async def test_more_violations_than_an_answer_holds_still_reach_the_caller(database: str) -> None:
    wrong = {f"parameter_{number}_of_very_many_with_long_names": {"nonsense": True} for number in range(100)}
    config = {"version": "1.0", "payload_structure": {**REQUEST_BUILDER["payload_structure"], **wrong}}
    async with serving(database) as daemon:
        # gRPC refuses trailers that are too large at random, so once would prove little.
        for _ in range(20):
            error = await refused(daemon, "UpsertProvider", provider={**MISTRAL, "request_builder_config": config})
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            told = violations(error)
            assert len(told) > 10
            assert told["provider"] == f"has {201 - len(told)} more violations; mend these first"


async def test_validate_only_says_what_would_happen_and_changes_nothing(database: str) -> None:
    async with serving(database) as daemon:
        before = await revision(daemon)
        answer = await daemon.call("UpsertProvider", provider=MISTRAL, new_api_key="k", validate_only=True)
        assert (answer.created, answer.changed) == (True, True)
        assert answer.provider.has_key
        assert not answer.HasField("revision")
        assert await revision(daemon) == before
        assert (await refused(daemon, "GetProvider", provider_name="mistral")).code() is grpc.StatusCode.NOT_FOUND


async def test_of_two_editors_the_second_is_told_the_current_version(database: str) -> None:
    async with serving(database) as daemon:
        await daemon.call("UpsertProvider", provider=MISTRAL, expected_config_version=0)
        first = {"provider_name": "mistral", "description": "first"}
        await daemon.call("UpsertProvider", provider=first, expected_config_version=1)
        second = {"provider_name": "mistral", "description": "second"}
        error = await refused(daemon, "UpsertProvider", provider=second, expected_config_version=1)
        assert error.code() is grpc.StatusCode.ABORTED
        assert error_info(error).reason == "CONFIG_VERSION_MISMATCH"
        assert error_info(error).metadata["current_config_version"] == "2"
        error = await refused(daemon, "UpsertProvider", provider=MISTRAL, expected_config_version=0)
        assert error.code() is grpc.StatusCode.ABORTED


async def test_keys_are_stored_changed_kept_and_cleared(database: str) -> None:
    async with serving(database, db_encryption_key="a passphrase") as daemon:
        first = await daemon.call("UpsertProvider", provider=MISTRAL, new_api_key="sk-one")
        assert first.provider.has_key
        assert len(first.provider.key_fingerprint) == 16
        same = await daemon.call("UpsertProvider", provider={"provider_name": "mistral"}, new_api_key="sk-one")
        assert not same.changed
        kept = await daemon.call("UpsertProvider", provider={"provider_name": "mistral", "description": "d"})
        assert kept.provider.key_fingerprint == first.provider.key_fingerprint
        other = await daemon.call("UpsertProvider", provider={"provider_name": "mistral"}, new_api_key="sk-two")
        assert other.changed
        assert other.provider.key_fingerprint != first.provider.key_fingerprint
        connection = await asyncpg.connect(database)
        decrypted = await connection.fetchval(
            "SELECT pgp_sym_decrypt(decode(api_key_encrypted, 'hex'), 'a passphrase')"
            " FROM llm_provider_configs WHERE provider_name = 'mistral'"
        )
        await connection.close()
        assert decrypted == "sk-two"
        await daemon.call("SwitchProvider", provider_name="mistral")
        assert (await daemon.call("GetActiveProvider", include_credential=True)).credential.api_key == "sk-two"
        cleared = await daemon.call("UpsertProvider", provider={"provider_name": "mistral"}, clear_api_key=True)
        assert not cleared.provider.has_key
        assert not (await daemon.call("GetActiveProvider", include_credential=True)).HasField("credential")


async def test_the_active_provider_cannot_be_disabled(database: str) -> None:
    async with serving(database) as daemon:
        error = await refused(daemon, "UpsertProvider", provider={"provider_name": "groq", "is_enabled": False})
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert error_info(error).reason == "PROVIDER_ACTIVE"


async def test_sixteen_clients_switch_at_once_and_every_revision_is_there(database: str) -> None:
    async with serving(database) as daemon:
        names = ["groq", "openrouter", "google_ai", "chatgpt"]
        for name in names:
            await daemon.call("UpsertProvider", provider={"provider_name": name, "is_enabled": True})
        before = await revision(daemon)

        async def switch(client: int) -> list[int]:
            numbers = []
            for turn in range(20):
                answer = await daemon.call("SwitchProvider", provider_name=names[(client + turn) % 4])
                if answer.switched:
                    numbers.append(answer.revision.number)
            return numbers

        acknowledged = [number for numbers in await asyncio.gather(*map(switch, range(16))) for number in numbers]
        assert sorted(acknowledged) == list(range(before + 1, before + 1 + len(acknowledged)))
        assert await revision(daemon) == before + len(acknowledged)


async def test_sixteen_connections_with_a_hundred_switches_in_flight_each_all_succeed(database: str) -> None:
    names = ["groq", "openrouter", "google_ai", "chatgpt"]
    async with serving(database) as daemon, AsyncExitStack() as stack:
        for name in names:
            await daemon.call("UpsertProvider", provider={"provider_name": name, "is_enabled": True})
        before = await revision(daemon)
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(daemon.address, options=options))
            for _ in range(16)
        ]
        switches = [
            ProviderServiceStub(channel).SwitchProvider(
                pb.SwitchProviderRequest(provider_name=names[(turn + client) % 4]), timeout=60
            )
            for client, channel in enumerate(channels)
            for turn in range(100)
        ]
        answers = await asyncio.gather(*switches)
        numbers = sorted(answer.revision.number for answer in answers if answer.switched)
        assert numbers == list(range(before + 1, before + 1 + len(numbers)))
        assert await revision(daemon) == numbers[-1]
    sql = await asyncpg.connect(database)
    # Whoever is activated at a revision is the only one, since the one before is deactivated at the same.
    wrong = await sql.fetch(
        "SELECT revision FROM llm_provider_config_history WHERE revision > $1 GROUP BY revision"
        " HAVING array_agg(action::text ORDER BY action) <> ARRAY['activated', 'deactivated']",
        before,
    )
    await sql.close()
    assert not wrong


async def test_the_default_isolation_of_the_database_does_not_matter(database: str) -> None:
    sql = await asyncpg.connect(database)
    name = await sql.fetchval("SELECT current_database()")
    await sql.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    await sql.execute("UPDATE llm_provider_configs SET is_enabled = true")
    await sql.close()
    async with serving(database) as daemon:
        names = ["groq", "openrouter", "google_ai", "chatgpt"]
        await asyncio.gather(*(daemon.call("SwitchProvider", provider_name=names[turn % 4]) for turn in range(80)))


async def test_what_was_acknowledged_is_read_or_the_answer_is_marked_stale(database: str) -> None:
    sql = await asyncpg.connect(database)
    await sql.execute("UPDATE llm_provider_configs SET is_enabled = true")
    async with serving(database) as daemon:
        # The backend that reads, and nothing else, stops to answer.
        reader = await sql.fetchval(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND query LIKE '%FROM llm_provider_store%'"
        )
        os.kill(reader, signal.SIGSTOP)
        try:
            answer = await daemon.call("SwitchProvider", provider_name="openrouter")
            seen = await daemon.call("GetActiveProvider")
            assert seen.revision.number >= answer.revision.number or seen.source.stale
            async with asyncio.timeout(10):
                while (await daemon.call("GetActiveProvider")).revision.number < answer.revision.number:
                    await asyncio.sleep(0.05)
        finally:
            os.kill(reader, signal.SIGCONT)
    await sql.close()


async def test_an_expected_revision_names_its_store(database: str) -> None:
    async with serving(database) as daemon:
        error = await refused(daemon, "SwitchProvider", provider_name="groq", expected_revision={"number": 1})
        assert set(violations(error)) == {"expected_revision.store_id"}


async def test_a_write_whose_caller_has_left_is_made_all_the_same(database: str) -> None:
    blocker = await asyncpg.connect(database)
    async with serving(database) as daemon:
        async with blocker.transaction():
            await blocker.execute("SELECT * FROM lock_provider_store()")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await daemon.stub.UpsertProvider(
                    pb.UpsertProviderRequest(provider={"provider_name": "groq", "description": "late"}), timeout=0.3
                )
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(10):
            while (await daemon.call("GetActiveProvider")).provider.description != "late":
                await asyncio.sleep(0.02)
    await blocker.close()


async def test_a_write_whose_caller_leaves_before_it_begins_is_not_made(database: str) -> None:
    blocker = await asyncpg.connect(database)
    async with serving(database, pool_size=1) as daemon:
        before = await revision(daemon)
        async with blocker.transaction():
            await blocker.execute("SELECT * FROM lock_provider_store()")
            # One takes the only turn, the other gives up behind it.
            for description, seconds in (("begun", 0.5), ("never begun", 0.2)):
                request = pb.UpsertProviderRequest(provider={"provider_name": "groq", "description": description})
                with pytest.raises(grpc.aio.AioRpcError):
                    await daemon.stub.UpsertProvider(request, timeout=seconds)
        await daemon.call("UpsertProvider", provider={"provider_name": "groq", "display_name": "After both"})
        assert (await daemon.call("GetProvider", provider_name="groq")).provider.description == "begun"
        assert await revision(daemon) == before + 2
    await blocker.close()


async def test_a_write_that_waits_for_a_lock_fails_in_bounded_time_and_reads_go_on(database: str) -> None:
    blocker = await asyncpg.connect(database)
    async with serving(database) as daemon:
        async with blocker.transaction():
            await blocker.execute("SELECT * FROM lock_provider_store()")
            writing = asyncio.create_task(refused(daemon, "SwitchProvider", provider_name="groq"))
            await daemon.call("GetActiveProvider")
            error = await writing
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert error_info(error).reason == "STORE_BUSY"
        await daemon.call("SwitchProvider", provider_name="groq")
    await blocker.close()


async def test_a_database_that_takes_no_connections_is_unavailable_for_writes_only(
    database: str, cluster: EmbeddedPostgres
) -> None:
    name = urlsplit(database).path.lstrip("/")
    admin = await asyncpg.connect(cluster.dsn("postgres"))
    async with serving(database) as daemon:
        await admin.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
        error = await refused(daemon, "UpsertProvider", provider=MISTRAL)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert error_info(error).reason == "STORE_UNREACHABLE"
        assert (await daemon.call("GetActiveProvider")).provider.provider_name == "groq"
        await admin.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
        await daemon.call("UpsertProvider", provider=MISTRAL)
    await admin.close()


async def test_a_read_only_database_is_unavailable_for_writes_only(database: str) -> None:
    admin = await asyncpg.connect(database)
    name = await admin.fetchval("SELECT current_database()")
    await admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    async with serving(database) as daemon:
        error = await refused(daemon, "UpsertProvider", provider=MISTRAL)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert error_info(error).reason == "STORE_UNWRITABLE"
        assert (await daemon.call("GetActiveProvider")).provider.provider_name == "groq"
    await admin.close()
