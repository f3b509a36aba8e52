"""The rig's PostgreSQL, and worlds on it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.faults.cluster import Cluster, running_cluster
from tests.faults.report import REPORT, Report
from tests.faults.scale import FULL
from tests.faults.world import World, world_on
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
