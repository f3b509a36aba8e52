"""A TCP proxy that hurts on purpose: it passes, delays, holds, cuts, half-closes, throttles and slices."""

import asyncio
import math
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

_CHUNK = 1 << 16
_REMEMBERED = 1 << 13
_TICK = 0.1


@dataclass
class Way:
    """One direction of everything that goes through a proxy. Change it while it runs.

    Attributes:
        delay: Seconds each piece waits.
        rate: Bytes a second.
        slice: The most bytes that are sent at once.
        cut_after: Bytes until the connection is reset; each connection that comes to this resets it to never.
        edit: Changes what passes; the length must stay.
    """

    delay: float = 0.0
    rate: float = math.inf
    slice: int = _CHUNK
    cut_after: float = math.inf
    edit: Callable[[bytes], bytes] = bytes
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    def ease(self) -> None:
        """Ends a delay, a slow rate and slicing."""
        self.delay, self.rate, self.slice = 0.0, math.inf, _CHUNK

    def hold(self) -> None:
        """Lets nothing through until ``release``: a black hole, without a word to either side."""
        self.open.clear()

    def release(self) -> None:
        """Ends ``hold``; what was held goes on, as after a partition of the network."""
        self.open.set()


class Link:
    """One connection through a proxy. ``said`` is the beginning of what the client sent on it."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.said = b""
        self._client, self._server = client, server
        self._open = asyncio.Event()
        self._open.set()
        self._unheard = 0

    @property
    def peer(self) -> str:
        """Its client, as a daemon calls it."""
        host, port = self._server.get_extra_info("sockname")
        return f"ipv4:{host}:{port}"

    def hold(self) -> None:
        """Makes this connection alone a black hole."""
        self._open.clear()

    def release(self) -> None:
        """Ends ``hold``."""
        self._open.set()

    def reset(self) -> None:
        """Ends it with RST to both sides."""
        for writer in (self._client, self._server):
            # To close at once and discard what is unsent is what sends RST, see socket(7).
            with suppress(OSError):
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()

    def half_close(self) -> None:
        """Tells the client that the server has nothing more to say, while the other direction stays open."""
        self._client.write_eof()

    def slip_in(self, message: bytes, *, unheard: int) -> None:
        """Sends the server something of our own; the next ``unheard`` bytes it says never reach the client."""
        self._unheard += unheard
        self._server.write(message)

    async def pump(self, reader: asyncio.StreamReader, way: Way, *, up: bool) -> None:
        """Carries one direction to its end."""
        writer = self._server if up else self._client
        while data := await reader.read(_CHUNK):
            if up and len(self.said) < _REMEMBERED:
                self.said += data
            if not up and self._unheard:
                dropped = min(self._unheard, len(data))
                self._unheard -= dropped
                data = data[dropped:]
            await self._carry(way.edit(data), writer, way)
        with suppress(OSError):
            writer.write_eof()

    async def _carry(self, data: bytes, writer: asyncio.StreamWriter, way: Way) -> None:
        while data:
            # At a slow rate in small pieces, so that it is a trickle, and ends when the rate is lifted.
            size = min(way.slice, max(1, int(min(way.rate * _TICK, _CHUNK))))
            piece, data = data[:size], data[size:]
            await asyncio.sleep(way.delay + len(piece) / way.rate)
            await way.open.wait()
            await self._open.wait()
            if way.cut_after <= len(piece):
                writer.write(piece[: int(way.cut_after)])
                way.cut_after = math.inf
                self.reset()
                return
            way.cut_after -= len(piece)
            writer.write(piece)
            await writer.drain()


class Proxy:
    """Connections to ``target``, a host:port or unix:/path, or elsewhere from when that is changed.

    ``up`` goes there, ``down`` comes back.
    """

    def __init__(self, target: str) -> None:
        self.up, self.down = Way(), Way()
        self.links: set[Link] = set()
        self.port = 0
        self.accepted = 0
        self.target = target

    @property
    def address(self) -> str:
        """Where to connect instead."""
        return f"127.0.0.1:{self.port}"

    def hold(self) -> None:
        """Makes all of it a black hole, new connections included."""
        self.up.hold()
        self.down.hold()

    def release(self) -> None:
        """Ends ``hold``."""
        self.up.release()
        self.down.release()

    def reset(self) -> None:
        """Resets every connection there is."""
        for link in list(self.links):
            link.reset()

    def that_said(self, text: bytes) -> list[Link]:
        """The connections on which the client began with something that holds ``text``."""
        return [link for link in self.links if text in link.said]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            await self.up.open.wait()
            there, back = await self._dial()
        except OSError:
            writer.transport.abort()
            return
        link = Link(writer, back)
        self.links.add(link)
        pumps = {
            asyncio.create_task(link.pump(reader, self.up, up=True)),
            asyncio.create_task(link.pump(there, self.down, up=False)),
        }
        try:
            # Closed from both sides, or broken on one.
            await asyncio.wait(pumps, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            self.links.discard(link)
            for pump in pumps:
                pump.cancel()
            for end in (writer, back):
                end.transport.abort()
        await asyncio.gather(*pumps, return_exceptions=True)

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.target.startswith("unix:"):
            return await asyncio.open_unix_connection(self.target.removeprefix("unix:"))
        host, _, port = self.target.rpartition(":")
        return await asyncio.open_connection(host, int(port))


@asynccontextmanager
async def proxy_to(target: str) -> AsyncIterator[Proxy]:
    """Runs a proxy on a free port of loopback."""
    proxy = Proxy(target)
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await proxy._serve(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            serving.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        ending = list(serving)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
