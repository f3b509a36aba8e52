"""What a daemon refuses to listen on, who may open its unix socket, and how much it lets in at once."""

import asyncio
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import grpc
import pytest
from access import AccessFile, bearer, call, until_serving, watch
from serving import Serving, error_info, serving
from structlog.testing import capture_logs

from providerd.v1 import provider_pb2 as pb
from providerd.v1.provider_pb2_grpc import ProviderServiceStub
from providerd_server.commands import serve
from providerd_server.errors import ConfigurationError
from providerd_server.listening import check_exposure, holding
from providerd_server.settings import load
from providerd_server.sidecar_commands import sidecar
from providerd_server.sidecar_settings import SidecarSettings
from providerd_server.sidecar_settings import load as load_sidecar
from tests.certificates import Authority


@pytest.mark.parametrize(
    "address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:50051", "example.com:50051", "127.0.0.1.nip.io:1"]
)
def test_beyond_this_machine_takes_tls_and_authentication(tmp_path: Path, address: str) -> None:
    cert, key = Authority(tmp_path).issue("daemon", "localhost")
    access = AccessFile(tmp_path / "access.json").path
    tls = {"tls_cert_file": cert, "tls_key_file": key}
    with pytest.raises(ConfigurationError, match=r"without TLS .* and authentication .* --insecure"):
        check_exposure(load(listen=address))
    with pytest.raises(ConfigurationError, match=r"without TLS \(\S+, \S+\);"):
        check_exposure(load(listen=address, access_file=access))
    with pytest.raises(ConfigurationError, match=r"without authentication \(\S+\);"):
        check_exposure(load(listen=f"127.0.0.1:0,{address}", **tls))
    check_exposure(load(listen=address, access_file=access, **tls))
    with capture_logs() as logged:
        check_exposure(load(listen=address, insecure=True))
    assert "whoever reaches it may switch providers" in logged[0]["event"]


@pytest.mark.parametrize(
    ("keys", "lost"),
    [(False, "read the configuration"), (True, "read the configuration and the active provider's key")],
)
def test_a_sidecar_is_told_by_its_own_option_and_of_what_it_serves(keys: bool, lost: str) -> None:
    def settings(**flags: Any) -> SidecarSettings:
        return load_sidecar(upstream="127.0.0.1:1", include_credential=keys, **flags)

    with capture_logs() as logged:
        check_exposure(settings(listen="0.0.0.0:0", insecure=True))
        check_exposure(settings(listen="unix:///run/providerd.sock", socket_mode="666"))
    beyond, within = (line["event"] for line in logged)
    assert beyond.endswith(f"as --insecure says: whoever reaches it may {lost}")
    assert within == f"every user of this machine may {lost}, as PROVIDERD_SOCKET_MODE says"


@pytest.mark.parametrize("command", [serve, sidecar])
def test_the_option_that_a_refusal_names_is_one_of_the_command(command: click.Command) -> None:
    with pytest.raises(ConfigurationError, match=r"or say --insecure$"):
        check_exposure(load(listen="0.0.0.0:0"))
    context = command.make_context("it", ["--listen", "0.0.0.0:0", "--insecure"])
    assert context.params["insecure"] is True
    assert command.make_context("it", []).params["insecure"] is None


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0", "localhost:0", "unix:///run/providerd.sock"])
def test_this_machine_takes_neither(address: str) -> None:
    check_exposure(load(listen=address))


@pytest.mark.parametrize(("given", "mode"), [({}, 0o600), ({"socket_mode": "660"}, 0o660)])
async def test_a_unix_socket_has_the_permissions_of_the_setting(
    database: str, open_directory: Path, given: dict[str, str], mode: int
) -> None:
    path = open_directory / "daemon.sock"
    async with serving(database, address=f"unix://{path}", **given):
        assert stat.S_IMODE(path.stat().st_mode) == mode


async def test_watches_are_capped_for_one_principal_and_overall(database: str, tmp_path: Path) -> None:
    access = AccessFile(tmp_path / "access.json")
    greedy, modest = access.token("greedy", "read"), access.token("modest", "read")
    limits = {"max_watches": 30, "max_watches_per_principal": 20}
    async with (
        serving(database, ready=False, access_file=access.path, **limits) as daemon,
        grpc.aio.insecure_channel(daemon.address) as channel,
    ):
        await until_serving(channel)
        watches = [watch(daemon, greedy) for _ in range(20)]
        for each in watches:
            await each.read()
        assert await refused_by_limit(daemon, greedy) == "20"
        others = [watch(daemon, modest) for _ in range(10)]
        for each in others:
            await each.read()
        assert await refused_by_limit(daemon, modest) == "30"
        await call(daemon, "ListProviders", greedy)
        watches[0].cancel()

        async with asyncio.timeout(10):
            while True:
                again = watch(daemon, modest)
                try:
                    await again.read()
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.05)


async def refused_by_limit(daemon: Serving, token: str) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await watch(daemon, token).read()
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    info = error_info(refused.value)
    assert info.reason == "TOO_MANY_WATCHES"
    return str(info.metadata["limit"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_root_holds_a_socket_for_the_account_that_its_directory_belongs_to(open_directory: Path) -> None:
    os.chown(open_directory, 65534, 65534)
    address = f"unix://{open_directory}/providerd.sock"
    with holding([address]):
        pass
    with (
        acting_as(65534),
        holding([address]),
        pytest.raises(ConfigurationError, match="another daemon has it"),
        holding([address]),
    ):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_file_of_root_is_given_to_nobody_and_one_of_another_account_is_told_of(open_directory: Path) -> None:
    os.chown(open_directory, 65534, 65534)
    lock = open_directory / "providerd.sock.lock"
    lock.touch(0o600)
    address = f"unix://{open_directory}/providerd.sock"
    with holding([address]):
        assert lock.stat().st_uid == 0
    with (
        acting_as(65534),
        pytest.raises(ConfigurationError, match=f"{lock} belongs to another account; .* remove it"),
        holding([address]),
    ):
        pass
    lock.unlink()
    os.chown(open_directory, 0, 0)
    with (
        acting_as(65534),
        pytest.raises(ConfigurationError, match="Permission denied; set PROVIDERD_LISTEN"),
        holding([address]),
    ):
        pass


@contextmanager
def acting_as(account: int) -> Iterator[None]:
    os.seteuid(account)
    try:
        yield
    finally:
        os.seteuid(0)


async def test_unary_calls_in_flight_are_capped(database: str) -> None:
    async with serving(database, max_calls=1) as daemon:
        calls = [call(daemon, "SwitchProvider", providerName="groq") for _ in range(20)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        codes = [answer.code().name if isinstance(answer, grpc.aio.AioRpcError) else "OK" for answer in answers]
        assert set(codes) == {"OK", "RESOURCE_EXHAUSTED"}
        await call(daemon, "SwitchProvider", providerName="groq")


async def test_a_call_that_sends_no_request_is_not_let_in_without_a_token_nor_kept_with_one(
    database: str, tmp_path: Path
) -> None:
    access = AccessFile(tmp_path / "access.json")
    token = access.token("worker", "read")
    method = "/providerd.v1.ProviderService/ListProviders"
    async with (
        serving(database, ready=False, access_file=access.path, handshake_timeout=1) as daemon,
        grpc.aio.insecure_channel(daemon.address) as channel,
    ):
        await until_serving(channel)
        # Headers alone, as a stream that has sent nothing yet.
        unknown = [channel.stream_unary(method)() for _ in range(500)]
        codes = await asyncio.wait_for(asyncio.gather(*(each.code() for each in unknown)), 20)
        assert set(codes) <= {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED}
        known = channel.stream_unary(method)(metadata=bearer(token))
        assert await asyncio.wait_for(known.code(), 10) is grpc.StatusCode.INVALID_ARGUMENT
        await call(daemon, "ListProviders", token)


async def test_failed_authentications_of_one_host_are_answered_shortly_beyond_a_rate(
    database: str, tmp_path: Path
) -> None:
    access = AccessFile(tmp_path / "access.json")
    token = access.token("worker", "read")
    async with (
        serving(database, ready=False, access_file=access.path, max_auth_failures=5) as daemon,
        grpc.aio.insecure_channel(daemon.address) as channel,
    ):
        await until_serving(channel)
        codes = []
        with capture_logs() as logged:
            for _ in range(20):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call(daemon, "ListProviders", "wrong")
                codes.append(refused.value.code().name)
        assert codes == ["UNAUTHENTICATED"] * 5 + ["RESOURCE_EXHAUSTED"] * 15
        assert len([line for line in logged if line["event"] == "denied"]) == 5
        # Who is known comes in all the same.
        await call(daemon, "ListProviders", token)


async def test_too_large_messages_and_metadata_have_a_clean_status(database: str) -> None:
    async with serving(database, max_request_bytes=2048, max_metadata_bytes=8192) as daemon:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await daemon.stub.SwitchProvider(pb.SwitchProviderRequest(reason="x" * 3000), timeout=5)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await daemon.stub.ListProviders(pb.ListProvidersRequest(), timeout=5, metadata=[("x", "y" * 10_000)])
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await call(daemon, "ListProviders")


async def test_connections_that_say_nothing_are_closed_and_bounded(database: str) -> None:
    async with serving(database, handshake_timeout=1, max_connections=60) as daemon:
        host, _, port = daemon.address.rpartition(":")
        idle = [await asyncio.open_connection(host, int(port)) for _ in range(200)]
        # Those beyond the limit at once, those within it after the time for a handshake.
        async with asyncio.timeout(20):
            for reader, writer in idle:
                while await reader.read(65536):
                    pass
                writer.close()
        async with grpc.aio.insecure_channel(
            daemon.address, options=[("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            stub = ProviderServiceStub(channel)
            await stub.ListProviders(pb.ListProvidersRequest(), timeout=10, wait_for_ready=True)


async def test_a_connection_without_calls_is_closed_and_its_client_comes_back(database: str) -> None:
    async with (
        serving(database, idle_timeout=0.5) as daemon,
        grpc.aio.insecure_channel(daemon.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel,
    ):
        stub = ProviderServiceStub(channel)
        await stub.ListProviders(pb.ListProvidersRequest(), timeout=5)
        async with asyncio.timeout(10):
            await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        await stub.ListProviders(pb.ListProvidersRequest(), timeout=5)
