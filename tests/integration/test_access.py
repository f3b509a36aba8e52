"""Tokens, scopes and principals, by a real daemon and its access file."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from access import UPSERT, AccessFile, bearer, call, logged, until_serving, watch
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from serving import Serving, error_info, serving

from providerd.v1 import provider_pb2 as pb
from providerd_server.access.scopes import Scope, scope_of

UNARY = [
    method.name for method in pb.DESCRIPTOR.services_by_name["ProviderService"].methods if method.name != "WatchActive"
]


@pytest.fixture
def access(tmp_path: Path) -> AccessFile:
    return AccessFile(tmp_path / "access.json")


@pytest.fixture
async def daemon(database: str, access: AccessFile) -> AsyncIterator[Serving]:
    async with serving(database, ready=False, access_file=access.path) as daemon, channel_to(daemon) as channel:
        await until_serving(channel)
        yield daemon


def channel_to(daemon: Serving) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(daemon.address, options=[("grpc.use_local_subchannel_pool", 1)])


async def refused(answer: object) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answer  # type: ignore[misc]
    return caught.value


async def within(seconds: float, token_works: object) -> None:
    """Waits until the daemon has read the access file again."""
    async with asyncio.timeout(seconds):
        while not await token_works():  # type: ignore[operator]
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("method", UNARY)
async def test_nothing_is_answered_without_a_token(daemon: Serving, method: str) -> None:
    error = await refused(call(daemon, method))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert error_info(error).reason == "TOKEN_MISSING"


async def test_watches_and_reflection_take_a_token_too(daemon: Serving, access: AccessFile) -> None:
    error = await refused(watch(daemon).read())
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    async with channel_to(daemon) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        error = await refused(stub.ServerReflectionInfo(iter([request]), timeout=5).read())
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    "headers",
    [
        [("authorization", "Bearer ")],
        [("authorization", "Bearer wrong")],
        [("authorization", "Basic dXNlcjpwYXNz")],
        [("authorization", "Bearer " + "x" * 100_000)],
        [("authorization", "Bearer a b")],
        [("authorization", "Bearer good-1"), ("authorization", "Bearer good-1")],
        [("authorization", "")],
        [("authorization-bin", b"Bearer \xff")],
    ],
)
async def test_a_wrong_token_is_unauthenticated_and_never_repeated(
    daemon: Serving, capfd: pytest.CaptureFixture[str], headers: list[tuple[str, str | bytes]]
) -> None:
    for method in ("ListProviders", "SwitchProvider"):
        error = await refused(getattr(daemon.stub, method)(pb.ListProvidersRequest(), timeout=5, metadata=headers))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED, error
        assert error_info(error).reason in {"TOKEN_MISSING", "TOKEN_MALFORMED", "TOKEN_UNKNOWN"}
        assert not re.search("wrong|good-1|dXNl|xxxx", str(error.details()))
    written = capfd.readouterr()
    assert not re.search("wrong|good-1|dXNl|xxxx", written.out + written.err)


async def test_each_rpc_takes_its_scope(database: str, access: AccessFile) -> None:
    tokens = {scope: access.token(f"only-{scope.value}", scope.value) for scope in Scope}
    async with serving(database, ready=False, access_file=access.path) as daemon, channel_to(daemon) as channel:
        await until_serving(channel)
        for method in UNARY:
            wanted = scope_of(f"/providerd.v1.ProviderService/{method}")
            for scope, token in tokens.items():
                denial = await denial_of(call(daemon, method, token))
                assert (denial is not None) is (scope not in (wanted, Scope.ADMIN)), (method, scope, denial)
                if denial is not None:
                    assert denial == {"scope": wanted.value, "principal": f"only-{scope.value}"}


async def denial_of(answer: object) -> dict[str, str] | None:
    """What the caller lacks; None when it was let in, whatever became of the empty request."""
    try:
        await answer  # type: ignore[misc]
    except grpc.aio.AioRpcError as error:
        assert error.code() is not grpc.StatusCode.UNAUTHENTICATED
        return dict(error_info(error).metadata) if error.code() is grpc.StatusCode.PERMISSION_DENIED else None
    return None


def test_no_rpc_is_forgotten() -> None:
    methods = pb.DESCRIPTOR.services_by_name["ProviderService"].methods
    of = {method.name: scope_of(f"/providerd.v1.ProviderService/{method.name}") for method in methods}
    assert {name for name, scope in of.items() if scope is Scope.ADMIN} == {"DeleteProvider"}
    assert scope_of("/x/Unheard") is Scope.ADMIN


async def test_a_key_takes_a_scope_of_its_own(daemon: Serving, access: AccessFile) -> None:
    writer, reader = access.token("writer", "write", "switch"), access.token("reader", "read")
    keeper = access.token("keeper", "read", "read-credential")
    await within(5, lambda: works(daemon, keeper))
    await call(daemon, "UpsertProvider", writer, **UPSERT, newApiKey="key-of-the-first")
    await call(daemon, "SwitchProvider", writer, providerName="first")
    assert (await call(daemon, "GetActiveProvider", reader)).provider.has_key
    error = await refused(call(daemon, "GetActiveProvider", reader, includeCredential=True))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    error = await refused(watch(daemon, reader, includeCredential=True).read())
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    answer = await call(daemon, "GetActiveProvider", keeper, includeCredential=True)
    assert answer.credential.api_key == "key-of-the-first"


async def test_applying_takes_what_its_parts_take(daemon: Serving, access: AccessFile) -> None:
    writer = access.token("writer", "write")
    await within(5, lambda: works(daemon, writer, denied=True))
    await call(daemon, "ApplyConfiguration", writer, providers=[UPSERT["provider"]])
    error = await refused(call(daemon, "ApplyConfiguration", writer, providers=[], activeProviderName="first"))
    assert error_info(error).metadata["scope"] == "switch"
    error = await refused(call(daemon, "ApplyConfiguration", writer, providers=[], deleteMissing=True))
    assert error_info(error).metadata["scope"] == "admin"


async def test_the_principal_is_what_the_history_records(daemon: Serving, access: AccessFile) -> None:
    token = access.token("deployer", "write", "read")
    await within(5, lambda: works(daemon, token))
    await call(daemon, "UpsertProvider", token, **UPSERT, actor="the boss")
    history = await call(daemon, "ListHistory", token)
    assert history.entries[0].actor == "deployer"


async def test_a_revoked_token_ends_its_watches(daemon: Serving, access: AccessFile) -> None:
    kept, gone = access.token("kept", "read"), access.token("gone", "read")
    await within(5, lambda: works(daemon, gone))
    watches = {token: watch(daemon, token) for token in (kept, gone)}
    for each in watches.values():
        assert (await each.read()).HasField("active")
    access.revoke("gone")
    error = await refused(watches[gone].read())
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert error_info(error).reason == "TOKEN_UNKNOWN"
    assert not watches[kept].done()
    error = await refused(call(daemon, "ListProviders", gone))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_an_expired_token_ends_its_watches(daemon: Serving, access: AccessFile) -> None:
    token = access.token("brief", "read", expires=datetime.now(UTC) + timedelta(seconds=4))
    await within(3, lambda: works(daemon, token))
    open_watch = watch(daemon, token)
    await open_watch.read()
    error = await refused(open_watch.read())
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert error_info(error).reason == "TOKEN_EXPIRED"


async def test_losing_a_scope_ends_only_what_needs_it(daemon: Serving, access: AccessFile) -> None:
    token = access.token("worker", "read", "read-credential")
    await within(5, lambda: works(daemon, token))
    with_key, without = watch(daemon, token, includeCredential=True), watch(daemon, token)
    await with_key.read()
    await without.read()
    access.token("worker", "read")
    error = await refused(with_key.read())
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert not without.done()


async def test_a_broken_access_file_leaves_the_last_good_one_in_force(
    daemon: Serving, access: AccessFile, capfd: pytest.CaptureFixture[str]
) -> None:
    token = access.token("worker", "read")
    await within(5, lambda: works(daemon, token))
    access.path.write_text("{ not json")
    await within(5, logged(capfd, "cannot be used"))
    await call(daemon, "ListProviders", token)


async def works(daemon: Serving, token: str, *, denied: bool = False) -> bool:
    try:
        await daemon.stub.ListProviders(pb.ListProvidersRequest(), timeout=5, metadata=bearer(token))
    except grpc.aio.AioRpcError as error:
        return denied and error.code() is grpc.StatusCode.PERMISSION_DENIED
    return True
