"""What may break while daemons serve: one function for each fault, which returns once it is over."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import asyncpg

from tests.daemon import DaemonProcess
from tests.faults.cluster import Cluster
from tests.faults.proxy import Proxy, Way, proxy_to
from tests.faults.scale import scaled
from tests.faults.world import World, fresh_address, restarted

_SECONDS = scaled(1.0, 5.0)


@dataclass(frozen=True)
class Scene:
    """Two daemons over one database, with a proxy on each way.

    Attributes:
        world: The database.
        lasting: The daemon that is never ended.
        restart: Ends the other one by a signal, and returns once it is there again.
        to_database: The way of the lasting daemon to the database.
        to_daemons: The ways of clients to the daemons.
    """

    world: World
    lasting: DaemonProcess
    restart: Callable[..., Awaitable[None]]
    to_database: Proxy
    to_daemons: tuple[Proxy, Proxy]

    @property
    def cluster(self) -> Cluster:
        """The PostgreSQL."""
        return self.world.cluster

    @property
    def ways(self) -> list[Way]:
        """Each direction of each way."""
        return [way for proxy in (self.to_database, *self.to_daemons) for way in (proxy.up, proxy.down)]

    @property
    def any_proxy(self) -> Proxy:
        """One of the ways, by chance."""
        return random.choice((self.to_database, *self.to_daemons))


@asynccontextmanager
async def scene(world: World) -> AsyncIterator[Scene]:
    """Sets it."""
    address = fresh_address()
    async with AsyncExitStack() as stack:
        to_database = await stack.enter_async_context(proxy_to(world.cluster.socket))
        lasting = await stack.enter_async_context(world.daemon(world.url(to_database.address)))
        restart = await stack.enter_async_context(restarted(world, address))
        await world.seed(address)
        to_lasting = await stack.enter_async_context(proxy_to(lasting.address))
        to_other = await stack.enter_async_context(proxy_to(address))
        yield Scene(world, lasting, restart, to_database, (to_lasting, to_other))


async def restart_the_database(scene: Scene) -> None:
    await scene.cluster.bounce(signal.SIGINT)


async def crash_the_database(scene: Scene) -> None:
    await scene.cluster.bounce(signal.SIGQUIT)


async def kill_a_backend(scene: Scene) -> None:
    scene.cluster.kill_backend(random.choice(list(await scene.cluster.backends(scene.world.name))))
    await scene.cluster.until_up()


async def terminate_a_listener(scene: Scene) -> None:
    await scene.cluster.terminate(scene.world.name, await scene.cluster.listener(scene.world.name))


async def terminate_all_backends(scene: Scene) -> None:
    await scene.cluster.terminate(scene.world.name)


async def freeze_the_database(scene: Scene) -> None:
    with scene.cluster.frozen():
        await asyncio.sleep(_SECONDS)


async def hold_the_lock(scene: Scene) -> None:
    connection = await asyncpg.connect(scene.world.dsn)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("SELECT lock_provider_store()")
    await asyncio.sleep(_SECONDS)
    await transaction.rollback()
    await connection.close()


async def exhaust_connections(scene: Scene) -> None:
    async with scene.cluster.full():
        await asyncio.sleep(1)


async def freeze_the_daemon(scene: Scene) -> None:
    os.kill(scene.lasting.pid, signal.SIGSTOP)
    await asyncio.sleep(_SECONDS)
    os.kill(scene.lasting.pid, signal.SIGCONT)


async def kill_the_daemon(scene: Scene) -> None:
    await scene.restart(signal.SIGKILL)


async def end_the_daemon(scene: Scene) -> None:
    await scene.restart(signal.SIGTERM)


async def black_hole(scene: Scene) -> None:
    proxy = scene.any_proxy
    proxy.hold()
    await asyncio.sleep(_SECONDS)
    proxy.release()


async def reset_connections(scene: Scene) -> None:
    scene.any_proxy.reset()


async def half_close_connections(scene: Scene) -> None:
    for link in list(scene.any_proxy.links):
        link.half_close()


async def delay(scene: Scene) -> None:
    way = random.choice(scene.ways)
    way.delay = 0.1
    await asyncio.sleep(_SECONDS)
    way.ease()


async def throttle(scene: Scene) -> None:
    way = random.choice(scene.ways)
    way.rate, way.slice = 10_000, 100
    await asyncio.sleep(_SECONDS)
    way.ease()


FAULTS: tuple[Callable[[Scene], Awaitable[None]], ...] = (
    *(restart_the_database, crash_the_database, kill_a_backend, terminate_a_listener, terminate_all_backends),
    *(freeze_the_database, hold_the_lock, exhaust_connections),
    *(freeze_the_daemon, kill_the_daemon, end_the_daemon),
    *(black_hole, reset_connections, half_close_connections, delay, throttle),
)
