"""A daemon with everything that abuse aims at, and with neighbours that must not notice."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from providerd.v1 import provider_pb2 as pb
from providerd.v1.provider_pb2_grpc import ProviderServiceStub
from providerd_server import migrate
from providerd_server.embedded import EmbeddedPostgres
from tests.abuse.case import SERVICE, bearer
from tests.abuse.judge import Judge, complain
from tests.abuse.tally import Tally
from tests.cli import MINIMAL
from tests.conftest import Psql
from tests.daemon import DAEMON_ROLE, DaemonProcess, running_daemon
from tests.integration.access import AccessFile
from tests.integration.database_server import database_server
from tests.integration.serving import free_port
from tests.integration.sql import connected

PASSPHRASE = "canary-of-a-passphrase-9157f0c2"
API_KEY = "sk-canary-of-an-api-key-5c1fa83b"
# In every token there is, and in every wrong one that is made up.
TOKEN_MARK = "providerd_token-of-"
PRESENTED = "canary-of-what-was-presented-3e77"
CANARIES = (PASSPHRASE, API_KEY, TOKEN_MARK, PRESENTED)

# The most that PostgreSQL logs of statements and of what they are called with.
TALKATIVE = {
    "log_min_messages": "info",
    "log_statement": "all",
    "log_min_duration_statement": "0",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "-1",
    "log_error_verbosity": "verbose",
}

_SCOPES = {
    "admin": ["admin"],
    "reader": ["read"],
    "neighbour": ["read"],
    "writer": ["read", "switch", "write"],
    "keeper": ["read", "read-credential"],
}

_STATE = """
SELECT s.store_id::text, s.revision, md5(c.all), md5(h.all), md5(b.all)
FROM llm_provider_store s,
    (SELECT string_agg(c::text, chr(10) ORDER BY id) AS all FROM llm_provider_configs c) c,
    (SELECT string_agg(h::text, chr(10) ORDER BY id) AS all FROM llm_provider_config_history h) h,
    (SELECT string_agg(b::text, chr(10) ORDER BY mark) AS all FROM llm_provider_key_bindings b) b
"""
_OWN_NAMES = """
SELECT proname FROM pg_proc p WHERE pronamespace = 'public'::regnamespace
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
UNION SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
UNION SELECT tgname FROM pg_trigger UNION SELECT conname FROM pg_constraint WHERE conname LIKE 'llm%'
"""


@dataclass(frozen=True)
class World:
    """What hostile cases are tried on.

    Attributes:
        daemon: Outside development, with authentication, at its most talkative.
        postgres: The server under it, which logs all it can.
        dsn: The database, as its owner.
        access: Who may what.
        tokens: By principal. ``revoked`` and ``expired`` are no longer good.
        judge: Judges.
        postgres_log: What the server writes.
        metrics: Where the daemon shows them.
    """

    daemon: DaemonProcess
    postgres: EmbeddedPostgres
    dsn: str
    access: AccessFile
    judge: Judge
    postgres_log: Path
    metrics: str
    tokens: dict[str, str] = field(default_factory=dict)

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[grpc.aio.Channel]:
        """A connection of its own."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.absolute_max_metadata_size", 1 << 20)]
        async with grpc.aio.insecure_channel(self.daemon.address, options=options) as channel:
            yield channel

    @asynccontextmanager
    async def attacked(self) -> AsyncIterator[grpc.aio.Channel]:
        """A connection for attacks, after which nothing is changed, nobody was disturbed and nothing failed inside."""
        before, logged = await state_of(self.dsn), self.daemon.log.stat().st_size
        async with self.unharmed(), self.channel() as channel:
            yield channel
        assert await state_of(self.dsn) == before
        complain(self.failures_since(logged))

    @asynccontextmanager
    async def unharmed(self) -> AsyncIterator[Any]:
        """A neighbour's watch, which lives through whatever happens in the block, and calls beside it."""
        async with self.channel() as channel:
            stub: Any = ProviderServiceStub(channel)
            good = bearer(self.tokens["neighbour"])
            watch = stub.WatchActive(pb.WatchActiveRequest(), metadata=good)
            assert (await watch.read()).active.provider.provider_name == "keyed"
            yield watch
            assert len((await stub.ListProviders(pb.ListProvidersRequest(), metadata=good, timeout=10)).providers) > 3
            assert not watch.done()
            watch.cancel()

    async def call(self, principal: str, method: str, **request: Any) -> Any:
        """Calls a unary RPC as it is meant to be."""
        async with self.channel() as channel:
            message: Message = ParseDict(request, getattr(pb, f"{method}Request")())
            stub = ProviderServiceStub(channel)
            return await getattr(stub, method)(message, timeout=20, metadata=bearer(self.tokens[principal]))

    async def let_in(self, *tokens: str) -> None:
        """Returns once the daemon knows these tokens, whatever they may do."""
        async with self.channel() as channel:
            ask = channel.unary_unary(f"{SERVICE}ListProviders")
            async with asyncio.timeout(20):
                for token in tokens:
                    while not await _is_known(ask, token):
                        await asyncio.sleep(0.05)

    def events(self, name: str, since: int = 0) -> list[dict[str, Any]]:
        """The lines of this event in the daemon's log."""
        with self.daemon.log.open() as log:
            log.seek(since)
            return [line for text in log if text.startswith("{") and (line := json.loads(text))["event"] == name]

    def failures_since(self, position: int) -> list[str]:
        """What the daemon itself logged as a failure of its own."""
        with self.daemon.log.open() as log:
            log.seek(position)
            return [line[:1000] for line in log if "Traceback" in line or '"level": "error"' in line]


async def state_of(dsn: str) -> tuple[Any, ...]:
    """The revision of a database and all its content."""
    async with connected(dsn) as db:
        return tuple(await db.fetchrow(_STATE))


@contextmanager
def running_world(directory: Path, psql: Psql, tally: Tally) -> Iterator[World]:
    """Runs one, with the initial providers and three more: ``keyed`` is active and has a key, ``disabled`` is so."""
    with database_server(directory, TALKATIVE, hba="local all all trust\n") as postgres:
        dsn = postgres.dsn()
        asyncio.run(migrate.up(dsn))
        psql(dsn, "-c", f"CREATE ROLE {DAEMON_ROLE} LOGIN")
        roles = psql(dsn, "-f", str(migrate.migration_directory() / "roles.sql"))
        assert roles.returncode == 0, roles.stderr
        psql(dsn, "-c", f"GRANT providerd_daemon TO {DAEMON_ROLE}")
        access = AccessFile(directory / "access.json")
        tokens = {name: access.token(name, *scopes) for name, scopes in _SCOPES.items()}
        tokens["expired"] = access.token("expired", "admin", expires=datetime.now(UTC) - timedelta(days=1))
        tokens["revoked"] = access.token("revoked", "admin")
        access.revoke("revoked")
        judge = Judge(tally, CANARIES, asyncio.run(_own_names(dsn)))
        with running_daemon(
            dsn,
            DB_ENCRYPTION_KEY=PASSPHRASE,
            PROVIDERD_DEV="false",
            PROVIDERD_ACCESS_FILE=str(access.path),
            PROVIDERD_MAX_AUTH_FAILURES="1000000",
            PROVIDERD_LOG_LEVEL="debug",
            PROVIDERD_METRICS_LISTEN=(metrics := f"127.0.0.1:{free_port()}"),
        ) as daemon:
            world = World(daemon, postgres, dsn, access, judge, directory / "data" / "postgres.log", metrics, tokens)
            asyncio.run(_settle(world))
            yield world


async def _own_names(dsn: str) -> list[str]:
    async with connected(dsn) as db:
        names = {row[0] for row in await db.fetch(_OWN_NAMES)}
    # What the API calls by the same name says nothing of the database.
    return sorted(name for name in names if "_" in name)


async def _settle(world: World) -> None:
    async def upsert(name: str, new_api_key: str = "", **content: Any) -> None:
        key = {"new_api_key": new_api_key} if new_api_key else {}
        await world.call("admin", "UpsertProvider", provider=provider(name, **content), **key)

    # First without a key and elsewhere: what a rollback would bring back.
    await upsert("keyed", base_url="https://elsewhere.example.com")
    await upsert("keyed", new_api_key=API_KEY)
    await upsert("spare")
    await upsert("disabled", is_enabled=False)
    await world.call("admin", "SwitchProvider", provider_name="keyed")


async def _is_known(ask: Any, token: str) -> bool:
    try:
        await ask(b"", metadata=bearer(token), timeout=10)
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.PERMISSION_DENIED
    return True


def provider(name: str, **content: Any) -> dict[str, Any]:
    """A provider that breaks no rule, but for what ``content`` says otherwise, as JSON."""
    return {**MINIMAL, "provider_name": name, "base_url": "https://api.example.com", **content}
