"""Every write RPC mixed with direct SQL, outages and restarts, against a model. PROVIDERD_MODEL=full for long runs."""

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Iterator

import asyncpg
import pytest
import structlog
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from providerd_server.embedded import EmbeddedPostgres
from tests.model.machine import Bench, Machine
from tests.model.world import World

_COMMON = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
PROFILES = {
    "short": settings(_COMMON, max_examples=40, stateful_step_count=20),
    # Some examples end early: this many make more than 500 times 30 steps.
    "full": settings(_COMMON, max_examples=600, stateful_step_count=30),
}


@pytest.fixture
def quiet() -> Iterator[None]:
    """Keeps the daemon's log to errors: what many thousand RPCs log would hide the failing example."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("quiet")
@pytest.mark.timeout(3600)
def test_providerd_does_what_the_model_does(
    cluster: EmbeddedPostgres, template: str, tally: Counter[tuple[str, str]]
) -> None:
    profile = PROFILES[os.environ.get("PROVIDERD_MODEL", "short")]
    with asyncio.Runner() as runner:
        admin = runner.run(asyncpg.connect(cluster.dsn("postgres")))
        bench = Bench(runner.get_loop(), lambda: World(admin, cluster.dsn), tally)

        class Providerd(Machine):
            def __init__(self) -> None:
                super().__init__(bench)

        run_state_machine_as_test(Providerd, settings=profile)
        runner.run(admin.close())
    assert tally["example", "explained"] >= profile.max_examples
