"""Which answers of several daemons are older than what a client knows."""

import pytest

from providerd import ClientOptions
from providerd.cache import Cache
from providerd.horizon import Horizon
from providerd.provider import Revision
from providerd.v1 import provider_pb2 as pb
from tests.unit.sdk_messages import OTHER_STORE, STORE, active, revision, source


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> Cache:
    return Cache(ClientOptions(), clock)


@pytest.fixture
def horizon(cache: Cache, clock: Clock) -> Horizon:
    return Horizon(cache, clock)


def answer(number: int, *, store: str = STORE, age: float = 0.0) -> pb.GetActiveProviderResponse:
    return pb.GetActiveProviderResponse(revision=revision(number, store), source=source(age))


def test_what_is_as_new_or_newer_is_taken(horizon: Horizon, clock: Clock) -> None:
    assert [horizon.takes(answer(number), clock.now) for number in (5, 5, 6)] == [True] * 3


def test_less_than_an_answer_before_is_not(horizon: Horizon, clock: Clock) -> None:
    assert horizon.takes(answer(6), clock.now)
    assert not horizon.takes(answer(5), clock.now)
    assert horizon.takes(answer(6), clock.now)


def test_less_than_an_acknowledged_write_is_not(horizon: Horizon, clock: Clock) -> None:
    horizon.see(Revision(STORE, 6))
    horizon.see(Revision(STORE, 4))  # an answer that was under way for longer
    assert not horizon.takes(answer(5), clock.now)


def test_less_than_the_watch_brought_is_not(horizon: Horizon, cache: Cache, clock: Clock) -> None:
    cache.apply(active(6))
    assert not horizon.takes(answer(5), clock.now)


def test_a_database_that_was_looked_at_since_was_restored(horizon: Horizon, cache: Cache, clock: Clock) -> None:
    cache.apply(active(6))
    assert horizon.takes(answer(6), clock.now)
    clock.now += 10
    assert not horizon.takes(answer(5, age=11), clock.now)
    assert horizon.takes(answer(5, age=1), clock.now)
    # The watch still holds what was, which is no news.
    assert horizon.takes(answer(5, age=1), clock.now)


def test_another_store_is_another_story(horizon: Horizon, clock: Clock) -> None:
    horizon.see(Revision(STORE, 6))
    assert horizon.takes(answer(2, store=OTHER_STORE), clock.now)
    assert horizon.takes(answer(3, store=OTHER_STORE), clock.now)
