"""The SDK against the real daemon, where it takes real time or a daemon that comes back another."""

import asyncio

import pytest

from providerd import Client, CredentialUnavailableError, State
from tests.daemon import running_daemon
from tests.integration.serving import free_port


async def test_max_age_is_never_reached_while_everything_is_well(database: str) -> None:
    with running_daemon(database) as daemon:
        async with Client(daemon.address, max_age=5) as client:
            async with asyncio.timeout(20):
                heard = 0
                before = client.age
                # Through three signs of life: each is when the age falls.
                while heard < 3:
                    assert client.active.provider_name == "groq"
                    assert client.state is State.READY
                    heard += client.age < before
                    before = client.age
                    await asyncio.sleep(0.02)


async def test_a_key_that_becomes_readable_reaches_a_client_that_waited_for_it(database: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    with running_daemon(database, PROVIDERD_LISTEN=address, DB_ENCRYPTION_KEY="right") as daemon:
        async with Client(address, watch=False) as operator:
            await operator.upsert({"provider_name": "groq"}, api_key="gsk-canary")
        daemon.stop()
    async with Client(address, include_credential=True, heartbeat_interval=1) as client:
        with running_daemon(database, PROVIDERD_LISTEN=address, DB_ENCRYPTION_KEY="wrong") as daemon:
            await client.wait_ready(timeout=20)
            with pytest.raises(CredentialUnavailableError, match="cannot decrypt"):
                _ = client.credential
            daemon.kill()
        with running_daemon(database, PROVIDERD_LISTEN=address, DB_ENCRYPTION_KEY="right"):
            async with asyncio.timeout(20):
                async for _ in client.changes():
                    if client.current.credential is not None:
                        break
            assert client.credential.api_key == "gsk-canary"
