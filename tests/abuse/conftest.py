"""One daemon for all hostile cases of a process, and the count of them."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.abuse.search import Search
from tests.abuse.tally import TALLY, Tally
from tests.abuse.world import World, running_world
from tests.conftest import Psql
from tests.integration.database_server import server_directory


def pytest_configure(config: pytest.Config) -> None:
    # For runs of this directory alone; where it is there already, nothing happens.
    config.pluginmanager.import_plugin("tests.abuse.report")


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> Tally:
    return pytestconfig.stash[TALLY]


@pytest.fixture(scope="session")
def world(psql: Psql, tally: Tally) -> Iterator[World]:
    with server_directory() as directory, running_world(directory, psql, tally) as world:
        yield world
        # What all cases have left behind.
        search = Search(world)
        asyncio.run(search.look_at_what_is_left())
        search.conclude()
