"""How a server is at one moment: what people are told by GetStatus and Prometheus by its gauges."""

from __future__ import annotations

import enum
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter

from providerd_server.access.guard import Guard
from providerd_server.certificates import Certificates
from providerd_server.hub import Hub, Mailbox, State
from providerd_server.source import Condition, Source


class WatcherState(enum.Enum):
    """How far a watcher is."""

    CURRENT = "current"
    BEHIND = "behind"
    # What it knows is of another store, or of a past that the store has left: revisions do not say how far that is.
    RESYNCING = "resyncing"
    STARTING = "starting"


@dataclass(frozen=True, slots=True)
class Moment:
    """How a server is.

    Attributes:
        state: The newest state; None before the first.
        age: Seconds since that was verified; inf before the first time.
        stale: Whether answers say so.
        condition: The source's.
        watchers: How many are how far; zero where nothing is said.
        slowest_lag: By how many revisions the slowest of those behind is.
        calls: Unary calls in flight.
        denials: Calls and streams that were turned away for who made them, by reason.
        crowded_out: Those that were turned away since there was no room for more, by reason.
        certificate_ends: When the certificate does; None without TLS.
    """

    state: State | None
    age: float
    stale: bool
    condition: Condition
    watchers: Counter[WatcherState]
    slowest_lag: int
    calls: int
    denials: Mapping[str, int]
    crowded_out: Mapping[str, int]
    certificate_ends: datetime | None


class Vitals:
    """Looks at the parts of a server, which are read where they are: nothing is kept here but when it started.

    Args:
        hub: Who watches, and what.
        source: How it follows the truth.
        is_stale: Whether answers are.
        guard: Who was turned away.
        certificates: What TLS is spoken with, if it is.
    """

    def __init__(
        self,
        hub: Hub,
        source: Source,
        is_stale: Callable[[], bool],
        guard: Guard,
        certificates: Certificates | None,
    ) -> None:
        self.started_at = time.time()
        self._hub = hub
        self._source = source
        self._is_stale = is_stale
        self._guard = guard
        self._certificates = certificates

    def now(self) -> Moment:
        """How everything is."""
        state = self._hub.state
        watchers, slowest_lag = _progress(self._hub.mailboxes, state)
        return Moment(
            state=state,
            age=self._source.age,
            stale=self._is_stale(),
            condition=self._source.condition,
            watchers=watchers,
            slowest_lag=slowest_lag,
            calls=self._guard.calls,
            denials=self._guard.denials.counted,
            crowded_out=self._guard.crowded_out,
            certificate_ends=self._certificates.ends if self._certificates else None,
        )


def _progress(mailboxes: Iterable[Mailbox], newest: State | None) -> tuple[Counter[WatcherState], int]:
    """How many watchers are how far, and by how many revisions the slowest is behind."""
    watchers: Counter[WatcherState] = Counter()
    slowest = 0
    # Watchers may be many thousands, and their states are few: those are counted without a step of Python for each.
    for told, count in Counter(map(attrgetter("told"), mailboxes)).items():
        state = _state_of(told, newest)
        watchers[state] += count
        if told is not None and newest is not None and state is WatcherState.BEHIND:
            slowest = max(slowest, newest.revision.number - told.revision.number)
    return watchers, slowest


def _state_of(told: State | None, newest: State | None) -> WatcherState:
    if told is None:
        return WatcherState.STARTING
    if newest is None or told is newest:
        return WatcherState.CURRENT
    return WatcherState.BEHIND if told.epoch == newest.epoch else WatcherState.RESYNCING
