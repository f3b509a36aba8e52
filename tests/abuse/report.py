"""A plugin of pytest that prints the counts at the end, of all processes that tried something."""

from typing import Any

import pytest

from tests.abuse.tally import TALLY, Tally

_OUTPUT = "abuse"


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TALLY] = Tally()


def pytest_sessionfinish(session: pytest.Session) -> None:
    # Only workers of pytest-xdist have it: what they say goes to the process that prints.
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_OUTPUT] = session.config.stash[TALLY].counts()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    if counts := getattr(node, "workeroutput", {}).get(_OUTPUT):
        node.config.stash[TALLY].add(counts)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash[TALLY].report():
        terminalreporter.section("abuse")
        for line in lines:
            terminalreporter.write_line(line)
