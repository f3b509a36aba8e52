"""The trace of a revision, as far as a server makes it: written, published, delivered."""

from __future__ import annotations

import time
from functools import lru_cache

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider

from providerd import trace_ids
from providerd._version import __version__
from providerd.spans import below
from providerd_server.hub import Cause, Mailbox, State
from providerd_server.observer import RevisionLog
from providerd_server.snapshot import Revision
from providerd_server.tracing.calls import current_watch
from providerd_server.tracing.ids import Ids

# Of how many states the spans are remembered: a message of one that is older is hardly still on its way.
_KEPT = 8


class Revisions(RevisionLog):
    """Makes the spans of revisions, and logs each revision within its span.

    Args:
        provider: Whose spans they are.
        ids: Those of its spans.
    """

    def __init__(self, provider: TracerProvider, ids: Ids) -> None:
        self._tracer = provider.get_tracer("providerd", __version__)
        self._ids = ids
        self._published: dict[tuple[Revision, float], tuple[Context, int]] = {}
        # One revision is delivered to many.
        self._root = lru_cache(_KEPT)(lambda revision: below(provider, revision, trace_ids.write_id(revision)))

    def wrote(self, revision: Revision, began: float, ended: float) -> None:
        """Makes the root of the trace of the revision, and links it with the call that wrote."""
        if not _is_kept(self._root(revision)):
            return
        call = trace.get_current_span()
        caller = call.get_span_context()
        with self._ids.chosen(trace_ids.write_id(revision), trace_ids.trace_id(revision)):
            span = self._tracer.start_span(
                "write",
                Context(),
                attributes=_identity(revision),
                links=[trace.Link(caller)] if caller.is_valid else [],
                start_time=_wall_clock(began),
            )
        span.end(_wall_clock(ended))
        call.add_link(span.get_span_context(), _identity(revision))

    def published(self, before: State | None, state: State, cause: Cause | None) -> None:
        """Makes the span that deliveries are below.

        The first state of a process is no news of its revision, which may be years old, and so not in its trace.
        """
        root = self._root(state.revision)
        if before is None or not _is_kept(root):
            super().published(before, state, cause)
            return
        active, began = state.snapshot.active, _wall_clock(state.published_at)
        span = self._tracer.start_span(
            "revision",
            root,
            attributes=_identity(state.revision)
            | ({} if active is None else {"providerd.provider": active.provider_name})
            | ({} if cause is None else {"providerd.cause": _name(cause)})
            | {"providerd.watchers": state.watchers},
            start_time=began,
        )
        if len(self._published) >= _KEPT:
            self._published.pop(next(iter(self._published)))
        self._published[_key(state)] = trace.set_span_in_context(span, Context()), began
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            super().published(before, state, cause)

    def delivered(self, mailbox: Mailbox, state: State, cause: Cause | None) -> None:
        """Makes a span of what a watcher was told anew; one that knew nothing was not told of a change."""
        known = mailbox.known if mailbox.told is None else mailbox.told.revision
        root = self._root(state.revision)
        if cause is None or known is None or not _is_kept(root):
            return
        # Not computed again: clocks are read one after the other, and no child may begin before its parent.
        parent, published_at = self._published.get(_key(state)) or (root, _wall_clock(state.published_at))
        watch = current_watch.get()
        revision, told = state.revision, _name(cause)
        span_id = trace_ids.delivery_id(revision, watch, told) if watch else self._ids.generate_span_id()
        with self._ids.chosen(span_id):
            span = self._tracer.start_span(
                "deliver",
                parent,
                kind=trace.SpanKind.PRODUCER,
                attributes=_identity(revision)
                | {
                    "providerd.watcher": mailbox.watcher,
                    "providerd.cause": told,
                    "providerd.folded": revision.skipped_since(known),
                },
                start_time=max(published_at, _wall_clock(mailbox.since)),
            )
        span.end()


def _key(state: State) -> tuple[Revision, float]:
    # Not the state itself: that holds API keys, which should not outlive it.
    return state.revision, state.published_at


def _identity(revision: Revision) -> dict[str, str | int]:
    return {"providerd.store_id": revision.store_id, "providerd.revision": revision.number}


def _name(cause: Cause) -> str:
    return cause.name.lower()


def _is_kept(context: Context) -> bool:
    return trace.get_current_span(context).get_span_context().trace_flags.sampled


def _wall_clock(moment: float) -> int:
    """A time of ``time.monotonic`` in nanoseconds since the epoch."""
    return time.time_ns() - round((time.monotonic() - moment) * 1e9)
