"""TLS and mutual TLS of a real daemon, and its certificates replaced while it runs."""

import asyncio
import contextlib
import dataclasses
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from access import UPSERT, AccessFile, logged, until_serving
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from google.protobuf.json_format import ParseDict
from serving import Serving, error_info, free_port, serving

from providerd.v1 import provider_pb2 as pb
from providerd.v1.provider_pb2_grpc import ProviderServiceStub
from providerd_server.certificates import Certificates
from providerd_server.errors import ConfigurationError
from tests.certificates import Authority, replace

LOCAL = ("localhost", "127.0.0.1")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def tls_daemon(
    database: str, authority: Authority, *, mutual: bool = False, **flags: Any
) -> AsyncIterator[Serving]:
    cert, key = authority.issue("daemon", *LOCAL)
    ca = {"tls_client_ca_file": authority.ca_file} if mutual else {}
    async with serving(database, ready=False, tls_cert_file=cert, tls_key_file=key, **ca, **flags) as daemon:
        client = authority.issue("probe", "probe") if mutual else None
        first = dataclasses.replace(daemon, address=daemon.address.partition(",")[0])
        async with channel_to(first, authority, client) as channel:
            await until_serving(channel)
        yield daemon


def channel_to(daemon: Serving, authority: Authority, client: tuple[Path, Path] | None = None) -> grpc.aio.Channel:
    """A connection of its own that trusts the authority."""
    chain, key = (path.read_bytes() for path in client) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(authority.ca_file.read_bytes(), key, chain)
    return grpc.aio.secure_channel(daemon.address, credentials, options=[("grpc.use_local_subchannel_pool", 1)])


async def served(channel: grpc.aio.Channel) -> bool:
    """Whether a call comes through on a channel."""
    try:
        await ProviderServiceStub(channel).ListProviders(pb.ListProvidersRequest(), timeout=5)
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.UNAVAILABLE, error
        return False
    return True


async def serial_of(daemon: Serving, authority: Authority) -> str:
    """The serial number of the certificate that a new connection is shown."""
    host, _, port = daemon.address.rpartition(":")
    context = ssl.create_default_context(cafile=authority.ca_file)
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    shown = writer.get_extra_info("peercert")["serialNumber"]
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return str(shown)


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.1)


async def test_clients_that_trust_the_authority_are_served(database: str, tmp_path: Path, authority: Authority) -> None:
    async with tls_daemon(database, authority) as daemon:
        async with channel_to(daemon, authority) as channel:
            assert await served(channel)
        async with channel_to(daemon, Authority(tmp_path, "stranger")) as channel:
            assert not await served(channel)
        assert not await served(grpc.aio.insecure_channel(daemon.address))


async def test_mutual_tls_takes_a_certificate_of_the_clients_authority(
    database: str, tmp_path: Path, authority: Authority
) -> None:
    async with tls_daemon(database, authority, mutual=True) as daemon:
        async with channel_to(daemon, authority, authority.issue("worker", "worker.example")) as channel:
            assert await served(channel)
        async with channel_to(daemon, authority, Authority(tmp_path, "stranger").issue("spy", "spy")) as channel:
            assert not await served(channel)
        async with channel_to(daemon, authority, authority.issue("late", "late.example", days=-1)) as channel:
            assert not await served(channel)
        async with channel_to(daemon, authority) as channel:
            assert not await served(channel)


async def test_a_certificate_is_a_principal_by_its_subject_alternative_name(
    database: str, tmp_path: Path, authority: Authority
) -> None:
    access = AccessFile(tmp_path / "access.json")
    access.certificate("worker", "spiffe://fleet/worker", "read")
    access.certificate("deployer", "deploy.example.com", "switch")
    async with tls_daemon(database, authority, mutual=True, access_file=access.path) as daemon:
        known = authority.issue("worker", "spiffe://fleet/worker")
        # A name is no URI, even where the text is the same.
        stranger = authority.issue("stranger", "fleet", "spiffe://fleet/worker/2")
        async with channel_to(daemon, authority, known) as channel:
            stub = ProviderServiceStub(channel)
            await stub.ListProviders(pb.ListProvidersRequest(), timeout=5)
            with pytest.raises(grpc.aio.AioRpcError) as denied:
                await stub.SwitchProvider(pb.SwitchProviderRequest(provider_name="groq"), timeout=5)
            assert error_info(denied.value).metadata["principal"] == "worker"
        async with channel_to(daemon, authority, stranger) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as denied:
                await ProviderServiceStub(channel).ListProviders(pb.ListProvidersRequest(), timeout=5)
            assert denied.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert error_info(denied.value).reason == "CERTIFICATE_UNKNOWN"


async def test_a_name_that_grpc_would_cut_short_is_nobodys(database: str, tmp_path: Path, authority: Authority) -> None:
    access = AccessFile(tmp_path / "access.json")
    access.certificate("worker", "worker.example", "read")
    async with tls_daemon(database, authority, mutual=True, access_file=access.path) as daemon:
        for sans, known in ((["worker.example"], True), (["worker.example\0.evil.example"], False)):
            async with channel_to(daemon, authority, authority.issue("client", *sans)) as channel:
                answer = ProviderServiceStub(channel).ListProviders(pb.ListProvidersRequest(), timeout=5)
                code = await answer.code()
                assert code is (grpc.StatusCode.OK if known else grpc.StatusCode.UNAUTHENTICATED)


async def test_every_address_has_the_newest_certificate(database: str, authority: Authority) -> None:
    ports = free_port(), free_port()
    addresses = ",".join(f"127.0.0.1:{port}" for port in ports)
    async with tls_daemon(database, authority, address=addresses) as daemon:
        first = [await serial_of(replace_address(daemon, port), authority) for port in ports]
        authority.issue("daemon", *LOCAL)

        async def renewed() -> bool:
            now = [await serial_of(replace_address(daemon, port), authority) for port in ports]
            return now[0] == now[1] != first[0]

        await until(renewed)


def replace_address(daemon: Serving, port: int) -> Serving:
    return dataclasses.replace(daemon, address=f"127.0.0.1:{port}")


async def test_a_certificate_is_replaced_and_garbage_is_not_taken_under_open_watches(
    database: str, authority: Authority, capfd: pytest.CaptureFixture[str]
) -> None:
    async with tls_daemon(database, authority) as daemon, contextlib.AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(channel_to(daemon, authority)) for _ in range(50)]
        watches = [
            ProviderServiceStub(channel).WatchActive(pb.WatchActiveRequest(), timeout=60) for channel in channels
        ]
        for each in watches:
            assert (await each.read()).HasField("active")
        first = await serial_of(daemon, authority)

        cert, key = authority.issue("daemon", *LOCAL)

        async def renewed() -> bool:
            return await serial_of(daemon, authority) != first

        await until(renewed)
        second = await serial_of(daemon, authority)

        replace(cert, b"garbage")
        await until(logged(capfd, "cannot be used"))
        assert await serial_of(daemon, authority) == second
        replace(key, b"more garbage")
        for _ in range(20):
            async with channel_to(daemon, authority) as channel:
                assert await served(channel)

        assert not any(each.done() for each in watches)
        async with channel_to(daemon, authority) as channel:
            stub = ProviderServiceStub(channel)
            await stub.UpsertProvider(ParseDict(UPSERT, pb.UpsertProviderRequest()))
            await stub.SwitchProvider(pb.SwitchProviderRequest(provider_name="first"))
        told_by = await asyncio.gather(*(asyncio.wait_for(next_active(each), 10) for each in watches))
        assert {event.provider.provider_name for event in told_by} == {"first"}

        authority.issue("daemon", *LOCAL)

        async def mended() -> bool:
            return await serial_of(daemon, authority) != second

        await until(mended)


async def next_active(watch: Any) -> pb.ActiveEvent:
    while True:
        message = await watch.read()
        if message.HasField("active"):
            return message.active


@pytest.mark.parametrize("broken", ["cert", "key", "both", "missing", "encrypted key", "expired", "a kind gRPC lacks"])
def test_broken_files_are_refused_at_the_start(tmp_path: Path, authority: Authority, broken: str) -> None:
    cert, key = authority.issue("daemon", *LOCAL)
    if broken in ("cert", "both"):
        cert.write_bytes(b"garbage")
    if broken in ("key", "both"):
        key.write_bytes(b"garbage")
    if broken == "missing":
        key.unlink()
    if broken == "encrypted key":
        key.write_bytes(encrypted(key.read_bytes()))
    if broken == "expired":
        authority.issue("daemon", *LOCAL, days=-1)
    if broken == "a kind gRPC lacks":
        authority.issue("daemon", *LOCAL, key=ed25519.Ed25519PrivateKey.generate())
    with pytest.raises(ConfigurationError) as refused:
        Certificates(cert, key, None)
    assert str(key) in str(refused.value)
    assert "\n" not in str(refused.value)


def encrypted(pem: bytes) -> bytes:
    return serialization.load_pem_private_key(pem, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"a passphrase"),
    )


def test_a_key_of_another_certificate_is_refused(authority: Authority) -> None:
    cert, _ = authority.issue("daemon", *LOCAL)
    _, key = authority.issue("other", *LOCAL)
    with pytest.raises(ConfigurationError, match="another certificate's"):
        Certificates(cert, key, None)


def test_garbage_for_the_authorities_of_clients_is_refused(tmp_path: Path, authority: Authority) -> None:
    garbage = tmp_path / "ca.pem"
    garbage.write_bytes(b"garbage")
    with pytest.raises(ConfigurationError, match="authorities of clients"):
        Certificates(*authority.issue("daemon", *LOCAL), garbage)
