"""How a server is at one moment: what people are told by GetStatus and Prometheus by its gauges."""

from __future__ import annotations

import enum
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from providerd_server.access.guard import Guard
from providerd_server.certificates import Certificates
from providerd_server.hub import Hub, Mailbox, State
from providerd_server.source import Condition, Source


class WatcherState(enum.Enum):
    """How far a watcher is."""

    CURRENT = "current"
    BEHIND = "behind"
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
        slowest_lag: By how many revisions the slowest watcher is behind.
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
        mailboxes = self._hub.mailboxes
        return Moment(
            state=state,
            age=self._source.age,
            stale=self._is_stale(),
            condition=self._source.condition,
            watchers=Counter(_state_of(mailbox, state) for mailbox in mailboxes),
            slowest_lag=max((_lag(mailbox, state) for mailbox in mailboxes), default=0),
            calls=self._guard.calls,
            denials=self._guard.denials.counted,
            crowded_out=self._guard.crowded_out,
            certificate_ends=self._certificates.ends if self._certificates else None,
        )


def _state_of(mailbox: Mailbox, newest: State | None) -> WatcherState:
    if mailbox.told is None:
        return WatcherState.STARTING
    return WatcherState.CURRENT if mailbox.told is newest else WatcherState.BEHIND


def _lag(mailbox: Mailbox, newest: State | None) -> int:
    told = mailbox.told
    if told is None or newest is None or told.epoch != newest.epoch:
        return 0
    return newest.revision.number - told.revision.number
