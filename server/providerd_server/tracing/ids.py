"""Ids of spans: random, but for those that others derive as well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

_span_id: ContextVar[int | None] = ContextVar("span_id", default=None)
_trace_id: ContextVar[int | None] = ContextVar("trace_id", default=None)


class Ids(RandomIdGenerator):
    """Makes the ids of all spans of a tracer provider."""

    def generate_span_id(self) -> int:
        """The chosen one, or a random one."""
        return _span_id.get() or super().generate_span_id()

    def generate_trace_id(self) -> int:
        """The chosen one, or a random one."""
        return _trace_id.get() or super().generate_trace_id()

    @contextmanager
    def chosen(self, span_id: int, trace_id: int | None = None) -> Iterator[None]:
        """Has the span that is begun in the block get this id and, where it has no parent, this trace."""
        span, trace = _span_id.set(span_id), _trace_id.set(trace_id)
        try:
            yield
        finally:
            _span_id.reset(span)
            _trace_id.reset(trace)
