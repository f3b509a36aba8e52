"""Counts what the hub tells of: writes, revisions and deliveries."""

from __future__ import annotations

import time
from collections import Counter

from prometheus_client import CollectorRegistry, Histogram

from providerd_server.errors import Refusal
from providerd_server.hub import Cause, Mailbox, State
from providerd_server.observer import Observer
from providerd_server.snapshot import Revision

# Seconds: from a delivery within one process to a database that keeps everyone waiting.
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

MADE = "made"


class Events(Observer):
    """What has happened since the start of this server.

    Attributes:
        deliveries: Messages that watchers have taken, by cause.
        heartbeats: Those that only said that all is as it was.
        folded: Revisions that watchers skipped, since a newer one had replaced them.
        resyncs: How often the store was another or had gone back.
        writes: How often a write was ``MADE``, or ended with which status.
        seconds_writing: How long those took that were made.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.deliveries: Counter[Cause] = Counter(dict.fromkeys(Cause, 0))
        self.heartbeats = self.folded = self.resyncs = 0
        self.writes: Counter[str] = Counter()
        self.seconds_writing = 0.0
        self._delays = Histogram(
            "providerd_delivery_seconds",
            "From a new state of this server until a watcher has taken it.",
            buckets=BUCKETS,
            registry=registry,
        )
        self._write_times = Histogram(
            "providerd_write_seconds",
            "Writes until they were durable or refused, by outcome: made, or the status that they ended with.",
            ["outcome"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._write_times.labels(MADE)

    def wrote(self, revision: Revision, began: float, ended: float) -> None:  # noqa: ARG002 - as Observer has it
        """Counts a write."""
        self.seconds_writing += ended - began
        self._wrote(MADE, ended - began)

    def refused(self, refusal: Refusal, began: float, ended: float) -> None:
        """Counts a write that was not made."""
        self._wrote(refusal.kind.name.lower(), ended - began)

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

    def _wrote(self, outcome: str, seconds: float) -> None:
        self.writes[outcome] += 1
        self._write_times.labels(outcome).observe(seconds)
