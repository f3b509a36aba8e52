"""The reading half of a client, the same for asyncio and threads: everything here is answered from memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from providerd.cache import Cache, State
    from providerd.errors import ProviderdError
    from providerd.provider import ActiveProvider, Credential, Provider, Revision


class Reads:
    """What a client knows right now. Any thread may read; nothing here waits."""

    _cache: Cache

    @property
    def active(self) -> Provider:
        """The active provider.

        Raises:
            NotReadyError: There was no answer yet; the RpcError that ended the watch, when there never will be one.
            NoActiveProviderError: Nobody is active.
            StaleError: The value is older than max_age.
            ClosedError: The client is closed.
        """
        served = self._cache.served
        return served if served is not None else self._cache.current().provider

    @property
    def credential(self) -> Credential:
        """The key of the active provider.

        Raises:
            CredentialUnavailableError: The client was not opened with include_credential, or there is no key.
            ProviderdError: As for `active`.
        """
        return self._cache.credential()

    @property
    def current(self) -> ActiveProvider:
        """The active provider together with its key, so that a switch between two reads cannot mix them up.

        Raises:
            ProviderdError: As for `active`.
        """
        return self._cache.current()

    @property
    def state(self) -> State:
        """How far the value can be trusted. Honest even where the event loop was blocked: it asks the clock."""
        return self._cache.state

    @property
    def revision(self) -> Revision | None:
        """The newest revision known, or None before the first answer. It moves with heartbeats, too."""
        return self._cache.revision

    @property
    def age(self) -> float:
        """Seconds since the database was last known to be at this state; infinite before the first answer."""
        return self._cache.age

    @property
    def error(self) -> ProviderdError | None:
        """What last went wrong, or None since all is well again."""
        return self._cache.error
