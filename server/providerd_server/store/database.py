"""Connections to PostgreSQL: how they are opened, bounded and given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import asyncpg

from providerd.secret import Secret
from providerd_server.settings import place_of
from providerd_server.store.statement_logging import QuietConnection, keep_quiet
from providerd_server.store.tls import STRICT, Trust, check_tls, open_connection

Connection: TypeAlias = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
Pool: TypeAlias = asyncpg.Pool

# What asyncpg raises when the server or the way to it is at fault rather than the statement.
CONNECTION_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.exceptions.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.exceptions.InternalClientError,
)

# Supabase's port for its transaction pooler, behind which prepared statements and LISTEN do not work.
_POOLER_PORT = 6543


@dataclass(frozen=True)
class Database:
    """Where the truth is and how long to wait for it.

    Attributes:
        url: The connection URL; it may hold a password, so it is never printed.
        trust: Whom to trust on the way there.
        connect_timeout: Seconds for a connection to be made.
        command_timeout: Seconds for one statement to be answered.
        queue_timeout: Seconds a call waits for its turn while others use all connections.
        acquire_timeout: Seconds a connection may take once it is a call's turn.
        lock_timeout: Seconds a write waits for the revision lock.
        write_timeout: Seconds a write may take in all once it has its connection.
        pool_size: The most connections that writes use.
    """

    url: Secret
    trust: Trust = STRICT
    connect_timeout: float = 3.0
    command_timeout: float = 4.0
    queue_timeout: float = 30.0
    acquire_timeout: float = 2.0
    lock_timeout: float = 2.0
    write_timeout: float = 3.0
    pool_size: int = 5

    @property
    def place(self) -> str:
        """Where it is, for people: without secrets."""
        return place_of(self.url)

    @property
    def pooled(self) -> bool:
        """Whether the URL leads to a transaction pooler."""
        hosts = urlsplit(self.url.reveal()).netloc.rpartition("@")[2].split(",")
        return any(host.endswith(f":{_POOLER_PORT}") for host in hosts)

    async def connect(self) -> Connection:
        """Opens a connection of its own, outside the pool.

        Raises:
            CONNECTION_ERRORS: The database cannot be reached or refuses, or is not who it should be.
        """
        return await self._open(**self._options())

    async def create_pool(self) -> Pool:
        """A pool for writes that connects when first used, so that it can be made with the database away.

        Raises:
            ConfigurationError: The connections could not be secured as they must be.
        """
        check_tls(self.url, self.trust)
        pool: Pool = await asyncpg.create_pool(
            min_size=0, max_size=self.pool_size, connect=self._open, **self._options()
        )
        return pool

    async def _open(self, _url: None = None, **options: Any) -> asyncpg.Connection:
        connection = await open_connection(self.url, self.trust, **options)
        if not self.pooled:
            try:
                await keep_quiet(connection)
            except BaseException:
                connection.terminate()
                raise
        return connection

    def _options(self) -> dict[str, Any]:
        return {
            "timeout": self.connect_timeout,
            "command_timeout": self.command_timeout,
            "statement_cache_size": 0 if self.pooled else 100,
            # Behind a pooler a setting would stay with a session that serves others next.
            "connection_class": asyncpg.Connection if self.pooled else QuietConnection,
            # Frees the locks of a daemon that vanished mid-transaction. A pooler refuses unknown parameters.
            "server_settings": {"application_name": "providerd"}
            | ({} if self.pooled else {"idle_in_transaction_session_timeout": "15s", "tcp_keepalives_idle": "30"}),
        }


@asynccontextmanager
async def acquired(pool: Pool, *, wait: float, limit: float) -> AsyncIterator[Connection]:
    """A connection of the pool: waited for at most ``wait`` seconds, and terminated after ``limit`` seconds of use.

    Terminating is what frees a caller from a connection that has gone silent: a polite close, or the rollback of
    its transaction, would wait for the same silence.
    """
    connection = await pool.acquire(timeout=wait)
    watchdog = asyncio.get_running_loop().call_later(limit, connection.terminate)
    try:
        with lost_if_terminated(connection):
            yield connection
    finally:
        watchdog.cancel()
        await pool.release(connection, timeout=1)


@contextmanager
def lost_if_terminated(connection: Connection) -> Iterator[None]:
    """Has what a block does fail as on a lost connection where the connection is terminated from outside.

    Between two steps of one statement asyncpg has let go of its protocol by then, and raises AttributeError.

    Raises:
        CONNECTION_ERRORS: It was terminated.
    """
    try:
        yield
    except AttributeError as error:
        # One of a pool is no longer the block's once it is terminated, and says so by an error of a connection itself.
        if connection.is_closed():
            raise asyncpg.ConnectionDoesNotExistError("the connection was terminated") from error
        raise
