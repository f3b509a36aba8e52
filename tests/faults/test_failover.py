"""Several daemons: clients spread over them, go on with the others where one falls out, and never go back."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import grpc
import pytest_asyncio

from providerd import ActiveProvider, Client, DaemonStatus, State, UnavailableError
from tests.daemon import PROVIDERD, DaemonProcess, clean_environment
from tests.dns import name_server
from tests.faults.load import PROVIDERS
from tests.faults.proxy import Proxy, proxy_to
from tests.faults.world import World, fresh_address, until
from tests.sidecar import running_sidecar

_CLIENTS = 12


@pytest_asyncio.fixture
async def link(bare: World) -> AsyncIterator[Proxy]:
    """The way of one daemon to the database."""
    async with proxy_to(bare.cluster.socket) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def pair(bare: World, link: Proxy) -> AsyncIterator[list[str]]:
    """The addresses of two daemons, the second of which is behind the link."""
    async with bare.daemon() as first, bare.daemon(bare.url(link.address)) as second:
        await bare.seed(first.address)
        newest = (await status(first.address)).revision.number
        async with clients_of(second.address, count=1) as [client]:
            await until(lambda: is_current(client, newest), 10)
        yield [first.address, second.address]


async def test_clients_leave_a_daemon_that_lost_its_database(link: Proxy, pair: list[str]) -> None:
    async with clients_of(*pair) as clients:
        told: list[list[int]] = [[] for _ in clients]
        for client, numbers in zip(clients, told, strict=True):
            client.on_change(lambda change, numbers=numbers: numbers.append(change.revision.number))
        # Where they begin is chance: once in 4,000 runs it is the other daemon for all.
        assert (await watchers_at(*pair))[1] > 0, "nobody is at the one that is cut off"
        link.hold()
        newest = await switch(pair[0])
        await until(lambda: all(is_current(client, newest) for client in clients), 30)
        await until_watched(pair, [_CLIENTS, 0])
        link.release()
        newest = await switch(pair[0])
        await until(lambda: all(is_current(client, newest) for client in clients), 10)
        # Whoever found a fresh one stays there.
        await until_watched(pair, [_CLIENTS, 0])
    assert all(numbers == sorted(numbers) for numbers in told)


async def test_sidecars_leave_a_daemon_that_lost_its_database(link: Proxy, pair: list[str]) -> None:
    async with AsyncExitStack() as stack:
        # Where they begin is chance: of so many, one in 250 runs has none at the daemon that is cut off.
        flags = {"PROVIDERD_STALE_AFTER": "3"}
        running = [stack.enter_context(running_sidecar(*pair, **flags)) for _ in range(8)]
        workers = [
            await stack.enter_async_context(Client(sidecar.address, heartbeat_interval=1)) for sidecar in running
        ]
        link.hold()
        newest = await switch(pair[0])
        await until(lambda: all(is_current(worker, newest) for worker in workers), 30)
        await until_watched(pair, [len(running), 0])
        link.release()


async def test_where_all_lost_their_database_clients_serve_what_they_have(bare: World, link: Proxy) -> None:
    url = bare.url(link.address)
    async with bare.daemon(url) as first, bare.daemon(url) as second:
        await bare.seed(first.address)
        async with clients_of(first.address, second.address) as clients:
            newest = (await status(first.address)).revision.number
            await until(lambda: all(is_current(client, newest) for client in clients), 10)
            link.hold()
            await until(lambda: all(client.state is State.STALE for client in clients), 30)
            for _ in range(50):
                assert {client.active.provider_name for client in clients} == {PROVIDERS[0]}
                assert {client.state for client in clients} == {State.STALE}
                await asyncio.sleep(0.1)
            link.release()
            await until(lambda: all(is_current(client, newest) for client in clients), 30)


async def test_calls_go_past_a_daemon_that_never_saw_its_database(world: World, tmp_path: Path) -> None:
    [daemon] = world.daemons
    with never_ready(tmp_path) as address:
        async with Client(daemon.address, address, watch=False) as client:
            await until_connected(address)
            for number in range(20):
                assert (await client.get("alpha")).provider_name == "alpha"
                await client.switch(PROVIDERS[number % 2])
        async with clients_of(daemon.address, address) as clients:
            assert {client.state for client in clients} == {State.READY}


async def test_what_is_so_now_never_goes_back(link: Proxy, pair: list[str]) -> None:
    link.hold()
    async with Client(*pair, watch=False) as client:
        await client.get_active()
        newest = await switch(pair[0])
        # From whoever answers first what a daemon that is behind does not know yet.
        while (await client.get_active()).revision.number < newest:
            pass
        for _ in range(20):
            answer = await client.get_active()
            assert answer.revision.number == newest
            assert not client.source.stale
    async with Client(*pair, heartbeat_interval=1) as watching:
        await until(lambda: watching.revision.number == newest, 30)
        assert {(await watching.get_active()).revision.number for _ in range(20)} == {newest}
    link.release()


async def test_clients_of_a_daemon_that_is_behind_keep_what_they_have(
    bare: World, link: Proxy, pair: list[str]
) -> None:
    async with clients_of(*pair) as clients:
        told: list[list[int]] = [[] for _ in clients]
        for client, numbers in zip(clients, told, strict=True):
            client.on_change(lambda change, numbers=numbers: numbers.append(change.revision.number))
        link.hold()
        newest = await switch(pair[0])
        await until(lambda: all(is_current(client, newest) for client in clients), 30)
        name = clients[0].active.provider_name
        await asyncio.to_thread(bare.daemons[0].kill)
        await until(lambda: all(client.state is State.STALE for client in clients), 10)
        for _ in range(50):
            assert {client.active.provider_name for client in clients} == {name}
            assert {client.revision.number for client in clients} == {newest}
            await asyncio.sleep(0.1)
        link.release()
        await until(lambda: all(is_current(client, newest) for client in clients), 15)
    assert all(numbers == sorted(numbers) for numbers in told)


async def test_where_all_are_behind_the_answer_is_marked_stale(bare: World, link: Proxy, pair: list[str]) -> None:
    link.hold()
    async with Client(*pair, watch=False) as client:
        newest = (await client.switch(await somebody_else(pair[0]))).revision.number
        await asyncio.to_thread(bare.daemons[0].kill)
        answer = await until_answered(client)
        assert answer.revision.number < newest
        assert client.source is not None
        assert client.source.stale
    link.release()


async def test_clients_spread_over_all(bare: World) -> None:
    async with AsyncExitStack() as stack:
        addresses = [(await stack.enter_async_context(bare.daemon())).address for _ in range(3)]
        # By chance one of them gets nobody once in 60,000 runs.
        await stack.enter_async_context(clients_of(*addresses, count=30))
        assert min(await watchers_at(*addresses)) > 0


async def test_the_fastest_daemon_does_not_get_them_all(bare: World) -> None:
    async with bare.daemon() as near, bare.daemon() as far, proxy_to(far.address) as way, AsyncExitStack() as stack:
        way.down.delay = 0.01
        # One after the other, since the proxy shares a processor with them.
        for _ in range(16):
            await stack.enter_async_context(clients_of(near.address, way.address, count=1))
        assert min(await watchers_at(near.address, far.address)) > 0


async def test_clients_of_a_name_spread_and_follow_it_elsewhere(bare: World) -> None:
    port = fresh_address().rpartition(":")[2]

    async def daemons(stack: AsyncExitStack, *hosts: str) -> list[DaemonProcess]:
        return [await stack.enter_async_context(bare.daemon(PROVIDERD_LISTEN=f"{host}:{port}")) for host in hosts]

    async with name_server("127.0.0.1", "127.0.0.2") as names, AsyncExitStack() as old, AsyncExitStack() as new:
        before = await daemons(old, *names.addresses)
        await bare.seed(before[0].address)
        target = f"dns://127.0.0.1:{names.port}/providerd.test:{port}"
        async with clients_of(target, count=20) as clients:
            assert min(await watchers_at(*(daemon.address for daemon in before))) > 0
            # As in a rollout: others are there, the name says so, and the first end in order.
            after = await daemons(new, "127.0.0.3", "127.0.0.4")
            names.addresses[:] = ["127.0.0.3", "127.0.0.4"]
            await asyncio.gather(*(asyncio.to_thread(daemon.stop) for daemon in before))
            newest = await switch(after[0].address)
            await until(lambda: all(is_current(client, newest) for client in clients), 30)
            counts = await watchers_at(*(daemon.address for daemon in after))
            assert sum(counts) == 20
            assert min(counts) > 0


@asynccontextmanager
async def clients_of(*targets: str, count: int = _CLIENTS) -> AsyncIterator[list[Client]]:
    """So many clients, each with connections of its own."""
    async with AsyncExitStack() as stack:
        clients = [Client(*targets, heartbeat_interval=1) for _ in range(count)]
        await asyncio.gather(*(stack.enter_async_context(client) for client in clients))
        yield clients


@contextmanager
def never_ready(directory: Path) -> Iterator[str]:
    """A daemon whose database is nowhere; yields its address."""
    address = fresh_address()
    environment = {"SUPABASE_DB_URL": "postgresql://nobody@127.0.0.1:1/none", "PROVIDERD_LISTEN": address}
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [PROVIDERD, "serve"],
            env={**clean_environment(), **environment, "PROVIDERD_DEV": "true"},
            cwd=directory,
            stderr=log,
        )
    try:
        yield address
    finally:
        process.terminate()
        process.wait(20)


async def until_connected(address: str) -> None:
    """Returns once somebody listens there."""
    async with grpc.aio.insecure_channel(address) as channel:
        await asyncio.wait_for(channel.channel_ready(), 20)


async def until_answered(client: Client) -> ActiveProvider:
    """What it is told once it has noticed that a daemon is gone."""
    async with asyncio.timeout(10):
        while True:
            with suppress(UnavailableError):
                return await client.get_active()


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
