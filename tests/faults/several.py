"""Clients of several daemons, and who is where."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from providerd import Client, DaemonStatus, State
from tests.faults.load import PROVIDERS

# How many there are unless a test says otherwise.
CLIENTS = 12


@asynccontextmanager
async def clients_of(*targets: str, count: int = CLIENTS) -> AsyncIterator[list[Client]]:
    """So many clients, each with connections of its own."""
    async with AsyncExitStack() as stack:
        clients = [Client(*targets, heartbeat_interval=1) for _ in range(count)]
        await asyncio.gather(*(stack.enter_async_context(client) for client in clients))
        yield clients


async def switch(address: str) -> int:
    """Makes somebody else the active provider; returns the revision."""
    async with Client(address, watch=False) as client:
        return (await client.switch(await somebody_else(address))).revision.number


async def somebody_else(address: str) -> str:
    """The name of a provider that is not active."""
    async with Client(address, watch=False) as client:
        active = (await client.get_active()).provider.provider_name
        return next(name for name in PROVIDERS if name != active)


async def status(address: str) -> DaemonStatus:
    """How the daemon there is."""
    async with Client(address, watch=False) as client:
        return await client.get_status()


async def watchers_at(*addresses: str) -> list[int]:
    """How many watch each of these daemons."""
    counts = []
    for address in addresses:
        watchers = (await status(address)).watchers
        counts.append(watchers.current + watchers.behind + watchers.starting)
    return counts


async def until_watched(addresses: Sequence[str], counts: list[int]) -> None:
    """Returns once so many watch each of these daemons: one that was left notices it a moment later."""
    found = None
    with suppress(TimeoutError):
        async with asyncio.timeout(5):
            while (found := await watchers_at(*addresses)) != counts:
                await asyncio.sleep(0.1)
    assert found == counts


def is_current(client: Client, number: int) -> bool:
    """Whether it has this revision, and trusts it."""
    return client.revision is not None and client.revision.number >= number and client.state is State.READY
