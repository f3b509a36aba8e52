"""The rig's PostgreSQL, a daemon that faults share, and the report at the end."""

import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.faults.cluster import Cluster, running_cluster
from tests.faults.report import Report
from tests.faults.scale import FULL
from tests.faults.world import World, world_on
from tests.integration.database_server import server_directory

_REPORT = pytest.StashKey[Report]()
_HOUR = 3600


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_REPORT] = Report()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if FULL and item.path.is_relative_to(here):
            item.add_marker(pytest.mark.timeout(2 * _HOUR))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    numbered = re.match(r"test_fault_(\d+)_", item.name)
    if numbered and (report.when == "call" or report.failed):
        problem = ""
        if not report.passed:
            problem = str(report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longreprtext)
            problem = getattr(report, "wasxfail", "") or problem.strip().splitlines()[-1]
        item.config.stash[_REPORT].outcome(int(numbered[1]), problem)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = config.stash[_REPORT].text(None)
    if not lines:
        return
    terminalreporter.section("faults")
    for line in lines:
        terminalreporter.write_line(line)
    if target := os.environ.get("PROVIDERD_FAULTS_REPORT"):
        Path(target).write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Report:
    return pytestconfig.stash[_REPORT]


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
