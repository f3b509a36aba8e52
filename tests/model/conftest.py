"""Counts what the state machine did, and tells at the end."""

from collections import Counter

import pytest

_TALLY = pytest.StashKey[Counter[tuple[str, str]]]()


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Counter[tuple[str, str]]:
    """How often each operation ended how."""
    return request.config.stash.setdefault(_TALLY, Counter())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if (tally := config.stash.get(_TALLY, None)) is None:
        return
    terminalreporter.section("the model test")
    for (operation, outcome), count in sorted(tally.items()):
        terminalreporter.write_line(f"{operation:32} {outcome:40} {count:7,}")
    steps = sum(count for (operation, _), count in tally.items() if operation != "example")
    terminalreporter.write_line(f"{'all steps':73} {steps:7,}")
