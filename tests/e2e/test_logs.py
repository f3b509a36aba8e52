"""What the daemon's log tells an operator, and what it never holds."""

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

from providerd import Client
from providerd_server.embedded import EmbeddedPostgres
from tests.conftest import Psql
from tests.daemon import DaemonProcess, running_daemon
from tests.integration.test_service_writes import MISTRAL


def events(daemon: DaemonProcess, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in daemon.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


async def test_every_change_is_told_whoever_makes_it_and_no_key_ever(database: str, psql: Psql) -> None:
    with running_daemon(database, PROVIDERD_LOG_LEVEL="debug", DB_ENCRYPTION_KEY="canary-passphrase") as daemon:
        async with Client(daemon.address, name="billing", include_credential=True) as client:
            await client.upsert(MISTRAL, api_key="sk-canary", actor="ann")
            await client.switch("mistral", actor="ann", reason="a test")
            psql(database, "-c", "UPDATE llm_provider_configs SET description = 'by hand' WHERE is_active")
            async for change in client.changes():
                if change.provider is not None and change.provider.description == "by hand":
                    break
        daemon.stop()
        told = [(event["revision"], event["active"], event["change"]) for event in events(daemon, "new revision")]
        assert told == [
            (1, "groq", "initial"),
            (2, "groq", "not of the active provider"),
            (3, "mistral", "switched"),
            (4, "mistral", "updated"),
        ]
        switch = next(event for event in events(daemon, "rpc") if event["rpc"] == "SwitchProvider")
        assert switch.items() >= {"code": "OK", "level": "info", "provider_name": "mistral", "actor": "ann"}.items()
        watching = events(daemon, "watching")[0]
        assert watching["client"].startswith("billing ")
        assert "canary" not in daemon.log.read_text()


async def test_a_switch_to_a_provider_whose_key_cannot_be_read_says_so(database: str) -> None:
    with running_daemon(database, DB_ENCRYPTION_KEY="one passphrase") as daemon:
        async with Client(daemon.address, watch=False) as client:
            await client.upsert(MISTRAL, api_key="sk-canary")
    with running_daemon(database, DB_ENCRYPTION_KEY="another passphrase") as daemon:
        async with Client(daemon.address, watch=False) as client:
            switched = await client.switch("mistral")
            assert [warning.reason for warning in switched.warnings] == ["CREDENTIAL_UNREADABLE"]
        daemon.stop()
        (told,) = events(daemon, "the key of a provider cannot be decrypted")
        assert told["provider_name"] == "mistral"
        assert "canary" not in daemon.log.read_text()


async def test_trouble_with_the_database_is_told_once_and_so_is_its_end(
    database: str, psql: Psql, cluster: EmbeddedPostgres
) -> None:
    name = urlsplit(database).path.lstrip("/")
    admin = cluster.dsn("postgres")
    with running_daemon(database, PROVIDERD_POLL_INTERVAL="0.1") as daemon:
        psql(admin, "-c", f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
        psql(admin, "-c", f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        async with asyncio.timeout(20), Client(daemon.address, heartbeat_interval=1) as client:
            while client.age < 2:
                await asyncio.sleep(0.05)
        psql(admin, "-c", f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
        async with asyncio.timeout(20):
            while not events(daemon, "reading the database again"):
                await asyncio.sleep(0.05)
        daemon.stop()
        troubles = events(daemon, "cannot read the database")
        assert 1 <= len(troubles) <= 3  # the loss, then the refusal; not one line an attempt
        assert troubles[0]["meanwhile"] == "answering from memory"
        assert troubles[0]["database"].endswith(name)
        assert len(events(daemon, "reading the database again")) == 1
