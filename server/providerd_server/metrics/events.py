"""Counts what the hub tells of: writes, revisions and deliveries."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from prometheus_client import CollectorRegistry, Histogram

from providerd_server.errors import Kind, Refusal
from providerd_server.hub import Cause, Mailbox, State
from providerd_server.observer import Observer
from providerd_server.snapshot import Revision

# Seconds: from a delivery within one process to a database that keeps everyone waiting.
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

MADE, CANCELLED = "made", "cancelled"

# All outcomes and reasons are shown from the start, since Prometheus sees no increase in the first sample of a series.
_OUTCOMES = (MADE, CANCELLED, *(kind.name.lower() for kind in Kind))
_ENDS = ("CANCELLED", "INTERNAL", "NOT_READY", "BEHIND", "DRAINING", "WATCHER_STALLED")


class Events(Observer):
    """What has happened since the start of this server.

    Attributes:
        deliveries: Messages that watchers have taken, by cause.
        heartbeats: Those that only said that all is as it was.
        folded: Revisions that watchers skipped, since a newer one had replaced them.
        resyncs: How often the store was another or had gone back.
        ends: How many watches have ended, by reason.
        writes: How often a write was ``MADE``, was ``CANCELLED`` by its caller, or ended with which status.
        seconds_writing: How long those took that were made.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.deliveries: Counter[Cause] = Counter(dict.fromkeys(Cause, 0))
        self.heartbeats = self.folded = self.resyncs = 0
        self.ends: Counter[str] = Counter(dict.fromkeys(_ENDS, 0))
        self.writes: Counter[str] = Counter(dict.fromkeys(_OUTCOMES, 0))
        self.seconds_writing = 0.0
        self._delays = Histogram(
            "providerd_delivery_seconds",
            "From a new state of this server until a watcher has taken it.",
            buckets=BUCKETS,
            registry=registry,
        )
        self._write_times = Histogram(
            "providerd_write_seconds",
            "Writes until they were durable.",
            buckets=BUCKETS,
            registry=registry,
        )

    def wrote(self, revision: Revision, began: float, ended: float) -> None:  # noqa: ARG002 - as Observer has it
        """Counts a write."""
        self.writes[MADE] += 1
        self.seconds_writing += ended - began
        self._write_times.observe(ended - began)

    def failed(self, error: BaseException, began: float, ended: float) -> None:  # noqa: ARG002
        """Counts a write that ended with an error."""
        self.writes[_outcome_of(error)] += 1

    def published(self, before: State | None, state: State, cause: Cause | None) -> None:  # noqa: ARG002
        """Counts a resync."""
        self.resyncs += cause is Cause.RESYNC

    def delivered(self, mailbox: Mailbox, state: State, cause: Cause | None) -> None:
        """Counts a message, and what it made superfluous."""
        if cause is None:
            self.heartbeats += 1
            return
        self.deliveries[cause] += 1
        told = mailbox.told
        # The first message tells how things are, however long they have been so.
        if told is None or told is state:
            return
        self._delays.observe(time.monotonic() - state.published_at)
        if told.epoch == state.epoch:
            self.folded += state.revision.skipped_since(told.revision)

    def left(self, mailbox: Mailbox, error: BaseException) -> None:  # noqa: ARG002
        """Counts a watch that has ended."""
        if isinstance(error, asyncio.CancelledError):
            self.ends["CANCELLED"] += 1
        else:
            self.ends[error.reason if isinstance(error, Refusal) else "INTERNAL"] += 1


def _outcome_of(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return CANCELLED
    return (error.kind if isinstance(error, Refusal) else Kind.INTERNAL).name.lower()
