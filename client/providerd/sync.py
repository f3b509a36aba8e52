"""The client for threads: the asyncio client, run by one background thread."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, Unpack

from providerd import client as aio
from providerd.background import Background
from providerd.errors import ClosedError
from providerd.reads import Reads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
    from datetime import datetime

    from providerd.cache import State
    from providerd.changes import Change
    from providerd.daemon_status import DaemonStatus
    from providerd.differences import RevisionDiff
    from providerd.history import ConfigurationAt, HistoryAction, HistoryEntry
    from providerd.options import ClientKeywords
    from providerd.provider import ActiveProvider, Provider, Revision, SourceStatus
    from providerd.results import ApplyResult, DeleteResult, RollbackResult, SwitchResult, UpsertResult
    from providerd.secret import Secret

P = ParamSpec("P")
T = TypeVar("T")


class Client(Reads):
    """Has the surface of `providerd.Client`, blocking, for use from any number of threads.

    Reads are answered in the calling thread. Callbacks run in the background thread, where they must not block,
    nor call the methods that do.
    """

    def __init__(self, *targets: str, **options: Unpack[ClientKeywords]) -> None:
        """Takes the addresses of daemons, "localhost:50051" by default, and the fields of ClientOptions.

        Raises:
            ValueError: An address or option makes no sense, a file of certificates or a token is broken, or a library
                that an option needs is not installed.
        """
        self._client = aio.Client(*targets, **options)
        self._cache = self._client._cache  # what Reads reads, without a detour
        self._background = Background()
        self.options = self._client.options

    def __enter__(self) -> Self:
        """Starts, and waits for the first answer, but not longer than `timeout` and without failing."""
        self._run(self._client.__aenter__)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Starts to watch and returns at once; see providerd.Client.start."""
        self._run(self._client.start)

    def close(self) -> None:
        """Ends the watch, all iterations, the connection and the thread. Reads raise ClosedError from here on."""
        if self._cache.closed is None:
            self._run(self._client.close)
        self._background.stop()

    def wait_ready(self, timeout: float | None = None) -> None:
        """Waits for the first answer of the daemon; see providerd.Client.wait_ready."""
        self._run(self._client.wait_ready, timeout)

    def changes(self) -> Iterator[Change]:
        """Returns a blocking iterator over the changes; see providerd.Client.changes."""
        changes = self._run(_soon, self._client.changes)

        def iterate() -> Iterator[Change]:
            while True:
                try:
                    yield self._background.run(changes.__anext__)
                except (StopAsyncIteration, concurrent.futures.CancelledError):
                    return

        return iterate()

    def on_change(self, callback: Callable[[Change], object]) -> Callable[[], None]:
        """Calls back in the background thread with each change; see providerd.Client.on_change."""
        return self._client.on_change(callback)

    def on_state(self, callback: Callable[[State], object]) -> Callable[[], None]:
        """Calls back in the background thread with each new state; see providerd.Client.on_state."""
        return self._client.on_state(callback)

    @property
    def source(self) -> SourceStatus | None:
        """How fresh the last answer was; see providerd.Client.source."""
        return self._client.source

    def get(self, provider_name: str) -> Provider:
        """Asks the daemon for one provider; see providerd.Client.get."""
        return self._run(self._client.get, provider_name)

    def get_active(self, *, include_credential: bool = False) -> ActiveProvider:
        """Asks the daemon for the active provider; see providerd.Client.get_active."""
        return self._run(self._client.get_active, include_credential=include_credential)

    def get_status(self) -> DaemonStatus:
        """Asks the daemon how it is; see providerd.Client.get_status."""
        return self._run(self._client.get_status)

    def list(self) -> list[Provider]:
        """Asks the daemon for all providers; see providerd.Client.list."""
        return self._run(self._client.list)

    def switch(
        self,
        provider_name: str,
        *,
        reason: str = "",
        actor: str = "",
        expected_revision: Revision | None = None,
        validate_only: bool = False,
    ) -> SwitchResult:
        """Makes a provider the active one; see providerd.Client.switch."""
        return self._run(
            self._client.switch,
            provider_name,
            reason=reason,
            actor=actor,
            expected_revision=expected_revision,
            validate_only=validate_only,
        )

    def upsert(
        self,
        provider: Mapping[str, Any],
        *,
        update_mask: Sequence[str] | None = None,
        api_key: str | Secret | None = None,
        clear_api_key: bool = False,
        expected_config_version: int | None = None,
        validate_only: bool = False,
        reason: str = "",
        actor: str = "",
    ) -> UpsertResult:
        """Creates a provider, or changes one; see providerd.Client.upsert."""
        return self._run(
            self._client.upsert,
            provider,
            update_mask=update_mask,
            api_key=api_key,
            clear_api_key=clear_api_key,
            expected_config_version=expected_config_version,
            validate_only=validate_only,
            reason=reason,
            actor=actor,
        )

    def delete(
        self,
        provider_name: str,
        *,
        expected_config_version: int | None = None,
        validate_only: bool = False,
        reason: str = "",
        actor: str = "",
    ) -> DeleteResult:
        """Deletes a provider and its key; see providerd.Client.delete."""
        return self._run(
            self._client.delete,
            provider_name,
            expected_config_version=expected_config_version,
            validate_only=validate_only,
            reason=reason,
            actor=actor,
        )

    def rollback(
        self,
        provider_name: str,
        revision_number: int,
        *,
        expected_config_version: int | None = None,
        validate_only: bool = False,
        reason: str = "",
        actor: str = "",
    ) -> RollbackResult:
        """Brings a provider's content back to what it was; see providerd.Client.rollback."""
        return self._run(
            self._client.rollback,
            provider_name,
            revision_number,
            expected_config_version=expected_config_version,
            validate_only=validate_only,
            reason=reason,
            actor=actor,
        )

    def apply(
        self,
        providers: Sequence[Mapping[str, Any]],
        *,
        active: str | None = None,
        delete_missing: bool = False,
        expected_revision: Revision | None = None,
        validate_only: bool = False,
        reason: str = "",
        actor: str = "",
    ) -> ApplyResult:
        """Brings all providers to a stated configuration; see providerd.Client.apply."""
        return self._run(
            self._client.apply,
            providers,
            active=active,
            delete_missing=delete_missing,
            expected_revision=expected_revision,
            validate_only=validate_only,
            reason=reason,
            actor=actor,
        )

    def history(
        self,
        *,
        provider_name: str = "",
        action: HistoryAction | None = None,
        actor: str = "",
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        first_revision: int = 0,
        last_revision: int = 0,
        limit: int | None = None,
    ) -> Iterator[HistoryEntry]:
        """Returns a blocking iterator over the audit history, newest first; see providerd.Client.history."""
        entries = self._client.history(
            provider_name=provider_name,
            action=action,
            actor=actor,
            start_time=start_time,
            end_time=end_time,
            first_revision=first_revision,
            last_revision=last_revision,
            limit=limit,
        )

        def iterate() -> Iterator[HistoryEntry]:
            while (entry := self._run(_next, entries)) is not None:
                yield entry

        return iterate()

    def revision_at(self, number: int = 0) -> ConfigurationAt:
        """Asks for the whole configuration as of a revision; see providerd.Client.revision_at."""
        return self._run(self._client.revision_at, number)

    def diff(self, from_revision: int, to_revision: int = 0, provider_name: str = "") -> RevisionDiff:
        """Asks what is different between two revisions; see providerd.Client.diff."""
        return self._run(self._client.diff, from_revision, to_revision, provider_name)

    def _run(self, call: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._cache.closed is not None:
            raise self._cache.not_ready()
        try:
            return self._background.run(call, *args, **kwargs)
        except concurrent.futures.CancelledError:
            raise ClosedError("the client was closed during the call") from None


async def _soon(call: Callable[[], T]) -> T:
    """Calls a plain function that belongs into the event loop."""
    return call()


async def _next(iterator: AsyncIterator[T]) -> T | None:
    """Returns the next item, or None when there is none."""
    return await anext(iterator, None)
