"""Where spans go: by OTLP to a collector, from a thread of its own, whatever becomes of the collector."""

from __future__ import annotations

import asyncio
import os
import threading
import uuid
from collections.abc import Sequence
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from providerd._version import __version__
from providerd_server.errors import ConfigurationError
from providerd_server.tracing.complaints import Complaints
from providerd_server.tracing.ids import Ids

_PROTOCOL = "http/protobuf"
_PROTOCOL_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

# How long the end of the process waits for the last spans to be sent, in seconds.
_LAST_SPANS = 2.0


class Export:
    """The tracer provider of a server, set up as the standard variables of OpenTelemetry say.

    Args:
        service_name: What the server is called, unless they say otherwise.

    Raises:
        ConfigurationError: They ask for what is not there.
    """

    def __init__(self, service_name: str) -> None:
        _check_protocol()
        self._complaints = Complaints()
        self.ids = Ids()
        try:
            self.provider = TracerProvider(
                resource=_resource(service_name), id_generator=self.ids, shutdown_on_exit=False
            )
            self.provider.add_span_processor(BatchSpanProcessor(_Heard(OTLPSpanExporter(), self._complaints)))
        except Exception as error:
            self._complaints.end()
            # Some of the variables hold secrets, and errors quote them.
            raise ConfigurationError(
                f"PROVIDERD_TRACING: OpenTelemetry cannot be set up: {type(error).__name__}; check the OTEL_* variables"
            ) from None
        structlog.configure(processors=[_add_trace, *structlog.get_config()["processors"]])

    async def close(self) -> None:
        """Sends what is left; a collector that does not answer is given up on after two seconds."""
        thread = threading.Thread(target=self.provider.shutdown, name="last-spans", daemon=True)
        thread.start()
        await asyncio.to_thread(thread.join, _LAST_SPANS)
        self._complaints.end()
        processors = structlog.get_config()["processors"]
        structlog.configure(processors=[each for each in processors if each is not _add_trace])


class _Heard(SpanExporter):
    """An exporter whose success ends a complaint."""

    def __init__(self, exporter: SpanExporter, complaints: Complaints) -> None:
        self._exporter = exporter
        self._complaints = complaints

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._complaints.over()
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _check_protocol() -> None:
    asked = [(name, value) for name in _PROTOCOL_VARIABLES if (value := os.environ.get(name))]
    if asked and asked[0][1] != _PROTOCOL:
        raise ConfigurationError(
            f"PROVIDERD_TRACING sends {_PROTOCOL}, to port 4318 of most collectors; {asked[0][0]} asks for another:"
            " unset it, and check OTEL_EXPORTER_OTLP_ENDPOINT"
        )


def _resource(service_name: str) -> Resource:
    """What the variables say of this process, completed by what it knows itself."""
    known = {
        "service.name": service_name,
        "service.version": __version__,
        "service.instance.id": str(uuid.uuid4()),
    }
    return Resource.create({**known, **OTELResourceDetector().detect().attributes})


def _add_trace(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Has a log line that is written within a span say of which trace."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
    return event
