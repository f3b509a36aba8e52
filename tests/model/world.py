"""The real thing: a database of its own, a daemon over it, a second connection to it, and watchers."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import grpc

from providerd.v1 import provider_pb2 as pb
from tests.conftest import TEMPLATE
from tests.integration.serving import Serving, error_info, free_port, serving, violations
from tests.integration.sql import connected
from tests.model.contents import CANARY
from tests.model.model import COLUMNS, Broken, Provider, Refused, State
from tests.model.statements import Statement
from tests.model.watching import Watcher

_BACKENDS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'providerd'"
_numbers = itertools.count(1)


class World:
    """What the model is compared with.

    Args:
        admin: A connection that may create databases.
        dsn: Makes the URL of a database.
    """

    daemon: Serving
    store_id: str
    sql: asyncpg.Connection

    def __init__(self, admin: asyncpg.Connection, dsn: Any) -> None:
        self._admin = admin
        self._name = f"model_{next(_numbers)}"
        self._dsn = dsn(self._name)
        self._address = f"127.0.0.1:{free_port()}"
        self._connections = AsyncExitStack()
        self._daemons = AsyncExitStack()
        self.watchers = (Watcher(), Watcher(with_credential=True))
        self._following: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Creates the database and starts everything on it."""
        await self._admin.execute(f"CREATE DATABASE {self._name} TEMPLATE {TEMPLATE} STRATEGY WAL_LOG")
        self.sql = await self._connections.enter_async_context(connected(self._dsn))
        self.store_id = str(await self.sql.fetchval("SELECT store_id FROM llm_provider_store"))
        await self.start()

    async def close(self) -> None:
        """Ends everything and drops the database."""
        try:
            await self.stop()
        finally:
            await self._connections.aclose()
            await self._admin.execute(f"DROP DATABASE {self._name} WITH (FORCE)")

    async def start(self) -> None:
        """Starts the daemon, and the watchers on it from where they were."""
        self.daemon = await self._daemons.enter_async_context(serving(self._dsn, address=self._address))
        self._following = [asyncio.create_task(watcher.follow(self.daemon)) for watcher in self.watchers]

    async def stop(self) -> None:
        """Ends the daemon; its watchers must be told."""
        await self._daemons.aclose()
        # A daemon freezes what it finds when it starts: in one process the garbage of each would stay for good.
        gc.unfreeze()
        await asyncio.gather(*self._following)

    async def until_told(self, state: State) -> None:
        """Returns when all watchers have been told of the active provider in ``state``."""
        await asyncio.gather(
            *(watcher.until(state, task) for watcher, task in zip(self.watchers, self._following, strict=True))
        )

    async def kill_backends(self) -> None:
        """Ends every connection that the daemon has to the database, and returns when the sockets are closed."""
        pids = [row["pid"] for row in await self.sql.fetch(_BACKENDS)]
        await self.sql.execute("SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) pid", pids)
        async with asyncio.timeout(10):
            # pg_stat_activity forgets a backend before its socket is closed; the process table only after.
            while any(_exists(pid) for pid in pids):
                await asyncio.sleep(0)

    async def seeded(self) -> State:
        """The state that the migrations leave behind."""
        rows = await self.sql.fetch("SELECT * FROM llm_provider_configs")
        return State(
            await self.revision(),
            {
                row["provider_name"]: Provider(
                    row["provider_name"], {column: row[column] for column in COLUMNS}, is_active=row["is_active"]
                )
                for row in rows
            },
        )

    async def revision(self) -> int:
        number: int = await self.sql.fetchval("SELECT revision FROM llm_provider_store")
        return number

    async def count_of_active(self) -> int:
        number: int = await self.sql.fetchval("SELECT count(*) FROM llm_provider_configs WHERE is_active")
        return number

    async def transact(self, statements: Sequence[Statement], *, commit: bool = True) -> None:
        """Runs statements in one transaction, as any program may.

        Raises:
            Broken: The database refused one; then none took effect.
        """
        transaction = self.sql.transaction()
        await transaction.start()
        try:
            for statement in statements:
                text, values = statement.sql()
                await self.sql.execute(text, *values)
        except asyncpg.exceptions.PostgresError as error:
            await transaction.rollback()
            raise Broken(getattr(error, "sqlstate", "")) from error
        await (transaction.commit() if commit else transaction.rollback())

    async def call(self, method: str, **request: Any) -> Any:
        """Calls an RPC whose answer must not hold any part of a key.

        Raises:
            Refused: With the violated fields, if there are any.
        """
        try:
            answer = await self.daemon.call(method, **request)
        except grpc.aio.AioRpcError as error:
            assert CANARY not in f"{error.details()} {error.trailing_metadata()}"
            fields = violations(error) if error.code() is grpc.StatusCode.INVALID_ARGUMENT else {}
            raise Refused(error.code().name, error_info(error).reason, *fields) from error
        assert CANARY.encode() not in answer.SerializeToString()
        return answer

    async def active(self) -> tuple[pb.Provider | None, str]:
        """The active provider and its key, as those are told who may know."""
        try:
            answer = await self.daemon.call("GetActiveProvider", include_credential=True)
        except grpc.aio.AioRpcError as error:
            assert error_info(error).reason == "NO_ACTIVE_PROVIDER", error
            return None, ""
        return answer.provider, answer.credential.api_key

    async def catch_up(self, state: State) -> None:
        """Returns when the daemon's reads show ``state``, as it promises those who heard of it elsewhere."""
        call = self.daemon.watch(known_revision={"store_id": self.store_id, "number": state.revision})
        message = await anext(aiter(call))
        call.cancel()
        assert message.HasField("heartbeat"), "what is known already was sent again"
        assert message.revision.number == state.revision

    async def history(self) -> list[pb.HistoryEntry]:
        """The whole history, oldest first, read a page at a time."""
        entries, token = [], ""
        while True:
            page = await self.call("ListHistory", page_size=7, page_token=token)
            entries += page.entries
            token = page.next_page_token
            if not token:
                return entries[::-1]

    async def holds_a_key_in_clear(self) -> bool:
        """Whether any key can be found in the tables."""
        found: bool = await self.sql.fetchval(
            "SELECT EXISTS (SELECT FROM llm_provider_config_history h WHERE h::text LIKE $1)"
            " OR EXISTS (SELECT FROM llm_provider_configs c WHERE c::text LIKE $1)",
            f"%{CANARY}%",
        )
        return found


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
