"""What a client knows: the newest state of the daemon, how fresh it is, and what may replace it."""

from __future__ import annotations

import copy
import enum
import logging
import math
import time
from typing import TYPE_CHECKING, NamedTuple

from providerd import errors
from providerd.changes import Cause, Change
from providerd.provider import ActiveProvider, Credential, Provider, Revision, check_usable
from providerd.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from providerd.errors import ProviderdError
    from providerd.options import ClientOptions
    from providerd.v1 import provider_pb2 as pb

_log = logging.getLogger("providerd")


class State(enum.Enum):
    """How far a client can be trusted right now."""

    CONNECTING = "connecting"
    """No answer yet."""
    READY = "ready"
    """The value is current: the watch lives, was heard of recently, and the daemon's source is fresh."""
    STALE = "stale"
    """The value is the last one known, and may have been replaced since."""
    CLOSED = "closed"
    """The client was closed, or belongs to the parent of this process."""
    FATAL = "fatal"
    """The daemon refused in a way no retry can mend; `error` says why. A value known before stays readable."""


class OutOfStepError(Exception):
    """The stream passed over a change that the cache does not have: subscribe again to get it."""


class Cache:
    """Holds the newest state that was received. One event loop writes; every thread may read.

    Each fact that readers need is one attribute that is replaced as a whole, so no reader needs a lock.

    Attributes:
        served: What `active` may serve without a look at anything else; None sends the reader to current().
        revision: The newest revision, which heartbeats move, too: where the next stream continues from.
        error: What went wrong since the daemon last confirmed the value.
        live: Whether a stream runs that has confirmed the value.
        closed: Why reads raise, once they do.
        taken: How many states were taken over from daemons.
    """

    def __init__(self, options: ClientOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self.served: Provider | None = None
        self.revision: Revision | None = None
        self.error: ProviderdError | None = None
        self.live = False
        self.closed: ProviderdError | None = None
        self.taken = 0
        self._options = options
        self._clock = clock
        self._current: ActiveProvider | None = None
        self._confirmed: _Confirmation | None = None
        self._in_step = True
        self._asked_for_all = self._was_told_less = self._from_file = False
        self._fatal: ProviderdError | None = None

    @property
    def state(self) -> State:
        """How far the value can be trusted, derived from the clock at each call."""
        if self.closed is not None:
            return State.CLOSED
        if self._fatal is not None:
            return State.FATAL
        confirmed = self._confirmed
        if confirmed is None:
            return State.CONNECTING
        recent = self._clock() - confirmed.at < self._options.patience
        fresh = self.live and self._in_step and recent and not confirmed.stale
        return State.READY if fresh else State.STALE

    @property
    def age(self) -> float:
        """Seconds since the database was last known to be at this state; infinite before the first answer."""
        confirmed = self._confirmed
        return math.inf if confirmed is None else self._clock() - confirmed.at + confirmed.source_age

    @property
    def verified(self) -> float:
        """When the database was last known to be at this state, by the monotonic clock."""
        return self._clock() - self.age

    @property
    def ended(self) -> ProviderdError | None:
        """Why nothing more will come, if so."""
        return self.closed or self._fatal

    @property
    def provider(self) -> Provider | None:
        """The active provider as last known, however old; None when nobody is active or nothing is known."""
        return _provider(self._current)

    @property
    def lacks_credential(self) -> bool:
        """Whether the active provider has a key that was asked for and did not come."""
        current = self._current
        if current is None or not self._options.include_credential:
            return False
        return current.provider.has_key and current.credential is None

    def current(self) -> ActiveProvider:
        """Returns the active provider, if it may be served.

        Raises:
            ClosedError: The client is closed.
            NotReadyError: There was no answer yet; an RpcError instead when there never will be one.
            StaleError: The value is older than max_age.
            NoActiveProviderError: Nobody is active.
        """
        current = self._current
        if self.closed is not None or self._confirmed is None:
            raise self.not_ready()
        age, max_age = self.age, self._options.max_age
        if max_age is not None and age > max_age:
            raise errors.StaleError(f"the value is {age:.1f} s old and max_age is {max_age:g} s")
        if current is None:
            raise errors.NoActiveProviderError("no provider is active: switch to one")
        return current

    def credential(self) -> Credential:
        """Returns the key of the active provider.

        Raises:
            CredentialUnavailableError: The key was not asked for, or there is none.
            ProviderdError: As for current().
        """
        current = self.current()
        if current.credential is not None:
            return current.credential
        if not self._options.include_credential:
            raise errors.CredentialUnavailableError("the key was not asked for: pass include_credential=True")
        name = current.provider.provider_name
        if self._from_file and self.lacks_credential:
            raise errors.CredentialUnavailableError(
                f"the last-known-good file holds no key of provider {name!r}: it comes with the daemon's first answer"
            )
        if self.lacks_credential:
            raise errors.CredentialUnavailableError(
                f"the daemon cannot decrypt the key of provider {name!r}: see its log"
            )
        raise errors.CredentialUnavailableError(f"provider {name!r} has no key")

    def not_ready(self) -> ProviderdError:
        """Returns the error that says why there is no answer yet, or why there never will be one."""
        if self.ended is not None:
            return copy.copy(self.ended)
        if not self._options.watch:
            return errors.NotReadyError("this client was opened with watch=False: use get_active()")
        because = f": {self.error}" if self.error is not None else ""
        return errors.NotReadyError(f"no answer from {self._options.where} yet{because}")

    def apply(self, message: pb.WatchActiveResponse) -> Change | None:
        """Takes in a message of the watch and returns the change it made, if it made one.

        Raises:
            OutOfStepError: The stream goes on from a state that is not the one held here.
        """
        kind = message.WhichOneof("event")
        if kind == "active":
            return self._take_event(message)
        if kind == "heartbeat":
            self._take_heartbeat(message)
        # A drain does not move the revision: whether all that led there was delivered is not certain.
        return None

    def snapshot(self) -> Snapshot | None:
        """Returns what there is to keep in a file; None when nothing is known, or nothing any more."""
        if self.revision is None or self.closed is not None:
            return None
        current = self._current
        credential = None if current is None else current.credential
        return Snapshot(self.revision, _provider(current), credential, time.time(), self.age)

    def restore(self, snapshot: Snapshot, age: float) -> Change:
        """Starts from what a file holds, which is that many seconds old, until a daemon says more."""
        provider, revision = snapshot.provider, snapshot.revision
        credential = snapshot.credential if self._options.include_credential else None
        self._current = None if provider is None else ActiveProvider(provider, credential, revision)
        self.revision = revision
        self._confirmed = _Confirmation(self._clock(), age, stale=True)
        self._from_file = True
        if self._options.max_age is None:
            self.served = provider
        return Change(Cause.INITIAL, provider, None, revision)

    def subscribed(self) -> Revision | None:
        """Notes that a new stream begins, and returns the revision it continues from; None asks for everything."""
        # A key that is not here is no change of the store, and no heartbeat would bring it.
        self._asked_for_all = self.lacks_credential and not self._was_told_less
        self._in_step = True
        return None if self._asked_for_all else self.revision

    def lost(self, error: ProviderdError) -> None:
        """Notes that the stream ended; the value stays, and is stale."""
        self.live = False
        self.error = error

    def fail(self, error: ProviderdError) -> None:
        """Notes that nothing more will come. The value stays readable."""
        self.lost(error)
        self._fatal = error

    def close(self, error: ProviderdError) -> None:
        """Forgets the value for good: every read raises the error from now on."""
        self.closed = error
        self.served = self._current = None
        self.live = False

    def _take_event(self, message: pb.WatchActiveResponse) -> Change | None:
        event, revision = message.active, Revision.from_proto(message.revision)
        cause = Cause.from_proto(event.cause)
        if not self._may_follow(cause, revision):
            self._in_step = False
            _log.warning("ignored revision %s: %s is newer or of another store", revision, self.revision)
            if self._asked_for_all:
                # Only who claims to know more is told whether the daemon lags or the store was restored.
                self._was_told_less = True
                raise OutOfStepError(f"{revision} is less than what is held")
            return None
        try:
            current = _read(event, revision)
        except Exception as invalid:  # whatever is wrong with the new value, the old one must survive it
            self._in_step = False
            self.error = errors.InternalError(f"the daemon sent an unusable value: {invalid}", reason="UNUSABLE_VALUE")
            _log.error("kept revision %s, because %s is unusable: %s", self.revision, revision, invalid)
            return None
        return self._replace(current, cause, message)

    def _take_heartbeat(self, message: pb.WatchActiveResponse) -> None:
        """Moves the revision, unless "nothing changed" was said about another state than the one held here."""
        held, revision = self.revision, Revision.from_proto(message.revision)
        if held is not None and held.reaches(revision) and held != revision:
            self._in_step = False  # a daemon that lags behind the one before; it may catch up
        elif held is not None and (revision == held or (self._in_step and revision.reaches(held))):
            self.revision, self._in_step = revision, True
            told_less = self._was_told_less
            self._confirm(message)
            if told_less and self.lacks_credential:
                raise OutOfStepError("the daemon caught up, and the key is still to come")
        else:
            raise OutOfStepError(f"nothing new at {revision or 'no revision'}, but held is {held or 'nothing'}")

    def _may_follow(self, cause: Cause, revision: Revision) -> bool:
        held = self.revision
        if held is None or cause is Cause.RESYNC:
            return True
        return revision.reaches(held) or (revision.store_id != held.store_id and cause is Cause.INITIAL)

    def _replace(self, current: ActiveProvider | None, cause: Cause, message: pb.WatchActiveResponse) -> Change | None:
        held, previous = self.revision, self._current
        revision = Revision.from_proto(message.revision)
        self._current, self.revision, self._in_step = current, revision, True
        self.taken += 1
        self._confirm(message)
        if held is None:
            cause = Cause.INITIAL
        elif held.store_id != revision.store_id:
            cause = Cause.RESYNC
        elif _content(current) == _content(previous) and cause is not Cause.RESYNC:
            return None
        elif cause is Cause.INITIAL:
            cause = Cause.between(_provider(previous), _provider(current))
        return Change(cause, _provider(current), _provider(previous), revision)

    def _confirm(self, message: pb.WatchActiveResponse) -> None:
        source = message.source
        age = max(0.0, source.age.seconds + source.age.nanos / 1e9)
        self._confirmed = _Confirmation(self._clock(), age, source.stale)
        self._was_told_less = self._from_file = False
        self.live = True
        self.error = None
        if self._options.max_age is None and self.closed is None:
            self.served = self.provider


class _Confirmation(NamedTuple):
    """When the daemon last spoke for the state held here, and how fresh its own picture was then."""

    at: float
    source_age: float
    stale: bool


def _read(event: pb.ActiveEvent, revision: Revision) -> ActiveProvider | None:
    if not (revision.store_id and revision.number >= 0):
        raise ValueError("it has no revision")
    if not event.HasField("provider"):
        return None
    check_usable(event.provider)
    credential = Credential(event.credential.api_key) if event.HasField("credential") else None
    return ActiveProvider(Provider.from_proto(event.provider), credential, revision)


def _provider(current: ActiveProvider | None) -> Provider | None:
    return None if current is None else current.provider


def _content(current: ActiveProvider | None) -> tuple[Provider, Credential | None] | None:
    return None if current is None else (current.provider, current.credential)
