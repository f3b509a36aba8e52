"""Options, target addresses and waits."""

import math
from typing import Any

import pytest

from providerd import Client, ClientOptions, State
from providerd.backoff import Backoff
from providerd.channel import CHANNEL_OPTIONS, target_uri


@pytest.mark.parametrize(
    ("targets", "uri"),
    [
        (["localhost:50051"], "localhost:50051"),
        (["[::1]:50051"], "[::1]:50051"),
        (["unix:///run/providerd.sock"], "unix:///run/providerd.sock"),
        (["dns:///providerd.internal:50051"], "dns:///providerd.internal:50051"),
        (["10.0.0.1:1", "10.0.0.2:2"], "ipv4:10.0.0.1:1,10.0.0.2:2"),
        (["localhost:1", "127.0.0.2:2"], "ipv4:127.0.0.1:1,127.0.0.2:2"),
        (["[::1]:1", "[fe80::2]:2"], "ipv6:[::1]:1,[fe80::2]:2"),
    ],
)
def test_targets_become_one_uri(targets: list[str], uri: str) -> None:
    assert target_uri(targets) == uri


@pytest.mark.parametrize(
    "targets",
    [
        [],
        ["localhost"],
        ["localhost:"],
        ["localhost:0"],
        ["localhost:65536"],
        ["http://localhost:50051"],
        ["local host:1"],
        ["::1:50051"],
        ["a.example:1", "10.0.0.1:1"],
        ["unix:///a", "unix:///b"],
        ["10.0.0.1:1", "[::1]:1"],
    ],
)
def test_what_is_no_target_is_refused(targets: list[str]) -> None:
    with pytest.raises(ValueError, match="target"):
        target_uri(targets)


@pytest.mark.parametrize(
    "options",
    [
        {"heartbeat_interval": 0.9},
        {"heartbeat_interval": 301},
        {"heartbeat_interval": math.nan},
        {"max_age": 0},
        {"max_age": math.nan},
        {"timeout": 0},
        {"timeout": math.inf},
    ],
)
def test_options_out_of_range_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Client(**options)


def test_a_client_outside_an_event_loop_is_only_a_plan() -> None:
    client = Client("10.0.0.1:1", name="billing-worker")
    assert client.options == ClientOptions(targets=("10.0.0.1:1",), name="billing-worker")
    assert client.state is State.CONNECTING


def test_the_channel_does_not_add_waits_of_its_own() -> None:
    options = dict(CHANNEL_OPTIONS)
    assert int(options["grpc.max_reconnect_backoff_ms"]) <= 5_000
    assert options["grpc.use_local_subchannel_pool"] == 1


def test_waits_are_jittered_under_a_ceiling_that_doubles_to_the_limit() -> None:
    ceilings = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    rounds = []
    for _ in range(300):
        backoff = Backoff()
        rounds.append([backoff.next() for _ in ceilings])
    for waits, ceiling in zip(zip(*rounds, strict=True), ceilings, strict=True):
        assert 0 <= min(waits) < 0.2 * ceiling  # full jitter: the whole range is used
        assert 0.8 * ceiling < max(waits) <= ceiling


def test_a_success_starts_the_waits_over() -> None:
    backoff = Backoff()
    for _ in range(10):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= 0.1


def test_a_wait_that_was_asked_for_is_kept_up_to_the_limit() -> None:
    backoff = Backoff()
    assert backoff.bounded(1.25) == 1.25
    assert backoff.bounded(-1) == 0
    long_waits = [backoff.bounded(3600) for _ in range(100)]
    assert 2.5 <= min(long_waits) < max(long_waits) <= 5
