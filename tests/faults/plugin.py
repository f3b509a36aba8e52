"""A plugin of pytest that prints the report at the end, of all processes that ran faults.

With PROVIDERD_FAULTS_REPORT it is written to that file as well.
"""

import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.abuse.tally import TALLY
from tests.faults.report import REPORT, Report

_OUTPUT = "faults"


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REPORT] = Report()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    numbered = re.match(r"test_fault_(\d+)_", item.name)
    if numbered and (report.when == "call" or not report.passed):
        problem = call.excinfo.exconly().splitlines()[0] if call.excinfo else ""
        item.config.stash[REPORT].outcome(int(numbered[1]), problem)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    # Only workers of pytest-xdist have it: what they say goes to the process that prints.
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_OUTPUT] = session.config.stash[REPORT].sums()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    if sums := getattr(node, "workeroutput", {}).get(_OUTPUT):
        node.config.stash[REPORT].add(sums)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    counts = config.stash[TALLY].counts() if TALLY in config.stash else {"tried": {}, "accepted": {}}
    lines = config.stash[REPORT].text((sum(counts["tried"].values()), sum(counts["accepted"].values())))
    if not lines:
        return
    terminalreporter.section("faults")
    for line in lines:
        terminalreporter.write_line(line)
    if target := os.environ.get("PROVIDERD_FAULTS_REPORT"):
        Path(target).write_text("\n".join(lines) + "\n")
