"""The connection to the daemons: target addresses and channel options."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import grpc.aio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from providerd.options import ClientOptions

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
    # Once all addresses of a name are gone, asks for the new ones at once: 30 s by default.
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    ("grpc.max_send_message_length", 4 * 1024 * 1024),
    # Channels with equal options otherwise share one connection, and with it each other's stalls.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.lb_policy_name", "round_robin"),
    # Daemons are neighbours: an http_proxy meant for the internet must not swallow localhost.
    ("grpc.enable_http_proxy", 0),
)

# Seconds that a watch waits for more than one daemon to be connected: at most, and at least after the first.
_SETTLING = 0.5
_SHORTEST = 0.05

_ADDRESSES = re.compile(r"(?:dns:(?://[^/?#]*/)?|ipv4:|ipv6:)?([^/?#]+)")


class Channel:
    """A gRPC channel, and how many calls are on it, so that it can be closed after the last one."""

    def __init__(self, options: ClientOptions, credentials: grpc.ChannelCredentials | None) -> None:
        """Opens it, without TLS where there are no credentials.

        Call it inside the running event loop that will use the channel.
        """
        uri, settings = target_uri(options.targets), list(CHANNEL_OPTIONS)
        if options.tls_server_name is not None:
            # gRPC checks certificates for it, too; the option for overriding just that name is meant for tests.
            settings.append(("grpc.default_authority", options.tls_server_name))
        if credentials is None:
            self.grpc = grpc.aio.insecure_channel(uri, options=settings)
        else:
            self.grpc = grpc.aio.secure_channel(uri, credentials, options=settings)
        self.calls = 0
        self._settled = not options.has_alternatives

    async def settle(self) -> None:
        """Lets others connect, too, once the first of several daemons has: otherwise the fastest would have a fleet.

        It gives them as long again as the first one took, half a second in all, and the first time only.
        """
        if self._settled:
            return
        self._settled = True
        began = time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLING):
                await self.grpc.channel_ready()
                await asyncio.sleep(max(_SHORTEST, time.monotonic() - began))


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


def may_be_several(targets: Sequence[str]) -> bool:
    """Says whether there may be several daemons behind the targets: more than one address, or a name to look up."""
    if len(targets) > 1:
        return True
    [target] = targets
    if is_unix_socket(target):
        return False
    if target.startswith(("ipv4:", "ipv6:")):
        return "," in target
    match = _ADDRESSES.fullmatch(target)
    host = match[1].rpartition(":")[0].strip("[]") if match else ""
    return not (is_loopback_host(host) or _is_address(host))


def is_unix_socket(target: str) -> bool:
    """Says whether a target is a socket of this machine."""
    return target.startswith(("unix:", "unix-abstract:"))


def stays_on_this_machine(targets: Sequence[str]) -> bool:
    """Says whether what is sent to the targets never leaves this machine, as far as their names tell."""
    return all(is_unix_socket(target) or _is_loopback(target) for target in targets)


def is_loopback_host(host: str) -> bool:
    """Says whether a host is this machine: `localhost` or a loopback address, IPv6 without brackets.

    By what is written and never by what a name resolves to: who answers for names may be anybody.
    """
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(target: str) -> bool:
    match = _ADDRESSES.fullmatch(target)
    hosts = [address.rpartition(":")[0] or address for address in match[1].split(",")] if match else []
    return bool(hosts) and all(is_loopback_host(host.strip("[]")) for host in hosts)


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
