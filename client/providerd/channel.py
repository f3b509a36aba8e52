"""The connection to the daemons: target addresses and channel options."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

import grpc.aio

if TYPE_CHECKING:
    from collections.abc import Sequence

# Names and defaults: https://grpc.github.io/grpc/core/group__grpc__arg__keys.html
CHANNEL_OPTIONS: tuple[tuple[str, int | str], ...] = (
    # Notices a peer that vanished without a word, also between calls; daemons allow pings this often.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # The watch has its own backoff, which spreads a fleet; the channel's own must not add to it.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # In spite of its name, how long one attempt to connect may take: 20 s by default, per dead address.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    ("grpc.max_send_message_length", 4 * 1024 * 1024),
    # Channels with equal options otherwise share one connection, and with it each other's stalls.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.lb_policy_name", "round_robin"),
    # Daemons are neighbours: an http_proxy meant for the internet must not swallow localhost.
    ("grpc.enable_http_proxy", 0),
)


def open_channel(targets: Sequence[str]) -> grpc.aio.Channel:
    """Opens a channel to the targets. Call it inside the running event loop that will use the channel."""
    return grpc.aio.insecure_channel(target_uri(targets), options=CHANNEL_OPTIONS)


def target_uri(targets: Sequence[str]) -> str:
    """Returns the one gRPC target that stands for all the given ones.

    Schemes: https://github.com/grpc/grpc/blob/master/doc/naming.md

    Raises:
        ValueError: A target is not an address, or the targets cannot be combined.
    """
    if isinstance(targets, str) or not targets:
        raise ValueError('give at least one target, for example "localhost:50051"')
    if len(targets) > 1:
        return _multi_address_uri(targets)
    target = targets[0]
    if not re.match(r"(unix|unix-abstract|dns|ipv4|ipv6|xds):\S+$", target):
        _split(target)
    return target


def _multi_address_uri(targets: Sequence[str]) -> str:
    addresses = [(_ip(host, target), port) for target in targets for host, port in [_split(target)]]
    versions = {ip.version for ip, _ in addresses}
    if versions == {4}:
        return "ipv4:" + ",".join(f"{ip}:{port}" for ip, port in addresses)
    if versions == {6}:
        return "ipv6:" + ",".join(f"[{ip}]:{port}" for ip, port in addresses)
    raise ValueError("several targets must be all IPv4 or all IPv6 addresses")


def _ip(host: str, target: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
    except ValueError:
        raise ValueError(
            f"one of several targets must be a numeric ip:port, not {target!r}; "
            'for one name with many addresses give "dns:///name:port" alone'
        ) from None


def _split(target: str) -> tuple[str, int]:
    match = re.fullmatch(r"(\[[0-9a-fA-F:.%]+\]|[^\s:/\[\]]+):([0-9]{1,5})", target)
    if match is None or not 0 < int(match[2]) < 65536:
        raise ValueError(f'a target is "host:port" or "unix:///path", not {target!r}')
    return match[1], int(match[2])
