"""Forgetting the oldest part of the history, in small batches, so that no writer waits for long."""

from __future__ import annotations

import asyncio
import datetime
import random

import structlog

from providerd_server.errors import Refusal
from providerd_server.store.transaction import Transactions

log = structlog.get_logger(__name__)

_SHORTEST = "SELECT shortest_retention FROM llm_provider_store"
_PRUNE = "SELECT prune_provider_history($1, $2)"
_BATCH = 500

# Often enough for a bound of days; several daemons over one database do no harm, only nothing.
_INTERVAL = 600.0


class Retention:
    """Keeps the history for a time.

    Args:
        transactions: How to reach the database.
        keep: For how long. Where the owner of the tables wants it kept for longer, that holds.
        interval: Seconds between two looks on average.
    """

    def __init__(self, transactions: Transactions, keep: datetime.timedelta, interval: float = _INTERVAL) -> None:
        self._transactions = transactions
        self._keep = keep
        self._interval = interval

    async def run(self) -> None:
        """Prunes until cancelled. With the database away it tries again later."""
        told: datetime.timedelta | None = None
        while True:
            try:
                if (shortest := await self.shortest()) > self._keep and shortest != told:
                    log.warning(
                        "the history is kept for longer than PROVIDERD_HISTORY_RETENTION says",
                        retention=str(self._keep),
                        shortest_retention=str(shortest),
                        hint="the owner of the tables can change shortest_retention of llm_provider_store",
                    )
                    told = shortest
                pruned = await self.prune()
            except Refusal as refusal:
                log.warning("cannot prune the history; trying again later", reason=refusal.reason)
            else:
                if pruned:
                    log.info("pruned the history", entries=pruned)
            await asyncio.sleep(self._interval * random.uniform(0.5, 1.5))  # noqa: S311 - spreads daemons

    async def shortest(self) -> datetime.timedelta:
        """For how long the owner of the tables wants the history kept at least."""
        async with self._transactions.connection() as connection:
            found: datetime.timedelta = await connection.fetchval(_SHORTEST)
            return found

    async def prune(self) -> int:
        """Forgets all that is too old now, a batch a transaction; returns how many entries."""
        before = datetime.datetime.now(datetime.UTC) - self._keep
        pruned = 0
        while batch := await self._prune_batch(before):
            pruned += batch
        return pruned

    async def _prune_batch(self, before: datetime.datetime) -> int:
        async with self._transactions.connection() as connection:
            count: int = await connection.fetchval(_PRUNE, before, _BATCH)
            return count
