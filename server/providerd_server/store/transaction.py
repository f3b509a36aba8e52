"""One short transaction under the revision lock, bounded in time, and told in the daemon's own terms when it fails."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

import asyncpg
import structlog

from providerd_server.snapshot import Revision
from providerd_server.store.database import CONNECTION_ERRORS, Connection, Database, Pool, acquired
from providerd_server.store.failures import refusal_from
from providerd_server.store.turns import Turns

log = structlog.get_logger(__name__)

T = TypeVar("T")

# serialization_failure and deadlock_detected are worth another try in a new transaction:
# https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html
_RETRIED = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
_ATTEMPTS = 3

_SETTINGS = (
    "SELECT set_config('lock_timeout', $1, true), set_config('providerd.actor', $2, true),"
    " set_config('providerd.reason', $3, true)"
)
_LOCK = "SELECT store_id::text, revision FROM lock_provider_store()"
_REVISION = "SELECT store_id::text, revision FROM llm_provider_store"

Work = Callable[[Connection, Revision], Awaitable[T]]


class Transactions:
    """Runs transactions on a pool. Everything it raises of the database's making is a ``Refusal``.

    Args:
        database: How long each step may take.
        pool: Where connections come from.
    """

    def __init__(self, database: Database, pool: Pool) -> None:
        self._database = database
        self._pool = pool
        self._turns = Turns(database.pool_size, database.queue_timeout)
        self._writing: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for what makes no revision."""
        try:
            async with self._acquired() as connection:
                yield connection
        except (*CONNECTION_ERRORS, asyncpg.exceptions.PostgresError) as error:
            raise refusal_from(error) from error

    async def writing(self, work: Work[T], *, reason: str, actor: str, dry_run: bool = False) -> T:
        """Runs ``work`` with a connection that holds the revision lock, and the revision before it; then commits.

        Whoever leaves while waiting for a turn takes the write along; one that has begun is carried through.

        Args:
            work: May be run again from the start after a conflict.
            reason: For the history.
            actor: For the history.
            dry_run: Roll back at the end, so that the database has checked everything and nothing is changed.
        """
        await self._turns.take()
        writing = asyncio.create_task(self._in_turn(work, reason=reason, actor=actor, dry_run=dry_run))
        # The event loop itself only holds tasks weakly, and the caller may be gone before this one is done.
        self._writing.add(writing)
        writing.add_done_callback(self._ended)
        return await (writing if dry_run else asyncio.shield(writing))

    async def _in_turn(self, work: Work[T], *, reason: str, actor: str, dry_run: bool) -> T:
        for attempt in range(1, _ATTEMPTS + 1):
            committing = False
            try:
                async with self._connected() as connection:
                    # Whatever the database's default is: a snapshot from before the lock would be of no use.
                    transaction = connection.transaction(isolation="read_committed")
                    await transaction.start()
                    try:
                        lock_timeout = f"{int(self._database.lock_timeout * 1000)}ms"
                        await connection.execute(_SETTINGS, lock_timeout, actor, reason)
                        outcome = await work(connection, revision_of(await connection.fetchrow(_LOCK)))
                    except BaseException:
                        await _roll_back(transaction)
                        raise
                    committing = not dry_run
                    await (transaction.rollback() if dry_run else transaction.commit())
                    return outcome
            except _RETRIED as error:
                if attempt == _ATTEMPTS:
                    raise refusal_from(error) from error
                await asyncio.sleep(random.uniform(0, 0.05))  # noqa: S311 - spreads retries, protects nothing
            except CONNECTION_ERRORS as error:
                self._turns.give_up(error)
                raise refusal_from(error, committing=committing) from error
            except asyncpg.exceptions.PostgresError as error:
                raise refusal_from(error, committing=committing) from error
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _ended(self, writing: asyncio.Task[Any]) -> None:
        self._writing.discard(writing)
        self._turns.release()
        # Asked for here as well, since the caller may have left; asyncio would complain of it in its own words.
        if not writing.cancelled() and (error := writing.exception()) is not None:
            log.debug("a write was not made", error=str(error))

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[Connection]:
        async with self._turns.taken(), self._connected() as connection:
            yield connection

    def _connected(self) -> AbstractAsyncContextManager[Connection]:
        return acquired(self._pool, wait=self._database.acquire_timeout, limit=self._database.write_timeout)


async def current_revision(connection: Connection) -> Revision:
    """The newest revision, as this transaction sees it."""
    return revision_of(await connection.fetchrow(_REVISION))


def revision_of(row: Any) -> Revision:
    """The revision in a row with ``store_id`` (text) and ``revision``."""
    return Revision(store_id=row["store_id"], number=row["revision"])


async def _roll_back(transaction: Any) -> None:
    try:
        await transaction.rollback()
    except (*CONNECTION_ERRORS, asyncpg.exceptions.PostgresError):
        # What went wrong before says more; the pool drops a connection in this state.
        return
