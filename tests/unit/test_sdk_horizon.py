"""Which answers of several daemons are older than what a client knows."""

from collections.abc import Callable

import pytest

from providerd import ClientOptions
from providerd.cache import Cache
from providerd.horizon import Horizon
from providerd.provider import Revision
from tests.unit.sdk_messages import OTHER_STORE, STORE, active

Takes = Callable[..., bool]


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


@pytest.fixture
def takes(horizon: Horizon, clock: Clock) -> Takes:
    """Whether it takes an answer of now, with a revision and an age."""

    def asked(number: int, *, store: str = STORE, age: float = 0.0) -> bool:
        return horizon.takes(Revision(store, number), clock.now - age)

    return asked


def test_what_is_as_new_or_newer_is_taken(takes: Takes) -> None:
    assert [takes(number) for number in (5, 5, 6)] == [True] * 3


def test_less_than_an_answer_before_is_not(takes: Takes) -> None:
    assert takes(6)
    assert not takes(5)
    assert takes(6)


def test_less_than_an_acknowledged_write_is_not(horizon: Horizon, takes: Takes) -> None:
    horizon.see(Revision(STORE, 6))
    horizon.see(Revision(STORE, 4))  # an answer that was under way for longer
    assert not takes(5)


def test_less_than_the_watch_brought_is_not(takes: Takes, cache: Cache) -> None:
    cache.apply(active(6))
    assert not takes(5)


def test_a_database_that_was_looked_at_since_was_restored(takes: Takes, cache: Cache, clock: Clock) -> None:
    cache.apply(active(6))
    assert takes(6)
    clock.now += 10
    assert not takes(5, age=11)
    assert takes(5, age=1)
    # The watch still holds what was, which is no news.
    assert takes(5, age=1)


def test_another_store_is_another_story_where_it_was_looked_at_since(
    horizon: Horizon, takes: Takes, clock: Clock
) -> None:
    horizon.see(Revision(STORE, 6))
    clock.now += 10
    assert takes(2, store=OTHER_STORE, age=1)
    assert takes(3, store=OTHER_STORE, age=1)
    # A daemon that has not noticed yet.
    clock.now += 2
    assert not takes(6, age=3)
    assert takes(3, store=OTHER_STORE)
