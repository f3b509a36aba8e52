"""A collector of OpenTelemetry for tests: takes traces by OTLP over HTTP, and keeps them."""

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1 import trace_pb2

from providerd import trace_ids

_PATIENCE = 20.0


@dataclass(frozen=True)
class Span:
    """A span as it arrived; ids in hexadecimal, no parent is the empty text."""

    service: str
    instance: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: str
    start: int
    end: int
    attributes: dict[str, Any]
    links: list[tuple[str, str]]
    status: trace_pb2.Status = field(repr=False)


class Collector:
    """What arrived so far. ``endpoint`` is where to send it."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.raw = b""
        self.headers: list[dict[str, str]] = []
        # Answers instead of taking anything, where it is set.
        self.refuses_with: int | None = None
        self.endpoint = ""

    @property
    def environment(self) -> dict[str, str]:
        """What has a daemon send traces here, soon."""
        return {
            "PROVIDERD_TRACING": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }

    def trace(self, store_id: str, number: int) -> list[Span]:
        """The spans in the trace of a revision, by the time they began."""
        wanted = revision_trace(store_id, number)
        return sorted((span for span in self.spans if span.trace_id == wanted), key=lambda span: span.start)

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def until(self, condition: Callable[[], Any], what: str = "") -> None:
        """Returns once it holds."""
        end = time.monotonic() + _PATIENCE
        while not condition():
            assert time.monotonic() < end, f"{what or 'it'} never came: {self.spans}"
            time.sleep(0.02)

    def take(self, body: bytes) -> None:
        self.raw += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            of = _attributes(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans += [_span(of, each) for each in scope.spans]


@dataclass(frozen=True)
class _Numbered:
    store_id: str
    number: int


def revision_trace(store_id: str, number: int) -> str:
    """The trace id of a revision, in hexadecimal."""
    return f"{trace_ids.trace_id(_Numbered(store_id, number)):032x}"


def root_of(store_id: str, number: int) -> str:
    """The span id of the write of a revision, in hexadecimal."""
    return f"{trace_ids.write_id(_Numbered(store_id, number)):016x}"


@contextmanager
def collecting(port: int = 0) -> Iterator[Collector]:
    """A collector on a port of loopback, a free one unless it is given, for as long as the block."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.headers.append({name.lower(): value for name, value in self.headers.items()})
            if collector.refuses_with is None and self.path == "/v1/traces":
                collector.take(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            self.send_response(collector.refuses_with or (200 if self.path == "/v1/traces" else 404))
            self.send_header("content-type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, *_: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        collector.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


def _span(resource: dict[str, Any], span: trace_pb2.Span) -> Span:
    return Span(
        service=resource["service.name"],
        instance=resource.get("service.instance.id", ""),
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        status=span.status,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
