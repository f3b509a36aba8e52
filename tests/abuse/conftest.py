"""One daemon for all hostile cases, and the count of them."""

from collections.abc import Iterator

import pytest

from tests.abuse.tally import Tally
from tests.abuse.world import World, running_world
from tests.conftest import Psql
from tests.integration.database_server import server_directory

_TALLY = pytest.StashKey[Tally]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TALLY] = Tally()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash[_TALLY].report():
        terminalreporter.section("abuse")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> Tally:
    return pytestconfig.stash[_TALLY]


@pytest.fixture(scope="session")
def world(psql: Psql, tally: Tally) -> Iterator[World]:
    with server_directory() as directory, running_world(directory, psql, tally) as world:
        yield world
