"""Faults 4, 6, 10, 11 and 20: what if notifications do not come."""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.daemon import DaemonProcess
from tests.faults.proxy import Proxy, proxy_to
from tests.faults.scale import scaled
from tests.faults.world import World, until

# So seldom that whatever is heard was not polled for.
NEVER = {"PROVIDERD_POLL_INTERVAL": "600"}
# Only what a fault itself changes is to be heard of.
STILL = {"writes": 0, "reads": 0}

_POLL = scaled(0.5, 2.0)
_UNLISTEN = b"UNLISTEN *\0"
_LISTENING = '"listening for changes"'


@asynccontextmanager
async def proxied(world: World, **env: str) -> AsyncIterator[tuple[Proxy, DaemonProcess]]:
    """A daemon that reaches its database by way of a proxy, once it listens."""
    async with proxy_to(world.cluster.socket) as proxy, world.daemon(world.url(proxy.address), **env) as daemon:
        await world.seed(daemon.address)
        await until(lambda: _LISTENING in daemon.log.read_text(), 10)
        yield proxy, daemon


async def test_fault_04_the_listeners_backend_is_terminated_again_and_again(bare: World) -> None:
    async with bare.daemon(**NEVER) as daemon:
        await bare.seed(daemon.address)
        async with bare.load(**STILL) as load:
            for _ in range(scaled(5, 60)):
                await bare.cluster.terminate(bare.name, await bare.cluster.listener(bare.name))
                await load.converged(5)
                await asyncio.sleep(scaled(0.1, 2))
        assert daemon.log.read_text().count("lost the LISTEN connection") >= scaled(5, 60) // 2


async def test_fault_06_only_the_listener_is_black_holed(bare: World) -> None:
    async with proxied(bare) as (proxy, daemon), bare.load(**STILL) as load:
        [link] = proxy.that_said(b"pg_notify")
        began = time.monotonic()
        link.hold()
        await load.converged(1.25 * _POLL + 1)
        seen = daemon.log.read_text().count(_LISTENING)
        await until(lambda: daemon.log.read_text().count(_LISTENING) > seen, began + 15 - time.monotonic())
        assert re.search("LISTEN connection", daemon.log.read_text())
        # On the new connection they come at once again.
        await load.converged(5)


async def test_fault_10_a_commit_between_listen_and_read(bare: World) -> None:
    async with bare.daemon(**NEVER) as daemon:
        await bare.seed(daemon.address)
        async with bare.load(**STILL) as load:
            for _ in range(scaled(20, 1000)):
                await bare.cluster.terminate(bare.name)
                # Anywhere in the time that the daemon takes to be back.
                await asyncio.sleep(random.uniform(0, 0.12))
                await load.converged(10)


async def test_fault_11_an_unlisten_behind_our_back(bare: World) -> None:
    async with proxied(bare, **NEVER) as (proxy, daemon), bare.load(**STILL) as load:
        [link] = proxy.that_said(b"pg_notify")
        # Query, as in https://www.postgresql.org/docs/current/protocol-message-formats.html; what comes back are
        # CommandComplete and ReadyForQuery.
        link.slip_in(b"Q" + (4 + len(_UNLISTEN)).to_bytes(4) + _UNLISTEN, unheard=5 + len(b"UNLISTEN\0") + 6)
        await load.converged(15)
        assert "the LISTEN connection went deaf" in daemon.log.read_text()


async def test_fault_20_a_pooler_that_never_delivers(bare: World) -> None:
    async with proxy_to(bare.cluster.socket) as proxy:
        # The daemon's LISTEN leads elsewhere, as does that on a connection of a pool that is another's next.
        proxy.up.edit = lambda data: re.sub(rb'(?<!UN)(LISTEN "?llm_provider_change)s', rb"\1z", data)
        async with bare.daemon(bare.url(proxy.address)) as daemon:
            await bare.seed(daemon.address)
            async with bare.load() as load:
                await load.more_writes(scaled(5, 50))
                await load.converged(1.25 * _POLL + 1)
                await until(lambda: "LISTEN does not work on this connection" in daemon.log.read_text(), 15)
                await load.converged(1.25 * _POLL + 1)
            assert _LISTENING not in daemon.log.read_text()
