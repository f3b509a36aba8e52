"""Follows PostgreSQL: reads on every hint of the listener, and polls behind it for hints that never came."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import Any

import asyncpg
import structlog

from providerd.backoff import Backoff
from providerd_server.pgversion import version_warning
from providerd_server.snapshot import Revision, Snapshot, StoredProvider
from providerd_server.source import Condition, Publish
from providerd_server.source.listener import Listener
from providerd_server.source.schema import SchemaError, check_schema
from providerd_server.source.trouble import Trouble, summary
from providerd_server.store.database import CONNECTION_ERRORS, Connection, Database, lost_if_terminated
from providerd_server.store.keys import Keys
from providerd_server.store.rows import SELECT_LIST, provider_from_row
from providerd_server.store.statement_logging import logging_warnings

log = structlog.get_logger(__name__)

_REVISION = "SELECT store_id::text, revision FROM llm_provider_store"

# One statement sees one state of the database, so revision and rows belong together.
_SNAPSHOT = (
    f"SELECT s.store_id::text, s.revision, {SELECT_LIST}"  # noqa: S608 - constants only
    " FROM llm_provider_store s LEFT JOIN llm_provider_configs p ON true ORDER BY p.provider_name"
)


class PostgresSource:
    """The ``Source`` that is PostgreSQL.

    Args:
        database: Where to read.
        keys: Learns the key of each provider that is read.
        poll_interval: Seconds between two polls on average; each is jittered by a quarter.
        probe_interval: Seconds between two probes of the LISTEN connection.
    """

    def __init__(self, database: Database, keys: Keys, *, poll_interval: float, probe_interval: float) -> None:
        self._database = database
        self._keys = keys
        self._poll_interval = poll_interval
        self.listener = Listener(database, self._hint, probe_interval)
        self._current: Revision | None = None
        self._verified_at = -float("inf")
        self._reader: Connection | None = None
        self._wake = asyncio.Event()
        self._must_read = False
        self._waiting: list[asyncio.Future[None]] = []
        self._warned = False
        self._server_version = 0
        self._counts = Counter(reads=0, failures=0, polled=0)
        self._trouble = Trouble(database.place)

    @property
    def age(self) -> float:
        """Seconds since the database was last seen to be at the published revision; inf before the first time."""
        return time.monotonic() - self._verified_at

    @property
    def is_stale(self) -> bool:
        """Never: a database that can be read is the truth, and the age says for how long it could not."""
        return False

    @property
    def condition(self) -> Condition:
        """How the database is to be reached, and what is wrong with it."""
        version = self._server_version
        return Condition(
            kind="postgresql",
            connected=self._reader is not None and not self._trouble.on,
            listening=self.listener.health.value,
            counts={**self._counts, "lost": self.listener.losses, "undecryptable": self._keys.failures},
            version=f"{version // 10_000}.{version % 10_000}" if version else "",
            warning=(version_warning(version) or "") if version else "",
            unreadable=self._keys.unreadable,
        )

    async def verify(self) -> None:
        """Returns after a read that began after this call."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._wake.set()
        await done

    def reconnect(self) -> None:
        """Gives up the connection that reads for a new one."""
        if self._reader is not None:
            self._reader.terminate()

    async def run(self, publish: Publish) -> None:
        """Follows the database until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.listener.run(), name="listener")
            tasks.create_task(self._supervise(publish), name="reader")

    async def _supervise(self, publish: Publish) -> None:
        backoff = Backoff()
        while True:
            try:
                await self._follow(publish, backoff)
            except SchemaError as error:
                self._trouble.told("the database is not fit to serve from", str(error), self.age)
            except (*CONNECTION_ERRORS, asyncpg.exceptions.PostgresError) as error:
                self._trouble.told("cannot read the database", summary(error), self.age)
            except Exception:
                # A supervisor that ends would take the daemon with it; the log has what nobody foresaw.
                log.exception("reading the database failed unexpectedly; trying again")
            self._counts["failures"] += 1
            await asyncio.sleep(backoff.next())

    async def _follow(self, publish: Publish, backoff: Backoff) -> None:
        connection = self._reader = await self._database.connect()
        try:
            with lost_if_terminated(connection):
                await self._warn(connection)
                self._must_read = True
                check_at = time.monotonic()
                hinted = True
                while True:
                    # Nobody announces that a trigger was disabled, nor what is changed meanwhile.
                    if time.monotonic() >= check_at:
                        await check_schema(connection)
                        check_at = time.monotonic() + self._poll_interval
                    if await self._read(connection, publish) and not hinted:
                        self._counts["polled"] += 1
                    backoff.reset()
                    hinted = await self._rest()
        finally:
            self._reader = None
            connection.terminate()

    async def _read(self, connection: Connection, publish: Publish) -> bool:
        """Publishes what is new; returns whether the revision is another."""
        waiting, self._waiting = self._waiting, []
        self._wake.clear()
        began, before = time.monotonic(), self._current
        try:
            if self._must_read or await self._revision(connection) != self._current:
                self._must_read = False
                snapshot = await self._snapshot(connection)
                publish(snapshot)
                self._current = snapshot.revision
        except BaseException:
            self._must_read = True
            self._waiting = waiting + self._waiting
            raise
        self._verified_at = began
        self._counts["reads"] += 1
        self._trouble.over()
        for done in waiting:
            if not done.done():
                done.set_result(None)
        return self._current != before

    async def _rest(self) -> bool:
        """Waits for a hint, but no longer than until the next poll is due; returns whether there was one."""
        pause = self._poll_interval * random.uniform(0.75, 1.25)  # noqa: S311 - spreads daemons, protects nothing
        try:
            async with asyncio.timeout(pause):
                return await self._wake.wait()
        except TimeoutError:
            return False

    async def _revision(self, connection: Connection) -> Revision:
        return _revision(await connection.fetchrow(_REVISION))

    async def _snapshot(self, connection: Connection) -> Snapshot:
        rows = await connection.fetch(_SNAPSHOT)
        stored = [row for row in rows if row["id"] is not None]
        await self._keys.learn(connection, stored)
        providers = [provider for row in stored if (provider := self._provider(row)) is not None]
        return Snapshot(_revision(rows[0] if rows else None), {p.provider_name: p for p in providers})

    def _provider(self, row: Any) -> StoredProvider | None:
        """The provider in a row. One that cannot be read, which the schema prevents, must not take the others along."""
        try:
            return provider_from_row(row, self._keys.of(row))
        except (ValueError, RecursionError) as error:
            log.error(
                "a provider cannot be read and is left out", provider_name=row["provider_name"], error=summary(error)
            )
            return None

    def _hint(self, payload: str | None) -> None:
        current = self._current
        if payload is not None and current is not None and payload == f"{current.store_id}:{current.number}":
            return
        # The revision is about to be another, so reading it first would only cost a round trip.
        self._must_read = True
        self._wake.set()

    async def _warn(self, connection: Connection) -> None:
        """Says once what is wrong with the server, though it serves."""
        self._server_version = int(await connection.fetchval("SHOW server_version_num"))
        if self._warned:
            return
        self._warned = True
        version = version_warning(self._server_version)
        for warning in [*([version] if version else []), *await logging_warnings(connection)]:
            log.warning(warning)


def _revision(row: Any) -> Revision:
    if row is None:
        raise SchemaError("table llm_provider_store is empty; run `providerd migrate up`, which fills it")
    return Revision(store_id=row["store_id"], number=row["revision"])
