"""The newest snapshot, and a one-slot mailbox for everyone who watches it.

The hub knows neither gRPC nor SQL. A source publishes snapshots into it; a watcher subscribes and takes the newest
state whenever it is ready for one, so that a stalled watcher costs one slot and delays nobody.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from providerd_server.observer import Observer, Observers
from providerd_server.snapshot import Revision, Snapshot, StoredProvider

# Seconds until a watcher hears, at the latest, that what it has turned stale.
_FRESHNESS_INTERVAL = 0.25


class Cause(enum.Enum):
    """Why a watcher is told; each name is that of a ``ChangeCause`` of the API."""

    INITIAL = enum.auto()
    SWITCHED = enum.auto()
    UPDATED = enum.auto()
    KEY_CHANGED = enum.auto()
    RESYNC = enum.auto()
    NONE_ACTIVE = enum.auto()


class State:
    """A published snapshot and what the hub knows of its past.

    Attributes:
        snapshot: The picture of the database.
        epoch: Moves whenever revision numbers of before stop being comparable: another store, or a restored one.
        active_since: The lowest revision number at which the active provider is known to have looked as now.
        published_at: When it became the state, by ``time.monotonic``.
        watchers: How many watched when it did.
    """

    __slots__ = ("_encoded", "active_since", "epoch", "published_at", "snapshot", "watchers")

    def __init__(self, snapshot: Snapshot, epoch: int, active_since: int) -> None:
        self.snapshot = snapshot
        self.epoch = epoch
        self.active_since = active_since
        self.published_at = time.monotonic()
        self.watchers = 0
        self._encoded: dict[object, bytes] = {}

    @property
    def revision(self) -> Revision:
        """The revision of the snapshot."""
        return self.snapshot.revision

    def encoded(self, key: object, encode: Callable[[], bytes]) -> bytes:
        """The bytes of one distinct response, made once per state and shared by everyone who is sent it."""
        found = self._encoded.get(key)
        if found is None:
            found = self._encoded[key] = encode()
        return found

    def is_current_for(self, known: Revision) -> bool:
        """Whether a client that has applied ``known`` has the active provider as it is now."""
        return known.store_id == self.revision.store_id and self.active_since <= known.number <= self.revision.number


class Mailbox:
    """One watcher's view of the hub: the newest state, and a bell that rings when there is a newer one.

    Attributes:
        watcher: Who watches, as it calls itself.
        known: The revision that it knew when it came, as it says; None when it knew none.
        since: When it came, by ``time.monotonic``.
        rang_at: When it first rang since the last ``take``, by ``time.monotonic``.
        told: The state up to which the watcher knows everything; None before it was told anything.
        told_stale: Whether the watcher was last told that the state is stale; None before it was told anything.
    """

    __slots__ = ("_bell", "_hub", "known", "rang_at", "since", "told", "told_stale", "watcher")

    def __init__(self, hub: Hub, watcher: str, known: Revision | None) -> None:
        self.watcher = watcher
        self.known = known
        self.since = self.rang_at = time.monotonic()
        self.told: State | None = None
        self.told_stale: bool | None = None
        self._hub = hub
        self._bell = asyncio.Event()

    def ring(self) -> None:
        """Wakes the watcher."""
        if not self._bell.is_set():
            self.rang_at = time.monotonic()
            self._bell.set()

    def take(self) -> State | None:
        """The newest state; None before the first was published."""
        self._bell.clear()
        return self._hub.state

    def delivered(self, state: State, cause: Cause | None) -> None:
        """Notes that the watcher has taken a message of ``state``: a heartbeat, where ``cause`` is None."""
        self._hub.observers.delivered(self, state, cause)
        self.told = state

    async def wait(self, seconds: float) -> bool:
        """Waits for something new since the last ``take``; False when ``seconds`` went by without."""
        try:
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        except TimeoutError:
            return False
        return True


class Hub:
    """Holds the current state and tells watchers of the next one.

    Args:
        observers: Are told what happens, in this order.
    """

    def __init__(self, *observers: Observer) -> None:
        self.observers = Observers(observers)
        self.state: State | None = None
        self.draining = False
        self._mailboxes: set[Mailbox] = set()
        self._ready = asyncio.Event()
        self._acknowledged: Revision | None = None
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def mailboxes(self) -> Collection[Mailbox]:
        """Those of the watchers that are subscribed."""
        return self._mailboxes

    def publish(self, snapshot: Snapshot) -> None:
        """Makes ``snapshot`` the current one. Publishing the current one again changes nothing."""
        before = self.state
        if before is not None and before.snapshot == snapshot and _same_key(before.snapshot, snapshot):
            return
        self.state = _next_state(before, snapshot)
        self.state.watchers = len(self._mailboxes)
        if before is not None and before.epoch != self.state.epoch:
            # Its number was of a past that is gone; nothing would ever reach it again.
            self._acknowledged = None
        self._ready.set()
        self._ring_all()
        cause = Cause.INITIAL if before is None else cause_between(before, self.state)
        self.observers.published(before, self.state, cause)

    @contextmanager
    def subscribe(self, watcher: str = "", known: Revision | None = None) -> Iterator[Mailbox]:
        """A mailbox for as long as the block runs. Its first ``take`` and all later rings leave no gap between."""
        mailbox = Mailbox(self, watcher, known)
        self._mailboxes.add(mailbox)
        self._empty.clear()
        try:
            yield mailbox
        except BaseException as error:
            self.observers.left(mailbox, error)
            raise
        finally:
            self._mailboxes.discard(mailbox)
            if not self._mailboxes:
                self._empty.set()

    def wrote(self, revision: Revision, began: float) -> None:
        """Tells observers that a write of this daemon has just made ``revision``."""
        self.observers.wrote(revision, began, time.monotonic())

    def failed(self, error: BaseException, began: float) -> None:
        """Tells observers that a write of this daemon has just ended with an error."""
        self.observers.failed(error, began, time.monotonic())

    def acknowledge(self, revision: Revision) -> None:
        """Remembers that a caller was told of ``revision``, which may be ahead of the state."""
        told = self._acknowledged
        if told is None or revision.store_id != told.store_id or revision.number > told.number:
            self._acknowledged = revision

    @property
    def is_behind(self) -> bool:
        """Whether the state is older than what some caller was told was done."""
        known, told = self.state, self._acknowledged
        if known is None or told is None or known.revision.store_id != told.store_id:
            return False
        return known.revision.number < told.number

    async def follow_freshness(self, is_stale: Callable[[], bool]) -> None:
        """Rings whoever was told that the state is fresh and it is stale, or the other way round; until cancelled."""
        while True:
            self._ring_who_was_told(not is_stale())
            await asyncio.sleep(_FRESHNESS_INTERVAL)

    async def wait_ready(self) -> None:
        """Returns once a snapshot has been published."""
        await self._ready.wait()

    async def wait_empty(self) -> None:
        """Returns once nobody is subscribed."""
        await self._empty.wait()

    def drain(self) -> None:
        """Tells all watchers, present and future, that this hub is going away."""
        self.draining = True
        self._ring_all()

    def _ring_who_was_told(self, stale: bool) -> None:
        # Not where it is called from: there the variable would keep the last mailbox, and its state, for ever.
        for mailbox in self._mailboxes:
            if mailbox.told_stale is stale:
                mailbox.ring()

    def _ring_all(self) -> None:
        for mailbox in self._mailboxes:
            mailbox.ring()


def cause_between(before: State, after: State) -> Cause | None:
    """What a watcher that was told of ``before`` has to be told of ``after``; None when it has missed nothing."""
    if before.epoch != after.epoch:
        return Cause.RESYNC
    old, new = before.snapshot.active, after.snapshot.active
    if new is None:
        return None if old is None else Cause.NONE_ACTIVE
    if old is None or old.provider_name != new.provider_name:
        return Cause.SWITCHED
    if old == new:
        # A key that can be read now and could not before, or the other way round, is no change of the store.
        return None if _same_key(before.snapshot, after.snapshot) else Cause.KEY_CHANGED
    return Cause.KEY_CHANGED if _only_key_differs(old, new) else Cause.UPDATED


def _next_state(before: State | None, snapshot: Snapshot) -> State:
    revision = snapshot.revision
    if before is None:
        return State(snapshot, epoch=0, active_since=revision.number)
    if _is_of_another_past(before.snapshot, snapshot):
        return State(snapshot, epoch=before.epoch + 1, active_since=revision.number)
    after = State(snapshot, epoch=before.epoch, active_since=before.active_since)
    if cause_between(before, after) is not None:
        after.active_since = revision.number
    return after


def _is_of_another_past(before: Snapshot, after: Snapshot) -> bool:
    if after.epoch != before.epoch or after.revision.store_id != before.revision.store_id:
        return True
    # The same number with other content: the store went back and counted up again, as after a restored backup.
    rewritten = after.revision == before.revision and after != before
    return rewritten or after.revision.number < before.revision.number


def _same_key(before: Snapshot, after: Snapshot) -> bool:
    """Whether the active provider's key in clear is the same, which comparing providers does not look at."""
    old, new = (active.api_key if (active := each.active) else None for each in (before, after))
    return old == new


def _only_key_differs(old: StoredProvider, new: StoredProvider) -> bool:
    # These move along with any change, so they say nothing about what it was.
    moving = {"config_version", "updated_at", "updated_by", "api_key"}
    different = {
        name for name in StoredProvider.__slots__ if name not in moving and getattr(old, name) != getattr(new, name)
    }
    return different == {"key_fingerprint"}
