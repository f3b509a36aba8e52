"""When a client leaves a daemon whose answers are stale."""

import math

import pytest

from providerd import ClientOptions
from providerd.stay import Stay


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def stay(clock: Clock, *targets: str, heartbeat: float = 10.0) -> Stay:
    options = ClientOptions(targets=targets or ("127.0.0.1:1", "127.0.0.1:2"), heartbeat_interval=heartbeat)
    return Stay(options, clock)


def lengths(stay: Stay, count: int) -> list[float]:
    """How long it stays with each of so many daemons that are all stale."""
    found = []
    for _ in range(count):
        stay.begin()
        stay.heard(fresh=False)
        found.append(stay.left)
        stay.over()
    return found


def test_it_stays_while_answers_are_fresh(clock: Clock) -> None:
    one = stay(clock)
    one.begin()
    assert one.left == math.inf
    one.heard(fresh=True)
    assert one.left == math.inf


def test_two_heartbeats_of_stale_answers_are_enough(clock: Clock) -> None:
    one = stay(clock)
    one.heard(fresh=False)
    assert 15 <= one.left <= 25
    before, clock.now = one.left, clock.now + 10
    one.heard(fresh=False)
    assert one.left == pytest.approx(before - 10)


def test_a_fresh_answer_in_between_begins_it_anew(clock: Clock) -> None:
    one = stay(clock)
    one.heard(fresh=False)
    clock.now += 10
    one.heard(fresh=True)
    assert one.left == math.inf
    one.heard(fresh=False)
    assert one.left >= 15


def test_another_watch_is_another_stay(clock: Clock) -> None:
    one = stay(clock)
    one.heard(fresh=False)
    clock.now += 100
    one.begin()
    assert one.left == math.inf
    one.heard(fresh=False)
    assert one.left >= 15


def test_where_all_are_stale_it_looks_around_ever_more_rarely(clock: Clock) -> None:
    means = [20, 2.5, 5, 10, 20, 30, 30, 30]
    for found, mean in zip(lengths(stay(clock), 8), means, strict=True):
        assert 0.75 * mean <= found <= 1.25 * mean


def test_clients_do_not_leave_all_at_once(clock: Clock) -> None:
    assert len({lengths(stay(clock), 1)[0] for _ in range(20)}) == 20


def test_frequent_heartbeats_do_not_make_it_restless(clock: Clock) -> None:
    assert lengths(stay(clock, heartbeat=1), 2)[1] >= 0.75


def test_once_it_found_a_fresh_one_it_is_patient_again(clock: Clock) -> None:
    one = stay(clock)
    lengths(one, 5)
    one.begin()
    one.heard(fresh=True)
    one.heard(fresh=False)
    assert 15 <= one.left <= 25


@pytest.mark.parametrize("target", ["localhost:1", "127.0.0.1:1", "[::1]:1", "unix:///s", "ipv4:10.0.0.1:1"])
def test_it_stays_where_there_is_nobody_else(clock: Clock, target: str) -> None:
    one = stay(clock, target)
    one.heard(fresh=False)
    assert one.left == math.inf


@pytest.mark.parametrize(
    "target", ["providerd:1", "dns:///providerd:1", "dns://127.0.0.1:53/p:1", "ipv4:1.1.1.1:1,1.1.1.2:1"]
)
def test_a_name_may_be_of_several(clock: Clock, target: str) -> None:
    one = stay(clock, target)
    one.heard(fresh=False)
    assert one.left < math.inf
