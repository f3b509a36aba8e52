"""Whom a sidecar gives keys, and what it refuses: against a real daemon, and against one that plays its part."""

from pathlib import Path
from typing import Any

import grpc
import pytest

from providerd.v1 import provider_pb2 as pb
from tests.integration.access import AccessFile, call, watch
from tests.integration.scripted_server import scripted_server
from tests.integration.serving import Serving, error_info, serving
from tests.integration.sidecars import first_watch, next_event, next_where, sidecar_of, until_serving
from tests.unit.sdk_messages import active, provider

CANARY = "gsk-canary-of-the-sidecar"


@pytest.fixture
def access(tmp_path: Path) -> AccessFile:
    """Who may use the upstream."""
    return AccessFile(tmp_path / "access.json")


async def refusal(awaited: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaited
    return caught.value


async def set_key(daemon: Serving, token: str | None = None) -> None:
    await call(daemon, "UpsertProvider", token, provider={"provider_name": "groq"}, new_api_key=CANARY)


async def test_what_a_worker_reads_is_what_the_daemon_says(database: str) -> None:
    async with serving(database) as daemon:
        await set_key(daemon)
        async with sidecar_of(daemon.address, include_credential=True) as local:
            for request in ({}, {"include_credential": True}):
                there, here = [await each.call("GetActiveProvider", **request) for each in (daemon, local)]
                for answer in (there, here):
                    answer.ClearField("source")
                assert here == there
            there, here = [await each.call("GetProvider", provider_name="groq") for each in (daemon, local)]
            assert here.provider == there.provider


async def test_a_key_goes_to_who_asks_for_it_and_changes_with_the_store(database: str) -> None:
    async with serving(database) as daemon, sidecar_of(daemon.address, include_credential=True) as local:
        with_key, without = local.watch(include_credential=True), local.watch()
        assert not (await next_event(with_key)).active.HasField("credential")
        await next_event(without)
        await set_key(daemon)
        told = await next_event(with_key)
        assert (told.active.cause, told.active.credential.api_key) == (pb.CHANGE_CAUSE_KEY_CHANGED, CANARY)
        assert CANARY not in str(await next_event(without))
        assert not (await local.call("GetActiveProvider")).HasField("credential")


async def test_a_sidecar_that_was_not_told_to_carry_keys_says_so(database: str) -> None:
    async with serving(database) as daemon, sidecar_of(daemon.address) as local:
        await set_key(daemon)
        for asked in (
            local.call("GetActiveProvider", include_credential=True),
            next_event(local.watch(include_credential=True)),
        ):
            error = await refusal(asked)
            assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert error_info(error).reason == "SIDECAR_WITHOUT_KEYS"


async def test_it_serves_once_its_principal_may_read_keys_and_gives_none_once_it_may_not(
    database: str, access: AccessFile
) -> None:
    admin, token = access.token("admin", "admin"), access.token("sidecar", "read")
    async with serving(database, ready=False, access_file=access.path) as daemon:
        await until_serving(daemon)
        await set_key(daemon, admin)
        flags = {"include_credential": True, "token": token}
        async with sidecar_of(daemon.address, serving=False, **flags) as local:
            assert error_info(await refusal(local.call("GetActiveProvider"))).reason == "NOT_READY"
            access.token("sidecar", "read", "read-credential")
            await until_serving(local)
            worker = local.watch(include_credential=True, heartbeat_interval="1s")
            assert (await next_event(worker)).active.credential.api_key == CANARY

            access.revoke("sidecar")
            assert (await next_where(worker, lambda message: message.source.stale)).HasField("heartbeat")
            error = await refusal(local.call("GetActiveProvider", include_credential=True))
            assert (error.code(), error_info(error).reason) == (grpc.StatusCode.UNAVAILABLE, "UPSTREAM_REFUSES")
            assert (await local.call("GetActiveProvider")).source.stale

            access.token("sidecar", "read", "read-credential")
            await next_where(worker, lambda message: not message.source.stale)
            answer = await local.call("GetActiveProvider", include_credential=True)
            assert answer.credential.api_key == CANARY


async def test_it_has_an_access_file_of_its_own(database: str, tmp_path: Path) -> None:
    own = AccessFile(tmp_path / "own.json")
    reader, worker = own.token("reader", "read"), own.token("worker", "read", "read-credential")
    async with serving(database) as daemon:
        await set_key(daemon)
        flags = {"include_credential": True, "access_file": own.path}
        async with sidecar_of(daemon.address, **flags) as local:
            assert (await refusal(call(local, "GetActiveProvider"))).code() is grpc.StatusCode.UNAUTHENTICATED
            assert (await call(local, "GetActiveProvider", reader)).provider.has_key
            error = await refusal(call(local, "GetActiveProvider", reader, include_credential=True))
            assert (error.code(), error_info(error).reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")
            assert (
                await call(local, "GetActiveProvider", worker, include_credential=True)
            ).credential.api_key == CANARY
            told = await next_event(watch(local, worker, include_credential=True))
            assert told.active.credential.api_key == CANARY


KEYED = provider("groq", has_key=True, key_fingerprint="ab", http_method="POST")


async def test_a_key_that_the_upstream_cannot_read_is_passed_on_once_it_can() -> None:
    async with (
        scripted_server() as upstream,
        sidecar_of(upstream.address, serving=False, include_credential=True) as local,
    ):
        stream = await first_watch(upstream, 7, KEYED)
        await until_serving(local)
        worker = local.watch(include_credential=True)
        assert not (await next_event(worker)).active.HasField("credential")
        error = await refusal(local.call("GetActiveProvider", include_credential=True))
        assert error_info(error).reason == "CREDENTIAL_UNREADABLE"
        stream.end(grpc.StatusCode.UNAVAILABLE)
        (await upstream.watch()).send(active(7, KEYED, "INITIAL", key=CANARY))
        told = await next_event(worker)
        assert (told.active.cause, told.active.credential.api_key) == (pb.CHANGE_CAUSE_KEY_CHANGED, CANARY)
        assert (await local.call("GetActiveProvider", include_credential=True)).credential.api_key == CANARY


async def test_a_key_that_its_file_does_not_hold_comes_with_the_upstream(tmp_path: Path) -> None:
    flags = {"include_credential": True, "snapshot_file": tmp_path / "state" / "last-known-good"}
    async with scripted_server() as upstream:
        async with sidecar_of(upstream.address, serving=False, **flags) as local:
            await first_watch(upstream, 7, KEYED, key=CANARY)
            await until_serving(local)
        assert CANARY.encode() not in (tmp_path / "state" / "last-known-good").read_bytes()
        await upstream.stop()
        async with sidecar_of(upstream.address, **flags) as local:
            error = await refusal(local.call("GetActiveProvider", include_credential=True))
            assert (error.code(), error_info(error).reason) == (grpc.StatusCode.UNAVAILABLE, "KEY_NOT_HEARD")
            worker = local.watch(include_credential=True)
            assert (await next_event(worker)).source.stale
            await upstream.start()
            (await upstream.watch()).send(active(7, KEYED, "INITIAL", key=CANARY))
            assert (await next_event(worker)).active.credential.api_key == CANARY


ELSEWHERE = [
    ("SwitchProvider", {"provider_name": "groq"}, "SIDECAR_READ_ONLY"),
    ("UpsertProvider", {"provider": {"provider_name": "groq"}}, "SIDECAR_READ_ONLY"),
    ("DeleteProvider", {"provider_name": "groq"}, "SIDECAR_READ_ONLY"),
    ("RollbackProvider", {"provider_name": "groq", "revision_number": 1}, "SIDECAR_READ_ONLY"),
    ("ApplyConfiguration", {}, "SIDECAR_READ_ONLY"),
    ("GetProvider", {"provider_name": "mistral"}, "SIDECAR_KNOWS_ACTIVE_ONLY"),
    ("ListProviders", {}, "SIDECAR_KNOWS_ACTIVE_ONLY"),
    ("ListHistory", {}, "SIDECAR_KNOWS_ACTIVE_ONLY"),
    ("GetRevision", {}, "SIDECAR_KNOWS_ACTIVE_ONLY"),
    ("DiffRevisions", {"from_revision": 1}, "SIDECAR_KNOWS_ACTIVE_ONLY"),
]


@pytest.mark.parametrize(("method", "request_", "reason"), ELSEWHERE, ids=[each[0] for each in ELSEWHERE])
async def test_all_else_is_refused_and_names_the_upstream(method: str, request_: dict[str, Any], reason: str) -> None:
    async with scripted_server() as upstream, sidecar_of(upstream.address, serving=False) as local:
        await first_watch(upstream)
        await until_serving(local)
        error = await refusal(local.call(method, **request_))
        assert (error.code(), error_info(error).reason) == (grpc.StatusCode.FAILED_PRECONDITION, reason)
        assert error_info(error).metadata["upstream"] == upstream.address
        assert upstream.address in (error.details() or "")
