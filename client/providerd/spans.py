"""The spans of a client, made with the tracer provider of its process."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context

from providerd import trace_ids
from providerd._version import __version__
from providerd.changes import Cause
from providerd.provider import Revision
from providerd.tracing import WATCH_HEADER, Metadata, Tracing

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from providerd.cache import Cache
    from providerd.changes import Change
    from providerd.trace_ids import Numbered
    from providerd.v1 import provider_pb2 as pb


class Spans(Tracing):
    """Leaves a span of each state that the cache took after its first one, and hands the traces of callers on."""

    def __init__(self, provider: trace.TracerProvider | None) -> None:
        """Takes whose tracer to use; None for that of the process, also where it is set later."""
        self._provider = provider
        self._tracer = trace.get_tracer("providerd", __version__, provider)
        self._watch = ""

    def of_call(self) -> Metadata:
        """Returns what the process's propagator makes of the current span: ``traceparent``, by default."""
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        # Headers of gRPC are in lower case, and what is not ASCII fails the call.
        return tuple((name.lower(), value) for name, value in carrier.items() if value.isascii())

    def of_watch(self) -> Metadata:
        """Returns a new id of the stream."""
        self._watch = secrets.token_hex(8)
        return ((WATCH_HEADER, self._watch),)

    def applied(
        self, message: pb.WatchActiveResponse, change: Change | None, cache: Cache, began: int
    ) -> AbstractContextManager[object]:
        """Returns a context in which the span is the current one; it ends with it.

        The first state of a client is not traced: the revision has not come to it, it has come to the revision.
        """
        told = Cause.from_proto(message.active.cause)
        if change is not None and change.cause is Cause.INITIAL:
            return super().applied(message, change, cache, began)
        revision = Revision.from_proto(message.revision)
        parent = trace_ids.delivery_id(revision, self._watch, told.value)
        span = self._tracer.start_span(
            "apply",
            below(self._provider or trace.get_tracer_provider(), revision, parent),
            kind=trace.SpanKind.CONSUMER,
            attributes={
                "providerd.store_id": revision.store_id,
                "providerd.revision": revision.number,
                "providerd.cause": told.value if change is None else change.cause.value,
                "providerd.changed": change is not None,
                "providerd.state": cache.state.value,
            },
            start_time=began,
        )
        return trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False)


def below(provider: Any, revision: Numbered, span_id: int) -> Context:
    """Returns the context of a span in the trace of a revision.

    Args:
        provider: Whose sampler decides on the trace.
        revision: Whose trace it is.
        span_id: The parent, which may be a span of another process, or one that nobody has recorded.
    """
    trace_id = trace_ids.trace_id(revision)
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if _samples(provider, trace_id) else trace.TraceFlags.DEFAULT)
    parent = trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(trace.NonRecordingSpan(parent), Context())


def _samples(provider: Any, trace_id: int) -> bool:
    """Says whether a trace is kept, as the sampler would decide on its root.

    Nobody passes that decision on, so everybody makes it; those who keep the same ratio keep the same traces. Only the
    SDK of OpenTelemetry shows its sampler.
    """
    sampler = getattr(provider, "sampler", None)
    if sampler is None:
        return True
    decision = sampler.should_sample(parent_context=Context(), trace_id=trace_id, name="write").decision
    return bool(decision.is_sampled())
