"""Changes of the active provider, and iterating over them."""

from __future__ import annotations

import asyncio
import copy
import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from providerd.v1 import provider_pb2 as pb

if TYPE_CHECKING:
    from providerd.errors import ProviderdError
    from providerd.provider import Provider, Revision


class Cause(enum.Enum):
    """Why a change was reported."""

    INITIAL = "initial"
    """It is the first one."""
    SWITCHED = "switched"
    """Another provider became active."""
    UPDATED = "updated"
    """The same provider is active with other content."""
    KEY_CHANGED = "key_changed"
    """The same provider is active and only its key is another."""
    RESYNC = "resync"
    """The store was replaced or restored; revisions before this one mean nothing any more."""
    NONE_ACTIVE = "none_active"
    """No provider is active any more."""

    @classmethod
    def from_proto(cls, cause: pb.ChangeCause) -> Cause:
        """Reads the enum of the API. A cause that only newer daemons know is an update."""
        return _CAUSES.get(cause, cls.UPDATED)

    @classmethod
    def between(cls, previous: Provider | None, provider: Provider | None) -> Cause:
        """Returns what led from one state to another when nobody said so."""
        if provider is None:
            return cls.NONE_ACTIVE
        same = previous is not None and previous.provider_name == provider.provider_name
        return cls.UPDATED if same else cls.SWITCHED


_CAUSES: dict[pb.ChangeCause, Cause] = {
    pb.CHANGE_CAUSE_INITIAL: Cause.INITIAL,
    pb.CHANGE_CAUSE_SWITCHED: Cause.SWITCHED,
    pb.CHANGE_CAUSE_UPDATED: Cause.UPDATED,
    pb.CHANGE_CAUSE_KEY_CHANGED: Cause.KEY_CHANGED,
    pb.CHANGE_CAUSE_RESYNC: Cause.RESYNC,
    pb.CHANGE_CAUSE_NONE_ACTIVE: Cause.NONE_ACTIVE,
}


@dataclass(frozen=True, slots=True)
class Change:
    """One step of the active provider. `provider` is None when nobody is active, `previous` when nobody was."""

    cause: Cause
    provider: Provider | None
    previous: Provider | None
    revision: Revision

    def followed_by(self, newer: Change) -> Change:
        """Returns the one step that these two make for somebody who saw neither."""
        cause = Cause.between(self.previous, newer.provider)
        if self.cause in (Cause.INITIAL, Cause.RESYNC):
            cause = self.cause
        elif newer.cause is Cause.RESYNC or newer.cause is self.cause is Cause.KEY_CHANGED:
            cause = newer.cause
        return Change(cause, newer.provider, self.previous, newer.revision)


class Changes:
    """An async iterator over changes that holds at most one: a slow consumer gets the newest, never a queue."""

    def __init__(self, first: Change | None) -> None:
        self._pending = first
        self._ended = False
        self._error: ProviderdError | None = None
        self._wake = asyncio.Event()

    def __aiter__(self) -> Changes:
        return self

    async def __anext__(self) -> Change:
        while self._pending is None:
            if self._error is not None:
                raise copy.copy(self._error)
            if self._ended:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        pending, self._pending = self._pending, None
        return pending

    def offer(self, change: Change) -> None:
        """Puts a change into the slot, folded with one that was not consumed yet."""
        self._pending = self._pending.followed_by(change) if self._pending else change
        self._wake.set()

    def end(self, error: ProviderdError | None) -> None:
        """Ends the iteration after what is pending, with an error if there is one."""
        self._ended, self._error = True, error
        self._wake.set()
