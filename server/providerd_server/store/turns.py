"""The queue for the few connections that writes use, in which nobody waits for a database that fails those ahead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from providerd_server.errors import busy
from providerd_server.store.failures import refusal_from


class Turns:
    """Lets so many callers at once have their turn.

    It is a queue of our own, so that a full pool can be told from a database that is away.

    Args:
        places: How many.
        patience: The most seconds that a caller waits.
    """

    def __init__(self, places: int, patience: float) -> None:
        self._free = asyncio.Semaphore(places)
        self._places = places
        self._patience = patience
        self._waiting: dict[asyncio.Timeout, Exception | None] = {}

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """One turn, for as long as the block runs; see ``take``."""
        await self.take()
        try:
            yield
        finally:
            self.release()

    async def take(self) -> None:
        """Waits for a turn, which is to be released.

        Raises:
            Refusal: Others take too long, or the database has failed them.
        """
        limit = asyncio.timeout(self._patience)
        try:
            async with limit:
                self._waiting[limit] = None
                await self._free.acquire()
        except TimeoutError:
            if (error := self._waiting[limit]) is not None:
                raise refusal_from(error) from error
            raise busy(f"{self._places} others have been ahead of this call for too long; try again") from None
        finally:
            self._waiting.pop(limit, None)

    def release(self) -> None:
        """Gives a turn to the next."""
        self._free.release()

    def give_up(self, error: Exception) -> None:
        """Has everyone who waits hear of what the database has just failed somebody with."""
        for limit in self._waiting:
            if not limit.expired():
                self._waiting[limit] = error
                limit.reschedule(asyncio.get_running_loop().time())
