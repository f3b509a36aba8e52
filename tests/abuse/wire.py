"""HTTP/2 by hand, for what no gRPC client would send."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from urllib.parse import unquote_to_bytes

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from tests.abuse.case import Answer

Headers = list[tuple[bytes, bytes]]

_NAMES = {
    0: "OK", 1: "CANCELLED", 2: "UNKNOWN", 3: "INVALID_ARGUMENT", 4: "DEADLINE_EXCEEDED", 5: "NOT_FOUND",
    7: "PERMISSION_DENIED", 8: "RESOURCE_EXHAUSTED", 9: "FAILED_PRECONDITION", 12: "UNIMPLEMENTED", 13: "INTERNAL",
    14: "UNAVAILABLE", 16: "UNAUTHENTICATED",
}  # fmt: skip
_SECONDS = 30
_GONE = (ConnectionError, asyncio.IncompleteReadError, BrokenPipeError)


class Wire:
    """One connection that says whatever it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.http = h2.connection.H2Connection(
            h2.config.H2Configuration(
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,
            )
        )

    async def begin(self) -> None:
        """Sends the preface and the settings."""
        self.http.initiate_connection()
        await self.flush()

    def open(self, headers: Iterable[tuple[bytes, bytes]], body: bytes | None) -> int:
        """Prepares a request, which stays open without a body; returns the number of its stream."""
        stream = self.http.get_next_available_stream_id()
        self.http.send_headers(stream, list(headers))
        if body is not None:
            self.http.send_data(stream, b"\0" + len(body).to_bytes(4, "big") + body, end_stream=True)
        return int(stream)

    async def flush(self, more: bytes = b"") -> None:
        """Sends what is prepared, and then bytes that follow no rule."""
        self.writer.write(self.http.data_to_send() + more)
        with suppress(*_GONE):
            await self.writer.drain()

    async def answer(self, stream: int) -> Answer:
        """The end of a stream, however it comes."""
        headers: dict[bytes, bytes] = {}
        body = b""
        with suppress(*_GONE):
            async with asyncio.timeout(_SECONDS):
                while data := await self.reader.read(65536):
                    for event in self._events(data):
                        if getattr(event, "stream_id", None) not in (stream, None):
                            continue
                        if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                            headers |= dict(event.headers)
                        elif isinstance(event, h2.events.DataReceived):
                            body += event.data
                        elif isinstance(event, h2.events.StreamReset):
                            return Answer("RESET")
                        elif isinstance(event, h2.events.StreamEnded):
                            return _answer(headers, body)
                    await self.flush()
        return _answer(headers, body) if b"grpc-status" in headers else Answer("CLOSED")

    def finish(self) -> None:
        """Says that nothing more will come."""
        with suppress(*_GONE, OSError):
            self.writer.write_eof()

    async def until_closed(self) -> bytes:
        """Reads until the other side has closed; returns what it said. Fails when it does not."""
        said = b""
        with suppress(*_GONE):
            async with asyncio.timeout(_SECONDS):
                while data := await self.reader.read(65536):
                    said += data
        return said

    def _events(self, data: bytes) -> list[h2.events.Event]:
        try:
            events: list[h2.events.Event] = self.http.receive_data(data)
        except h2.exceptions.ProtocolError:
            return []
        return events


@asynccontextmanager
async def wire(address: str) -> AsyncIterator[Wire]:
    """A connection to a daemon, at host:port or unix:path, that has said nothing yet."""
    host, _, place = address.rpartition(":")
    if host == "unix":
        reader, writer = await asyncio.open_unix_connection(place)
    else:
        reader, writer = await asyncio.open_connection(host, int(place))
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with suppress(*_GONE):
            await writer.wait_closed()


def headers(rpc: str, *more: tuple[bytes, bytes]) -> Headers:
    """The headers of a gRPC call: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md."""
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", rpc.encode()),
        (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        *more,
    ]


def _answer(found: dict[bytes, bytes], body: bytes) -> Answer:
    if b"grpc-status" not in found:
        return Answer(f"HTTP_{found.get(b':status', b'?').decode()}")
    message = unquote_to_bytes(found.get(b"grpc-message", b"")).decode(errors="replace")
    details = found.get(b"grpc-status-details-bin", b"")
    status = base64.b64decode(details + b"=" * (-len(details) % 4))
    # Five bytes say whether the message is compressed, and its length.
    return Answer(_NAMES[int(found[b"grpc-status"])], message, status, body[5:])
