"""A DNS server that knows the IPv4 addresses of every name (RFC 1035)."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

_HEADER = 12
_A = 1
# What each answer begins with: the name of the question, by its place (4.1.4), type A, class IN, 1 s to live, 4 bytes.
_RECORD = struct.pack(">HHHIH", 0xC000 | _HEADER, _A, 1, 1, 4)


class NameServer(asyncio.DatagramProtocol):
    """Answers from ``addresses``, which may be changed. ``port`` is where, on 127.0.0.1."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = list(addresses)
        self.port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        end = data.index(0, _HEADER) + 5  # after the name come its type and class
        [kind] = struct.unpack(">H", data[end - 4 : end - 2])
        records = [_RECORD + socket.inet_aton(address) for address in self.addresses if kind == _A]
        # A response to a standard query, without an error: one question, so many answers, nothing else.
        header = data[:2] + struct.pack(">HHHHH", 0x8180, 1, len(records), 0, 0)
        self._transport.sendto(header + data[_HEADER:end] + b"".join(records), peer)


@asynccontextmanager
async def name_server(*addresses: str) -> AsyncIterator[NameServer]:
    """Runs one on a free port of loopback."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: NameServer(addresses), local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        transport.close()
