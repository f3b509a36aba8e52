"""A connection that hears of changes: LISTEN, with proof that notifications really arrive.

A notification is only a hint. What makes it safe to rely on is that the connection is replaced as soon as its own
probe does not come back: the connection may be half open, a pooler may have swallowed the LISTEN, or somebody may
have run UNLISTEN on it. https://www.postgresql.org/docs/current/sql-notify.html
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import secrets
import time
from collections.abc import Callable
from typing import Any

import asyncpg
import structlog

from providerd.backoff import Backoff
from providerd_server.source.trouble import summary
from providerd_server.store.database import CONNECTION_ERRORS, Connection, Database

log = structlog.get_logger(__name__)

CHANNEL = "llm_provider_changes"
_PROBE = "probe:"


class Health(enum.Enum):
    """What the listener knows of itself."""

    CONNECTING = "connecting"
    LISTENING = "listening"
    DEAF = "deaf"


class Echo:
    """What a connection that listens says to itself, to prove that it hears."""

    def __init__(self) -> None:
        self._awaited = ""
        self._returned = asyncio.Event()

    async def returns(self, connection: Connection, patience: float) -> bool:
        """Says something on the connection, and whether it was heard within ``patience`` seconds."""
        self._awaited = _PROBE + secrets.token_hex(8)
        self._returned.clear()
        await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, self._awaited)
        try:
            async with asyncio.timeout(patience):
                await self._returned.wait()
        except TimeoutError:
            return False
        return True

    def takes(self, payload: str) -> bool:
        """Takes what was said for this, here or by another; returns whether it is that rather than a change."""
        if payload == self._awaited:
            self._returned.set()
        return payload.startswith(_PROBE)


async def echo_seconds(database: Database, patience: float) -> float | None:
    """How long a notification takes on a new connection that listens, there and back; None where none comes back.

    Whoever listens already takes no notice of it.

    Args:
        database: What to listen to.
        patience: The most seconds to wait for it.

    Raises:
        CONNECTION_ERRORS: The database cannot be reached or refuses.
    """
    connection = await database.connect()
    try:
        echo = Echo()
        await connection.add_listener(CHANNEL, lambda _connection, _pid, _channel, payload: echo.takes(str(payload)))
        began = time.monotonic()
        heard = await echo.returns(connection, patience)
        return time.monotonic() - began if heard else None
    finally:
        connection.terminate()


class Listener:
    """Calls ``on_change`` for each notification, and after each (re)connect since anything may have been missed.

    Args:
        database: What to listen to.
        on_change: Called in the event loop with the payload, ``store_id:revision``, or with None when what was
            missed is not known. It must not block.
        probe_interval: Seconds between two probes, and the most that one may take to come back.
    """

    def __init__(self, database: Database, on_change: Callable[[str | None], None], probe_interval: float) -> None:
        self.health = Health.CONNECTING
        # How often a connection that worked was lost or went deaf.
        self.losses = 0
        self._database = database
        self._on_change = on_change
        self._probe_interval = probe_interval
        self._echo = Echo()

    async def run(self) -> None:
        """Listens until cancelled; every failure means a new connection."""
        backoff = Backoff()
        while True:
            try:
                await self._listen(backoff)
            except (*CONNECTION_ERRORS, asyncpg.exceptions.PostgresError) as error:
                # At the start it fails along with the reader, which says so in better words.
                if self.health is Health.LISTENING:
                    self.losses += 1
                    log.warning("lost the LISTEN connection; polling meanwhile", error=summary(error))
            except Exception:
                log.exception("listening failed unexpectedly; trying again")
            if self.health is not Health.DEAF:
                self.health = Health.CONNECTING
            await asyncio.sleep(backoff.next())

    async def _listen(self, backoff: Backoff) -> None:
        connection = await self._database.connect()
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        try:
            await connection.add_listener(CHANNEL, self._receive)
            # What was committed before LISTEN took effect was not announced to us.
            self._on_change(None)
            while await self._echo.returns(connection, self._probe_interval):
                if self.health is not Health.LISTENING:
                    self.health = Health.LISTENING
                    log.info("listening for changes", channel=CHANNEL)
                backoff.reset()
                # The next probe follows at once where the connection is seen to end, and finds it so.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._probe_interval):
                        await lost.wait()
            self._tell_deaf()
        finally:
            # Never close(): a connection that has gone silent would not answer the farewell either.
            connection.terminate()

    def _receive(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        text = str(payload)
        if not self._echo.takes(text):
            self._on_change(text)

    def _tell_deaf(self) -> None:
        if self.health is Health.LISTENING:
            self.health = Health.CONNECTING
            self.losses += 1
            log.warning("the LISTEN connection went deaf; replacing it, polling meanwhile")
        elif self.health is Health.CONNECTING:
            self.health = Health.DEAF
            log.warning(
                "LISTEN does not work on this connection, so changes are only polled for",
                hint="a transaction pooler, such as Supabase on port 6543, cannot deliver notifications;"
                " use a direct or session-pooled connection for changes within milliseconds",
            )
