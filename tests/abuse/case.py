"""One hostile call, and what came back."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from providerd.v1 import provider_pb2 as pb

SERVICE = "/providerd.v1.ProviderService/"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
WATCH = f"{SERVICE}WatchActive"
UNARY = [
    f"{SERVICE}{method.name}"
    for method in pb.DESCRIPTOR.services_by_name["ProviderService"].methods
    if method.name != "WatchActive"
]
RPCS = [*UNARY, WATCH, REFLECTION]

Metadata = Sequence[tuple[str, str | bytes]]

# Generous, since the machine may be slow: what takes longer hangs.
_SECONDS = 30


def bearer(token: str) -> Metadata:
    """The metadata of somebody who has a token."""
    return (("authorization", f"Bearer {token}"),)


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        code: The name of the status, or what the transport did instead: RESET or CLOSED.
        message: The text of the status.
        details: The google.rpc.Status in the trailers, encoded.
        body: The first message, encoded.
    """

    code: str
    message: str = ""
    details: bytes = b""
    body: bytes = b""

    @cached_property
    def info(self) -> error_details_pb2.ErrorInfo | None:
        """The daemon's own word on the error; None where gRPC answered itself."""
        found = error_details_pb2.ErrorInfo()
        for detail in status_pb2.Status.FromString(self.details).details:
            if detail.Unpack(found):
                return found
        return None

    @property
    def everything(self) -> bytes:
        """All that whoever asked got to see."""
        return b"\n".join((self.message.encode(), self.details, self.body))


@dataclass(frozen=True)
class Case:
    """One hostile call.

    Attributes:
        name: Tells it from the others, for whoever has to repeat it.
        rpc: The full name of the method.
        codes: The statuses that are right.
        request: The message, encoded.
        metadata: What goes along.
        reasons: The reasons of the ErrorInfo that are right; empty for any of the daemon's.
        grpc_itself: The statuses among ``codes`` that gRPC gives by itself, and so without an ErrorInfo.
    """

    name: str
    rpc: str
    codes: frozenset[str]
    request: bytes = b""
    metadata: Metadata = ()
    reasons: frozenset[str] = frozenset()
    grpc_itself: frozenset[str] = frozenset()

    async def send(self, channel: grpc.aio.Channel) -> Answer:
        """Makes the call; of a stream it takes the first message."""
        try:
            body = await (self._unary(channel) if self.rpc in UNARY else self._first(channel))
        except grpc.aio.AioRpcError as error:
            trailers = dict(error.trailing_metadata() or ())
            details = trailers.get("grpc-status-details-bin", b"")
            return Answer(error.code().name, error.details() or "", bytes(details))
        return Answer("OK", body=body)

    async def _unary(self, channel: grpc.aio.Channel) -> bytes:
        call = channel.unary_unary(self.rpc)
        answer: bytes = await call(self.request, metadata=self.metadata, timeout=_SECONDS)
        return answer

    async def _first(self, channel: grpc.aio.Channel) -> bytes:
        # Reflection takes a stream of requests, which one is as well; sending it so can be refused in the middle only.
        stream = channel.unary_stream(self.rpc)(self.request, metadata=self.metadata, timeout=_SECONDS)
        first = await stream.read()
        stream.cancel()
        return first if isinstance(first, bytes) else b""


def case(name: str, method: str, code: str, request: Message | bytes, **more: object) -> Case:
    """A case of a method of the service, with one right status or several, separated by blanks."""
    encoded = request if isinstance(request, bytes) else request.SerializeToString()
    return Case(
        name, method if method.startswith("/") else f"{SERVICE}{method}", frozenset(code.split()), encoded, **more
    )
