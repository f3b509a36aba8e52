"""Counts and times the calls of all RPCs, under the names that gRPC's own libraries for Prometheus use.

https://github.com/grpc-ecosystem/go-grpc-middleware/tree/main/providers/prometheus
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from prometheus_client import CollectorRegistry, Counter, Histogram

from providerd_server.metrics.events import BUCKETS
from providerd_server.rpc import Context, Handler, status_of

_CALL = ["grpc_service", "grpc_method"]


class Calls(grpc.aio.ServerInterceptor):
    """Stands before everything else, so that it sees those, too, that are turned away."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._started = Counter("grpc_server_started", "Calls that came in.", _CALL, registry=registry)
        self._handled = Counter(
            "grpc_server_handled", "Calls that ended, by status.", [*_CALL, "grpc_code"], registry=registry
        )
        self._seconds = Histogram(
            "grpc_server_handling_seconds", "How long unary calls took.", _CALL, buckets=BUCKETS, registry=registry
        )

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Puts itself before the handler of a call, which takes a stream of requests: see ``Guard``."""
        handler: Any = await continuation(handler_call_details)
        if handler is None:
            # What does not exist has no name that a caller could not choose.
            self._handled.labels("", "", grpc.StatusCode.UNIMPLEMENTED.name).inc()
            return None
        _, service, method = handler_call_details.method.split("/")
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._counted(handler.stream_stream, service, method), None, handler.response_serializer
            )
        return grpc.stream_unary_rpc_method_handler(
            self._counted(handler.stream_unary, service, method, timed=True), None, handler.response_serializer
        )

    def _counted(self, behave: Any, service: str, method: str, *, timed: bool = False) -> Any:
        async def counted(requests: AsyncIterator[Any], context: Context) -> Any:
            self._started.labels(service, method).inc()
            began = time.monotonic()
            code = grpc.StatusCode.OK
            try:
                return await behave(requests, context)
            except BaseException as error:
                code = status_of(context, error)
                raise
            finally:
                self._handled.labels(service, method, code.name).inc()
                if timed:
                    self._seconds.labels(service, method).observe(time.monotonic() - began)

        return counted
