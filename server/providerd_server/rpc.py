"""Around every RPC: decoding, a request id, a log line, and errors that say everything but secrets."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NoReturn, TypeAlias, TypeVar

import grpc
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from providerd_server.access.caller import current
from providerd_server.errors import Kind, Refusal
from providerd_server.validation import reported

log = structlog.get_logger(__name__)

Request = TypeVar("Request", bound=Message)
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

DOMAIN = "providerd"
_DETAILS_TRAILER = "grpc-status-details-bin"
_ABORT_SECONDS = 5.0
_REQUEST_ID_HEADER = "x-request-id"
_CODES: dict[Any, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def unary(
    request_type: type[Request],
    handle: Callable[[Request, Context], Awaitable[bytes | Message]],
    *,
    level: str = "debug",
) -> tuple[str, Handler]:
    """The name and gRPC handler of a unary RPC.

    Args:
        request_type: What it takes; it is named after the RPC.
        handle: Answers; it may do so with bytes that are encoded already.
        level: At which level a call is logged.
    """
    name = _name_of(request_type)

    async def behave(data: bytes, context: Context) -> bytes:
        with _request(name, context, level):
            try:
                request = _decode(request_type, data)
                _take_principal(request)
                _bind_subject(request)
                answer = await handle(request, context)
                encoded: bytes = answer if isinstance(answer, bytes) else answer.SerializeToString()
            except Exception as error:
                await abort(context, error)
            _log_end(grpc.StatusCode.OK)
            return encoded

    return name, grpc.unary_unary_rpc_method_handler(behave)


def streaming(
    request_type: type[Request], handle: Callable[[Request, Context], Awaitable[None]]
) -> tuple[str, Handler]:
    """The name and gRPC handler of a server-streaming RPC; ``handle`` writes encoded messages to the context."""
    name = _name_of(request_type)

    async def behave(data: bytes, context: Context) -> None:
        with _request(name, context, "debug"):
            try:
                await handle(_decode(request_type, data), context)
                _log_end(grpc.StatusCode.OK)
            except asyncio.CancelledError:
                _log_end(grpc.StatusCode.CANCELLED)
                raise
            except Exception as error:
                await abort(context, error)

    return name, grpc.unary_stream_rpc_method_handler(behave)


def is_local(peer: str) -> bool:
    """Whether a gRPC peer string names a process on this machine: loopback or a unix socket."""
    return peer.startswith(("unix:", "ipv4:127.", "ipv6:[::1]", "ipv6:%5B::1%5D"))


def status_of(context: Context, error: BaseException) -> grpc.StatusCode:
    """What a call whose handler raised ``error`` ends with; grpcio has it as it was given, or as its core's number."""
    code: Any = context.code()
    found = _CODES.get(code, code) or grpc.StatusCode.OK
    if found is not grpc.StatusCode.OK:
        return found
    return grpc.StatusCode.CANCELLED if isinstance(error, asyncio.CancelledError) else grpc.StatusCode.UNKNOWN


def malformed(what: str = "message that this RPC takes") -> Refusal:
    """The refusal of bytes that are no such message."""
    return Refusal(Kind.INVALID_ARGUMENT, "MALFORMED_REQUEST", f"the request is not a {what}")


async def abort(context: Context, error: Exception) -> NoReturn:
    """Ends a call with the status of a ``Refusal``; of any other error the peer only learns that there was one."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    refusal = error if isinstance(error, Refusal) else _internal(error)
    code = grpc.StatusCode[refusal.kind.name]
    if isinstance(refusal.__cause__, Exception):
        log.warning("the database refused or failed", error=_one_line(refusal.__cause__), reason=refusal.reason)
    _log_end(code, reason=refusal.reason)
    details = ((_DETAILS_TRAILER, _details(code, refusal)),)
    # A peer that reads nothing does not take its status either, one that is gone cannot, and one whose call has ended
    # meanwhile has it: none of them keeps the handler.
    with contextlib.suppress(TimeoutError, grpc.aio.InternalError, grpc.aio.UsageError):
        async with asyncio.timeout(_ABORT_SECONDS):
            await context.abort(code, refusal.message[:1000], details)
    raise asyncio.CancelledError


class _request:  # noqa: N801 - used as a with block, reads as one
    """Binds what every log line of one request carries."""

    def __init__(self, name: str, context: Context, level: str) -> None:
        self._values = {"rpc": name, "peer": context.peer(), "request_id": _request_id(context), "level_of_end": level}
        if (principal := current().principal) is not None:
            self._values["principal"] = principal.name

    def __enter__(self) -> None:
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(**self._values, began=time.monotonic())

    def __exit__(self, *_: object) -> None:
        structlog.contextvars.clear_contextvars()


def _request_id(context: Context) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == _REQUEST_ID_HEADER and isinstance(value, str) and re.fullmatch(r"[\w.:-]{1,64}", value):
            return value
    return uuid.uuid4().hex


def _bind_subject(request: Any) -> None:
    """Has the log lines of a call say what it is about and who says to make it."""
    fields = request.DESCRIPTOR.fields_by_name
    subject = request.provider if "provider" in fields else request
    values = {"provider_name": getattr(subject, "provider_name", ""), "actor": getattr(request, "actor", "")}
    structlog.contextvars.bind_contextvars(**{name: value[:255] for name, value in values.items() if value})


def _take_principal(request: Any) -> None:
    """Puts the principal in the place of whoever a caller says to be."""
    principal = current().principal
    # Where no reason can be given, nothing is changed: ListHistory looks for an actor.
    if principal is not None and all(name in request.DESCRIPTOR.fields_by_name for name in ("actor", "reason")):
        request.actor = principal.name


def _name_of(request_type: type[Message]) -> str:
    # Requests are named after their RPCs, which buf's linter keeps.
    return request_type.DESCRIPTOR.name.removesuffix("Request")


def _decode(request_type: type[Request], data: bytes) -> Request:
    try:
        return request_type.FromString(data)
    except DecodeError:
        raise malformed(request_type.DESCRIPTOR.full_name) from None


def _internal(error: Exception) -> Refusal:
    request_id = str(structlog.contextvars.get_contextvars().get("request_id", ""))
    log.error("an RPC failed unexpectedly", exc_info=error)
    return Refusal(
        Kind.INTERNAL,
        "INTERNAL",
        f"the daemon failed; its log has the details under request id {request_id}",
        metadata={"request_id": request_id},
    )


def _details(code: grpc.StatusCode, refusal: Refusal) -> bytes:
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=refusal.reason, domain=DOMAIN, metadata=refusal.metadata)
    ]
    if refusal.violations:
        details.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(field=v.field[:300], description=v.description[:500])
                    for v in reported(refusal.violations)
                ]
            )
        )
    status = status_pb2.Status(code=code.value[0], message=refusal.message[:1000], details=_packed(details))
    encoded: bytes = status.SerializeToString()
    return encoded


def _packed(messages: Iterable[Message]) -> list[AnyMessage]:
    packed = []
    for message in messages:
        box = AnyMessage()
        box.Pack(message)
        packed.append(box)
    return packed


def _log_end(code: grpc.StatusCode, **more: str) -> None:
    values = structlog.contextvars.get_contextvars()
    milliseconds = round((time.monotonic() - values.get("began", time.monotonic())) * 1000, 1)
    at_level = getattr(log, values.get("level_of_end", "debug"))
    at_level("rpc", code=code.name, milliseconds=milliseconds, **more)


def _one_line(error: Exception) -> str:
    # The first line is the server's message; what follows may quote a row.
    return (str(error).splitlines() or [type(error).__name__])[0]
