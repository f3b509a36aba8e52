"""What the checks of a daemon share: its settings, its key ring, and its database once that is reached."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from providerd_server.databases import UNREADABLE_URL, database
from providerd_server.doctor.examination import LostError, Verdict
from providerd_server.errors import ConfigurationError, Refusal
from providerd_server.settings import Settings
from providerd_server.source.trouble import summary
from providerd_server.store import Database, Transactions
from providerd_server.store.keyring import Keyring
from providerd_server.store.tls import Trust

# Seconds for a connection, and for an answer on it: so that all is told within some ten of a database that is silent.
PATIENCE = 4.0

# Seconds that one check may use a connection.
_LONGEST_USE = 2 * PATIENCE


class Case:
    """One daemon under examination. What a check has not brought yet must not be asked for: ``needs`` sees to it.

    Args:
        flags: What the command line says of the settings.
    """

    def __init__(self, flags: Mapping[str, Any]) -> None:
        self.flags = flags
        self.settings: Settings
        self.keyring: Keyring
        self.database: Database
        self.transactions: Transactions
        # Where a daemon answered.
        self.answering = ""
        self._stack = AsyncExitStack()

    async def close(self) -> None:
        """Gives back the connections, and stops the embedded database where it was started here."""
        await self._stack.aclose()

    async def reach(self) -> float:
        """Connects to the database; returns the seconds that a round trip takes.

        Raises:
            ConfigurationError: There is none, or it cannot be reached as the settings say.
            Refusal: It does not answer, or refuses.
        """
        url = self._stack.enter_context(database(self.settings, create=False))
        self.database = Database(
            url,
            Trust.of(self.settings),
            connect_timeout=PATIENCE,
            command_timeout=PATIENCE,
            acquire_timeout=PATIENCE,
            write_timeout=_LONGEST_USE,
            pool_size=1,
        )
        pool = await self.database.create_pool()
        self._stack.callback(pool.terminate)
        self.transactions = Transactions(self.database, pool)
        try:
            async with self.transactions.connection() as connection:
                await connection.execute("SELECT 1")
                began = time.monotonic()
                await connection.execute("SELECT 1")
                return time.monotonic() - began
        except ValueError:
            # Its text may quote a part of the password.
            raise ConfigurationError(UNREADABLE_URL) from None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection to the database that was reached.

        Raises:
            LostError: It is away by now.
            Refusal: The database refuses.
        """
        try:
            async with self.transactions.connection() as connection:
                yield connection
        except Refusal as refusal:
            if refusal.reason != "STORE_UNREACHABLE":
                raise
            cause = refusal.__cause__
            told = summary(cause) if isinstance(cause, Exception) and str(cause) else "no answer in time"
            raise LostError("database", told) from None

    def asking(self, look: Callable[[Any], Awaitable[Verdict]]) -> Callable[[], Awaitable[Verdict]]:
        """A look that takes nothing, from one that takes a connection."""

        async def look_with_connection() -> Verdict:
            async with self.connection() as connection:
                return await look(connection)

        return look_with_connection
