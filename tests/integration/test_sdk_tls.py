"""The SDK over TLS, against a real gRPC server with certificates of a test authority."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import grpc
import pytest

import providerd
import providerd.sync
from providerd import Client, State
from providerd.v1 import provider_pb2 as pb
from tests.certificates import Authority, replace
from tests.integration.scripted_server import ScriptedServer, names, scripted_server
from tests.unit.sdk_messages import active, heartbeat, provider


class Fleet:
    """The authority of a fleet, and what it signed: for the daemon, and for a client named worker."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory)
        self.ca_file = self.authority.ca_file
        self.daemon = self.authority.issue("daemon", "127.0.0.1", "daemon.example")
        self.worker: dict[str, Any] = dict(
            zip(("cert_file", "key_file"), self.authority.issue("worker", "worker.example"), strict=True)
        )

    def server(self, *, mutual: bool = False) -> AbstractAsyncContextManager[ScriptedServer]:
        """A daemon that shows the certificate as it is when it starts; with `mutual` it wants one of clients."""

        def credentials() -> grpc.ServerCredentials:
            certificate, key = (path.read_bytes() for path in self.daemon)
            authorities = self.ca_file.read_bytes() if mutual else None
            return grpc.ssl_server_credentials([(key, certificate)], authorities, mutual)

        return scripted_server(credentials)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


@pytest.fixture
async def server(fleet: Fleet) -> AsyncIterator[ScriptedServer]:
    async with fleet.server() as server:
        server.answers["GetProvider"] = found
        yield server


async def found(_: Any, context: Any) -> pb.GetProviderResponse:
    """Answers with the name that the client's certificate has, if there is one."""
    return pb.GetProviderResponse(provider=provider("-".join(names(context)) or "nobody"))


def channels() -> int:
    gc.collect()
    return sum(isinstance(each, grpc.aio.Channel) for each in gc.get_objects())


async def failure(*targets: str, **options: Any) -> providerd.UnavailableError:
    async with Client(*targets, watch=False, timeout=10, **options) as client:
        with pytest.raises(providerd.UnavailableError) as raised:
            await client.get("groq")
    return raised.value


async def test_calls_and_watches_go_over_tls(server: ScriptedServer, fleet: Fleet) -> None:
    client = Client(server.address, ca_file=fleet.ca_file)
    await client.start()
    (await server.watch()).send(active(5, "groq", "INITIAL"))
    await client.wait_ready(5)
    assert client.active.provider_name == "groq"
    assert (await client.get("groq")).provider_name == "nobody"
    await client.close()


async def test_threads_have_it_too(server: ScriptedServer, fleet: Fleet) -> None:
    def ask() -> str:
        with providerd.sync.Client(server.address, watch=False, ca_file=fleet.ca_file) as client:
            return client.get("groq").provider_name

    assert await asyncio.to_thread(ask) == "nobody"


async def test_a_daemon_of_another_authority_is_not_talked_to(server: ScriptedServer, tmp_path: Path) -> None:
    for options in ({"tls": True}, {"ca_file": Authority(tmp_path, "other").ca_file}):
        error = await failure(server.address, **options)
        assert error.reason == "CERTIFICATE_NOT_VERIFIED"
        assert f"the certificate of the daemon at {server.address} could not be verified" in error.message


async def test_an_expired_certificate_is_not_accepted(fleet: Fleet) -> None:
    fleet.daemon = fleet.authority.issue("expired", "127.0.0.1", days=-1)
    async with fleet.server() as server:
        error = await failure(server.address, ca_file=fleet.ca_file)
    assert error.reason == "CERTIFICATE_NOT_VERIFIED"


async def test_a_certificate_for_another_name_is_not_accepted(server: ScriptedServer, fleet: Fleet) -> None:
    error = await failure(server.address, ca_file=fleet.ca_file, tls_server_name="other.example")
    assert error.reason == "CERTIFICATE_NAME_MISMATCH"
    assert "tls_server_name" in error.message
    async with Client(server.address, watch=False, ca_file=fleet.ca_file, tls_server_name="daemon.example") as client:
        await client.get("groq")


async def test_several_daemons_have_one_name(server: ScriptedServer, fleet: Fleet) -> None:
    async with fleet.server() as other:
        other.answers["GetProvider"] = found
        both = Client(
            server.address, other.address, watch=False, ca_file=fleet.ca_file, tls_server_name="daemon.example"
        )
        async with both as client:
            await client.get("groq")
            await server.stop()
            await client.get("groq")


async def test_tls_to_a_port_without_it_says_so(fleet: Fleet) -> None:
    async with scripted_server() as plain:
        error = await failure(plain.address, ca_file=fleet.ca_file)
    assert error.reason == "NO_TLS"
    assert f"the daemon at {plain.address} does not speak TLS" in error.message


async def test_no_tls_to_a_port_with_it_says_what_it_may_be(server: ScriptedServer) -> None:
    error = await failure(server.address)
    assert error.reason == ""
    assert "it may speak TLS" in error.message


async def test_mutual_tls(fleet: Fleet, tmp_path: Path) -> None:
    async with fleet.server(mutual=True) as server:
        server.answers["GetProvider"] = found
        async with Client(server.address, watch=False, ca_file=fleet.ca_file, **fleet.worker) as client:
            assert (await client.get("groq")).provider_name == "worker.example"
        error = await failure(server.address, ca_file=fleet.ca_file)
        assert "it may want a certificate of this client" in error.message
        cert_file, key_file = Authority(tmp_path, "other").issue("stranger", "worker.example")
        error = await failure(server.address, ca_file=fleet.ca_file, cert_file=cert_file, key_file=key_file)
        assert "it may not trust the certificate in cert_file" in error.message


async def test_new_certificates_are_used_and_calls_in_flight_survive(fleet: Fleet) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def slowly(*call: Any) -> pb.GetProviderResponse:
        asked.set()
        await go.wait()
        return await found(*call)

    before = channels()
    async with fleet.server(mutual=True) as server:
        client = Client(server.address, ca_file=fleet.ca_file, **fleet.worker)
        await client.start()
        watch = await server.watch()
        watch.send(active(5, "groq", "INITIAL"))
        await client.wait_ready(5)
        server.answers["GetProvider"] = slowly
        old = asyncio.create_task(client.get("groq"))
        await asked.wait()

        fleet.authority.issue("worker", "renewed.example")
        server.answers["GetProvider"] = found
        for _ in range(3):
            assert (await client.get("groq")).provider_name == "renewed.example"
        assert channels() == before + 2
        go.set()
        assert (await old).provider_name == "worker.example"

        # The watch goes on where it is, and only its next attempt changes over.
        watch.send(heartbeat(6))
        async with asyncio.timeout(20):
            await client._announcer.until(lambda: client.revision is not None and client.revision.number == 6)
        assert watch.names == ["worker.example"]
        watch.end(grpc.StatusCode.UNAVAILABLE, "restarting")
        again = await server.watch()
        assert again.names == ["renewed.example"]
        assert channels() == before + 1
        await client.close()
    assert channels() == before


async def test_garbage_for_certificates_changes_nothing_and_is_told_once(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "providerd")
    async with fleet.server(mutual=True) as server:
        server.answers["GetProvider"] = found
        async with Client(server.address, watch=False, ca_file=fleet.ca_file, **fleet.worker) as client:
            await client.get("groq")
            for file in (fleet.worker["cert_file"], fleet.worker["key_file"], fleet.ca_file):
                good = file.read_bytes()
                caplog.clear()
                replace(file, b"-----BEGIN garbage-----")
                for _ in range(3):
                    assert (await client.get("groq")).provider_name == "worker.example"
                (record,) = caplog.records
                assert str(file) in record.getMessage()
                replace(file, good)
                assert (await client.get("groq")).provider_name == "worker.example"


async def test_a_new_authority_is_trusted_without_a_restart(fleet: Fleet, tmp_path: Path) -> None:
    async with fleet.server() as server:
        client = Client(server.address, ca_file=fleet.ca_file)
        await client.start()
        (await server.watch()).send(active(5, "groq", "INITIAL"))
        await client.wait_ready(5)
        await server.stop()
        other = Authority(tmp_path, "other")
        fleet.daemon = other.issue("daemon", "127.0.0.1")
        await server.start()
        async with asyncio.timeout(20):
            await client._announcer.until(lambda: getattr(client.error, "reason", "") == "CERTIFICATE_NOT_VERIFIED")
        assert (client.state, client.active.provider_name) == (State.STALE, "groq")
        replace(fleet.ca_file, other.ca_file.read_bytes())
        (await server.watch()).send(active(6, "openrouter", "INITIAL"))
        async with asyncio.timeout(20):
            await client._announcer.until(lambda: client.state is State.READY)
        assert client.active.provider_name == "openrouter"
        await client.close()


async def test_an_error_that_is_kept_does_not_keep_the_channel(server: ScriptedServer, fleet: Fleet) -> None:
    before = channels()
    error = await failure(server.address, tls=True)
    assert error.__traceback__ is not None
    assert channels() == before
