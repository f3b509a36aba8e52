"""The client for asyncio."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self, Unpack

from providerd import errors
from providerd.admin import Admin
from providerd.announcer import Announcer
from providerd.cache import Cache
from providerd.changes import Cause, Change, Changes
from providerd.connection import Connection
from providerd.keeper import Keeper
from providerd.options import DEFAULT_TARGET, ClientKeywords, ClientOptions
from providerd.reads import Reads
from providerd.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from providerd.cache import State


class Client(Reads, Admin):
    """Knows the active provider at every moment, and changes providers.

    Use it as a context manager, or call start() and close(). All of it belongs to one event loop; only the reads
    may come from any thread.
    """

    def __init__(self, *targets: str, **options: Unpack[ClientKeywords]) -> None:
        """Takes the addresses of daemons, "localhost:50051" by default, and the fields of ClientOptions.

        Raises:
            ValueError: An address or option makes no sense, a file of certificates or a token is broken, or a library
                that an option needs is not installed.
        """
        self.options = ClientOptions(targets=targets or (DEFAULT_TARGET,), **options)
        self._cache = Cache(self.options)
        self._announcer = Announcer(self._cache)
        self._stream = Stream(self._cache, self._announcer, self.options)
        self._keeper = Keeper(self._cache, self._announcer, self.options)
        self._connection = Connection(self._cache, self.options)
        self._started = False

    async def __aenter__(self) -> Self:
        """Starts, and waits for the first answer, but not longer than `timeout` and without failing."""
        await self.start()
        if self.options.watch:
            await self._first_answer(self.options.timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Starts to watch and returns at once. Does nothing when already started.

        Raises:
            ClosedError: The client is closed.
        """
        self._connection.require_open()
        if self.options.watch and not self._started:
            self._started = True
            self._connection.open()
            self._stream.start(self._connection, self._keeper.start)

    async def close(self) -> None:
        """Ends the watch, all iterations and the connection. Reads raise ClosedError from here on."""
        if self._cache.closed:
            return
        self._keeper.flush()
        self._cache.close(errors.ClosedError("the client is closed"))
        await self._stream.stop()
        await self._keeper.stop()
        self._announcer.end(None)
        await self._connection.close()

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Waits for the first answer of the daemon, from which on reads have something to go by.

        The answer may be that nobody is active, or be marked stale: `active` and `state` tell. With a last-known-good
        file there is something to go by before, and this waits no longer than until the daemon was tried once.

        Args:
            timeout: Seconds to wait; None waits for ever.

        Raises:
            NotReadyError: No answer came in time; the message says what stands in the way.
            RpcError: The daemon refused for good.
            ClosedError: The client is or was closed.
        """
        self._require_watch()
        if not await self._first_answer(timeout):
            raise self._cache.not_ready()

    def changes(self) -> Changes:
        """Returns an async iterator: the current state first, when there is one, then each change.

        Latest wins: a slow consumer gets the newest state, with what it missed folded into one change. The
        iteration ends when the client is closed, and raises the RpcError when the daemon refuses for good.

        Raises:
            ClosedError: The client is closed.
            NotReadyError: The client was opened with watch=False.
        """
        self._require_watch()
        revision = self._cache.revision
        first = None if revision is None else Change(Cause.INITIAL, self._cache.provider, None, revision)
        return self._announcer.iterate(first)

    def on_change(self, callback: Callable[[Change], object]) -> Callable[[], None]:
        """Calls back in the event loop with each change from now on; returns what ends that.

        Raises:
            TypeError: The callback is a coroutine function.
        """
        return self._announcer.on_change(callback)

    def on_state(self, callback: Callable[[State], object]) -> Callable[[], None]:
        """Calls back in the event loop with each new state from now on; returns what ends that.

        Raises:
            TypeError: The callback is a coroutine function.
        """
        return self._announcer.on_state(callback)

    def _require_watch(self) -> None:
        self._connection.require_open()
        if not self.options.watch:
            raise self._cache.not_ready()

    async def _first_answer(self, timeout: float | None) -> bool:
        """Says whether there was an answer; stops waiting as soon as there never will be one."""
        cache = self._cache
        try:
            async with asyncio.timeout(timeout):
                await self._announcer.until(lambda: cache.live or cache.ended is not None or self._goes_on_from_file)
        except TimeoutError:
            pass
        return cache.revision is not None and cache.closed is None

    @property
    def _goes_on_from_file(self) -> bool:
        return self._cache.revision is not None and self._cache.error is not None
