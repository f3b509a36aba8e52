"""The spans of calls, which continue the traces of those who make them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, TypeAlias

import grpc
from opentelemetry import trace
from opentelemetry.context import Context as TraceContext
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from providerd._version import __version__
from providerd.tracing import WATCH_HEADER
from providerd_server.rpc import Context, Handler, status_of
from providerd_server.service import SERVICE_NAME

_Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"
_Behavior: TypeAlias = "Callable[[Any, Context], Awaitable[Any]]"

# What the watch that this task serves is called by its client; empty when it is not called anything.
current_watch: ContextVar[str] = ContextVar("current_watch", default="")

_W3C = TraceContextTextMapPropagator()

# For these the server is to blame: https://opentelemetry.io/docs/specs/semconv/rpc/grpc/
_FAULTS = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}


class Calls(grpc.aio.ServerInterceptor):
    """Makes a span of each unary call. Watches go on for days and have none; health and reflection are not traced.

    It belongs behind the guard, so that nobody unknown makes spans.

    Args:
        provider: Whose spans they are.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("providerd", __version__)

    async def intercept_service(
        self, continuation: _Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Puts itself before the handler of a call."""
        handler: Any = await continuation(handler_call_details)
        method = handler_call_details.method.removeprefix("/")
        if handler is None or not method.startswith(f"{SERVICE_NAME}/"):
            return handler  # type: ignore[no-any-return]
        coders = handler.request_deserializer, handler.response_serializer
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(_named(handler.unary_stream), *coders)
        return grpc.unary_unary_rpc_method_handler(self._traced(method, handler.unary_unary), *coders)

    def _traced(self, method: str, handle: _Behavior) -> _Behavior:
        async def behave(request: Any, context: Context) -> Any:
            # Whatever an exception says is for the log: it may quote the request.
            with self._tracer.start_as_current_span(
                method,
                _W3C.extract(_metadata(context), TraceContext()),
                kind=trace.SpanKind.SERVER,
                attributes={"rpc.system.name": "grpc", "rpc.method": method},
                record_exception=False,
                set_status_on_exception=False,
            ) as span:
                try:
                    answer = await handle(request, context)
                except BaseException as error:
                    _end(span, status_of(context, error))
                    raise
                _end(span, grpc.StatusCode.OK)
                return answer

        return behave


def _named(handle: _Behavior) -> _Behavior:
    """Has what is done in a watch know what the client calls it."""

    async def behave(request: Any, context: Context) -> Any:
        name = _metadata(context).get(WATCH_HEADER, "")
        current_watch.set(name if re.fullmatch("[0-9a-f]{16}", name) else "")
        return await handle(request, context)

    return behave


def _metadata(context: Context) -> dict[str, str]:
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


def _end(span: trace.Span, code: grpc.StatusCode) -> None:
    span.set_attribute("rpc.response.status_code", code.name)
    if code in _FAULTS:
        span.set_attribute("error.type", code.name)
        span.set_status(trace.StatusCode.ERROR)
