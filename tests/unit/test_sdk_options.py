"""Options, target addresses and waits."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from providerd import Client, ClientOptions, Secret, State
from providerd.backoff import Backoff
from providerd.channel import CHANNEL_OPTIONS, target_uri

ADDRESS = "daemon.example:50051"
SOCKET = "unix:///run/providerd.sock"


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
    assert int(options["grpc.dns_min_time_between_resolutions_ms"]) <= 1_000
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


@pytest.mark.parametrize(
    ("targets", "options", "transport"),
    [
        ([ADDRESS], {}, "plain"),
        ([SOCKET], {}, "unix socket"),
        ([ADDRESS], {"tls": True}, "TLS"),
        ([ADDRESS], {"ca_file": Path("ca.crt")}, "TLS"),
        ([ADDRESS], {"tls_server_name": "daemon.example"}, "TLS"),
        ([ADDRESS], {"cert_file": "a.crt", "key_file": "a.key"}, "mutual TLS"),
        (["10.0.0.1:1", "10.0.0.2:1"], {"tls": True, "tls_server_name": "daemon.example"}, "TLS"),
    ],
)
def test_any_option_of_tls_turns_it_on(targets: list[str], options: dict[str, Any], transport: str) -> None:
    made = ClientOptions(targets=tuple(targets), **options)
    assert (made.transport, made.tls) == (transport, "TLS" in transport)


@pytest.mark.parametrize(
    ("targets", "options", "says"),
    [
        ([ADDRESS], {"cert_file": "a.crt"}, "cert_file and key_file go together"),
        ([ADDRESS], {"key_file": "a.key", "ca_file": "ca.crt"}, "cert_file and key_file go together"),
        ([ADDRESS], {"tls_server_name": ""}, "tls_server_name must be a host name"),
        ([ADDRESS], {"tls_server_name": "daemon.example:1"}, "tls_server_name must be a host name"),
        ([SOCKET], {"tls": True}, "a unix socket needs no TLS: leave out tls$"),
        (["unix-abstract:x"], {"tls": True, "ca_file": "x"}, "leave out tls and ca_file$"),
        (["10.0.0.1:1", "10.0.0.2:1"], {"tls": True}, "several targets with TLS need tls_server_name"),
        ([ADDRESS], {"tls": True, "token": "abc", "token_file": "x"}, "token and token_file exclude each other"),
        ([ADDRESS], {"tls": True, "token": ""}, "token is empty"),
    ],
)
def test_security_that_does_not_go_together_is_refused(targets: list[str], options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ClientOptions(targets=tuple(targets), **options)


@pytest.mark.parametrize(
    "targets",
    [
        ["localhost:50051"],
        ["127.0.0.1:50051"],
        ["127.8.0.1:1"],
        ["[::1]:50051"],
        ["dns:localhost:50051"],
        ["dns:///localhost:50051"],
        ["dns://8.8.8.8/localhost"],
        ["ipv4:127.0.0.1:1,127.0.0.2:2"],
        ["ipv6:[::1]:1"],
        ["localhost:1", "127.0.0.2:2"],
        [SOCKET],
        ["unix-abstract:providerd"],
    ],
)
def test_a_token_may_be_sent_on_this_machine_without_tls(targets: list[str]) -> None:
    assert ClientOptions(targets=tuple(targets), token="abc").token == Secret("abc")
    assert not ClientOptions(targets=tuple(targets), token_file="x").tls


@pytest.mark.parametrize(
    "targets",
    [
        [ADDRESS],
        ["10.0.0.1:50051"],
        ["0.0.0.0:50051"],
        ["localhost.example:1"],
        ["127.0.0.1.example:1"],
        ["dns:///daemon.example:1"],
        ["dns:///daemon.example#/localhost:1"],
        ["dns://localhost/daemon.example:1"],
        ["ipv4:127.0.0.1:1,10.0.0.1:1"],
        ["localhost:1", "10.0.0.1:1"],
        ["xds:///localhost:1"],
    ],
)
@pytest.mark.parametrize("token", [{"token": "canary-41d7"}, {"token_file": "/run/token"}])
def test_a_token_crosses_no_network_in_clear_unless_told_so(targets: list[str], token: dict[str, str]) -> None:
    (option,) = token
    with pytest.raises(ValueError, match=f"^{option} would cross the network in clear.* insecure ") as refused:
        ClientOptions(targets=tuple(targets), **token)  # type: ignore[arg-type]
    assert "canary" not in str(refused.value)
    ClientOptions(targets=tuple(targets), insecure=True, **token)  # type: ignore[arg-type]
    ClientOptions(targets=tuple(targets), tls_server_name="x", **token)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "token",
    ["can ary", "canary\n", "\ncanary", "canary\r\nx-header: 1", "can\x00ary", "canary-é", "=canary", "canary" * 700],
)
@pytest.mark.parametrize("kind", [str, Secret])
def test_what_cannot_be_a_token_is_refused_without_showing_it(token: str, kind: type[Any]) -> None:
    with pytest.raises(ValueError, match=r"^token is ") as refused:
        ClientOptions(token=kind(token))
    assert "canary" not in str(refused.value)


def test_options_do_not_show_their_token() -> None:
    options = ClientOptions(token="canary-41d7")
    assert "canary" not in f"{options} {options!r} {dataclasses.asdict(options)}"
