"""The rig's PostgreSQL, worlds on it, and two daemons of which one can be cut off."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.faults.cluster import Cluster, running_cluster
from tests.faults.proxy import Proxy, proxy_to
from tests.faults.report import REPORT, Report
from tests.faults.scale import FULL
from tests.faults.several import clients_of, is_current, status
from tests.faults.world import World, until, world_on
from tests.integration.database_server import server_directory

_HOUR = 3600


def pytest_configure(config: pytest.Config) -> None:
    # For runs of this directory alone; where it is there already, nothing happens.
    config.pluginmanager.import_plugin("tests.faults.plugin")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if FULL and item.path.is_relative_to(Path(__file__).parent) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_HOUR))


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Report:
    return pytestconfig.stash[REPORT]


@pytest.fixture(scope="session")
def hurt() -> Iterator[Cluster]:
    """The PostgreSQL of the rig alone: others would not survive what is done to it."""
    with server_directory() as directory, running_cluster(directory) as cluster:
        yield cluster


@pytest_asyncio.fixture
async def bare(hurt: Cluster, report: Report) -> AsyncIterator[World]:
    """A database of the fault's own, without a daemon."""
    async with world_on(hurt, report) as world:
        yield world


@pytest_asyncio.fixture
async def world(bare: World) -> AsyncIterator[World]:
    """A database with a daemon over it."""
    async with bare.daemon() as daemon:
        await bare.seed(daemon.address)
        yield bare


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
