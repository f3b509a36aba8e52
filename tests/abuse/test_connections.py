"""Fault 46: connections that say nothing, too much, or nonsense: others are served, and nothing stays open."""

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from providerd.v1 import provider_pb2 as pb
from providerd.v1.provider_pb2_grpc import ProviderServiceStub
from tests.abuse.case import SERVICE, bearer
from tests.abuse.frames import BEGIN, END_HEADERS, HEADERS, PREFACE, broken, call, frame
from tests.abuse.tally import Tally
from tests.abuse.wire import headers, wire
from tests.abuse.world import PASSPHRASE, World
from tests.certificates import Authority
from tests.daemon import DaemonProcess, running_daemon

IDLE = "46 connections that say nothing, or not all"
FRAMES = "46 frames that are no HTTP/2"

_RPC = f"{SERVICE}ListProviders"
_OF_A_KIND, _MOST, _TRIED = 100, 700, 1_200
# How long to wait for what happens by itself, on a machine that may be slow.
_PATIENCE = 30


class Target:
    """A daemon with TLS on TCP, and without on a unix socket; it closes soon what says nothing."""

    def __init__(self, daemon: DaemonProcess, socket: str, authority: Authority, token: str) -> None:
        self.daemon, self.socket, self.secure, self.token = daemon, socket, daemon.address, token
        self._credentials = grpc.ssl_channel_credentials(authority.ca_file.read_bytes())

    @property
    def descriptors(self) -> int:
        """How many files and sockets it has open."""
        return len(list(Path(f"/proc/{self.daemon.pid}/fd").iterdir()))

    async def back_to(self, before: int) -> None:
        """Returns once it has no more of them open."""
        async with asyncio.timeout(_PATIENCE):
            while self.descriptors > before:
                await asyncio.sleep(0.05)

    @asynccontextmanager
    async def serving_others(self) -> AsyncIterator[None]:
        """Wants others to be served all the while: one that was there before, and one that comes after."""
        before = self.descriptors
        async with self._channel() as channel:
            stub: Any = ProviderServiceStub(channel)
            good = bearer(self.token)
            watch = stub.WatchActive(pb.WatchActiveRequest(), metadata=good)
            await watch.read()
            yield
            await stub.ListProviders(pb.ListProvidersRequest(), timeout=_PATIENCE, metadata=good)
            assert not watch.done()
            async with self._channel() as late:
                newcomer: Any = ProviderServiceStub(late)
                request = pb.ListProvidersRequest()
                await newcomer.ListProviders(request, timeout=_PATIENCE, wait_for_ready=True, metadata=good)
        await self.back_to(before)
        assert self.daemon.running
        # Each line is the daemon's own: nobody else writes into its log, and nothing failed.
        levels = {json.loads(line)["level"] for line in self.daemon.log.read_text().splitlines()}
        assert levels <= {"debug", "info", "warning"}

    def _channel(self) -> grpc.aio.Channel:
        own = [("grpc.use_local_subchannel_pool", 1)]
        return grpc.aio.secure_channel(self.secure, self._credentials, options=own)


@pytest.fixture(scope="module")
def target(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    directory = tmp_path_factory.mktemp("target")
    authority = Authority(directory)
    cert, key = authority.issue("daemon", "127.0.0.1")
    socket = Path("/tmp") / f"providerd-abuse-{os.getpid()}.sock"
    with running_daemon(
        world.dsn,
        DB_ENCRYPTION_KEY=PASSPHRASE,
        PROVIDERD_ACCESS_FILE=str(world.access.path),
        PROVIDERD_LISTEN=f"127.0.0.1:0,unix://{socket}",
        PROVIDERD_TLS_CERT_FILE=str(cert),
        PROVIDERD_TLS_KEY_FILE=str(key),
        PROVIDERD_HANDSHAKE_TIMEOUT="1",
        PROVIDERD_IDLE_TIMEOUT="1",
        PROVIDERD_MAX_CONNECTIONS=str(_MOST),
    ) as daemon:
        yield Target(daemon, f"unix:{socket}", authority, world.tokens["neighbour"])


def client_hello() -> bytes:
    """The first words of a TLS handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    handshake = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        handshake.do_handshake()
    return outgoing.read()


# What each says before it falls silent, and over TLS or not.
SILENT: dict[str, tuple[bool, Callable[[], bytes]]] = {
    "nothing": (True, lambda: b""),
    "one byte": (True, lambda: b"\x16"),
    "half a handshake": (True, lambda: client_hello()[:50]),
    "a handshake without an end": (True, client_hello),
    "half a preface": (False, lambda: PREFACE[:12]),
    "a preface only": (False, lambda: PREFACE),
    "a preface and settings": (False, lambda: BEGIN),
    "half a frame": (False, lambda: BEGIN + b"\0\0"),
}


async def test_silence_is_ended(target: Target, tally: Tally) -> None:
    async def fall_silent(secure: bool, words: bytes) -> None:
        async with wire(target.secure if secure else target.socket) as connection:
            await connection.flush(words)
            await connection.until_closed()

    async with target.serving_others(), asyncio.timeout(2 * _PATIENCE):
        words = {name: (secure, make()) for name, (secure, make) in SILENT.items()}
        await asyncio.gather(*(fall_silent(*each) for each in words.values() for _ in range(_OF_A_KIND)))
    tally.tried(IDLE, _OF_A_KIND * len(SILENT))


async def test_there_are_never_more_than_so_many(target: Target, tally: Tally) -> None:
    before = target.descriptors
    async with target.serving_others():
        host, _, port = target.secure.rpartition(":")
        idle = [await asyncio.open_connection(host, int(port)) for _ in range(_TRIED)]
        # A few more for what the daemon itself has open.
        assert target.descriptors <= before + _MOST + 20
        async with asyncio.timeout(_PATIENCE):
            for reader, writer in idle:
                assert await reader.read() == b""
                writer.close()
    tally.tried(IDLE, _TRIED)


async def test_a_call_that_never_ends_keeps_nobody_waiting(target: Target, tally: Tally) -> None:
    block = call(_RPC)
    unfinished = [
        b"".join(frame(HEADERS, END_HEADERS, stream, block) for stream in range(1, 100, 2)),
        frame(HEADERS, 0, 1, block[:9]),
    ]
    async with target.serving_others(), AsyncExitStack() as stack:
        for words in unfinished * _OF_A_KIND:
            connection = await stack.enter_async_context(wire(target.socket))
            await connection.flush(BEGIN + words)
        async with wire(target.socket) as other:
            await other.begin()
            stream = other.open(headers(_RPC, (b"authorization", f"Bearer {target.token}".encode())), b"")
            await other.flush()
            assert (await other.answer(stream)).code == "OK"
    tally.tried(IDLE, _OF_A_KIND * len(unfinished))


async def test_nonsense_is_answered_with_little(world: World, target: Target) -> None:
    leaks: list[str] = []

    async def speak(name: str, words: bytes) -> None:
        async with wire(target.socket) as connection:
            await connection.flush(words)
            connection.finish()
            said = await connection.until_closed()
        leaks.extend(f"{name}: {leak}" for leak in world.judge.leaks(said))
        world.judge.tally.tried(FRAMES)

    async with target.serving_others():
        nonsense = list(broken(_RPC))
        for start in range(0, len(nonsense), 40):
            await asyncio.gather(*(speak(*each) for each in nonsense[start : start + 40]))
    assert not leaks
