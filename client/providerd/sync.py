"""The client for threads: the asyncio client, run by one background thread."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, Unpack

from providerd import client as aio
from providerd.background import Background
from providerd.errors import ClosedError
from providerd.reads import Reads

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence

    from providerd.cache import State
    from providerd.changes import Change
    from providerd.options import ClientKeywords
    from providerd.provider import ActiveProvider, Provider, Revision
    from providerd.requests import SwitchResult, UpsertResult

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
            ValueError: An address or option makes no sense.
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

    def get(self, provider_name: str) -> Provider:
        """Asks the daemon for one provider; see providerd.Client.get."""
        return self._run(self._client.get, provider_name)

    def get_active(self, *, include_credential: bool = False) -> ActiveProvider:
        """Asks the daemon for the active provider; see providerd.Client.get_active."""
        return self._run(self._client.get_active, include_credential=include_credential)

    def list(self) -> list[Provider]:
        """Asks the daemon for all providers; see providerd.Client.list."""
        return self._run(self._client.list)

    def switch(
        self, provider_name: str, *, reason: str = "", actor: str = "", expected_revision: Revision | None = None
    ) -> SwitchResult:
        """Makes a provider the active one; see providerd.Client.switch."""
        return self._run(
            self._client.switch, provider_name, reason=reason, actor=actor, expected_revision=expected_revision
        )

    def upsert(
        self,
        provider: Mapping[str, Any],
        *,
        update_mask: Sequence[str] | None = None,
        api_key: str | None = None,
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
