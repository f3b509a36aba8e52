"""The hosts that a key may be sent to: public names, and what the operator lists beyond them.

Hosts are judged as they are written and never looked up: docs/decisions/0006-validation.md has the reasons, and what
is left to the network's own policy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

HTTPS = "must be https://; http:// is for loopback alone, with PROVIDERD_DEV"
NO_HOST = (
    "must have a host of labels of 1 to 63 letters, digits and hyphens, at most 253 characters,"
    " or an address in its usual form"
)
NO_ADDRESS = "must have a name as its host, unless PROVIDERD_ALLOWED_HOSTS lists the address"
NO_PRIVATE_HOST = (
    "must have a public host: not a single label, nor the name of a private network or of a cloud's metadata,"
    " unless PROVIDERD_ALLOWED_HOSTS lists it"
)
NO_FOREIGN_HOST = "must have a host without xn-- or '_', unless PROVIDERD_ALLOWED_HOSTS lists it"

_DESTINATION = re.compile(r"(?P<scheme>https?)://(?P<host>[^ ]+):[0-9]+")
# RFC 1034, section 3.1, with the underscores of container networks.
_NAME = re.compile(
    r"(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
# What resolvers take for an address, however it is written: https://url.spec.whatwg.org/#ends-in-a-number-checker
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

# RFC 6761; RFC 6762 with its appendix G; RFC 8375, whose home.arpa is under arpa; Kubernetes, with cluster.local.
_PRIVATE = frozenset({
    "localhost", "invalid", "test", "local", "intranet", "internal", "private", "corp", "home", "lan", "arpa", "svc",
    "localdomain",
})  # fmt: skip

# Where clouds tell machines their credentials. No network or suffix that happens to hold one of these allows it.
_METADATA = frozenset({
    "metadata", "instance-data", "metadata.google.internal", "metadata.goog", "instance-data.ec2.internal",
    "metadata.tencentyun.com", "metadata.platformequinix.com", "metadata.packet.net",
    *map(ip_address, (
        "169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.0.23", "100.100.100.200", "168.63.129.16",
        "192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
    )),
})  # fmt: skip


class HostPolicy:
    """Says which hosts a base_url may name. Immutable.

    Args:
        allowed: What is allowed beyond public names: names, ``*.suffix`` for all names below one, addresses, and
            networks in CIDR notation.
        development: Whether loopback is allowed, by http:// as well.

    Raises:
        ValueError: An entry of ``allowed`` is none of these; the message names it.
    """

    __slots__ = ("_development", "_names", "_networks", "_suffixes")

    def __init__(self, allowed: Iterable[str] = (), *, development: bool = False) -> None:
        entries = [_entry(each) for each in allowed]
        self._development = development
        self._networks = tuple(each for each in entries if not isinstance(each, str))
        self._names = frozenset(each for each in entries if isinstance(each, str) and not each.startswith("*"))
        self._suffixes = tuple(each[1:] for each in entries if isinstance(each, str) and each.startswith("*"))

    def problem(self, scheme: str, host: str) -> str | None:
        """What is wrong with sending a key to ``host``, an IPv6 address in brackets; None when nothing is."""
        known = _host(host)
        if known is None:
            return NO_HOST
        loopback = self._development and _is_loopback(known)
        if scheme != "https" and not loopback:
            return HTTPS
        if loopback or self._allows(known):
            return None
        return _publicity_problem(known)

    def allows(self, destination: str) -> bool:
        """Whether a key may be sent to a destination such as ``https://api.example.com:443``."""
        parts = _DESTINATION.fullmatch(destination)
        return parts is not None and self.problem(parts["scheme"], parts["host"]) is None

    def _allows(self, host: str | Address) -> bool:
        if not isinstance(host, str):
            return any(host in each and (host not in _METADATA or each.num_addresses == 1) for each in self._networks)
        return host in self._names or (host not in _METADATA and host.endswith(self._suffixes))


STRICT = HostPolicy()


def _entry(text: str) -> str | Network:
    """An entry of the setting as it is compared: a network, a name or ``*.suffix``."""
    name = text.strip().lower().removesuffix(".")
    try:
        return _network(name.removeprefix("[").removesuffix("]"))
    except ValueError as error:
        if _is_name(name.removeprefix("*.")):
            return name
        hint = f"; {error}" if "host bits" in str(error) else ""
        raise ValueError(
            f"{text!r} must be a name, a *.suffix, an address or a network like 10.0.0.0/8{hint}"
        ) from None


def _host(text: str) -> str | Address | None:
    """A host of a URL as it is compared; None for what is none, or is read in different ways."""
    try:
        return _network(text[1:-1] if text.startswith("[") else text)[0]
    except ValueError:
        name = text.lower().removesuffix(".")
        return name if _is_name(name) else None


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None and not _NUMBER.fullmatch(text.rpartition(".")[2])


def _network(text: str) -> Network:
    if "%" in text:
        raise ValueError("a zone is of one machine only: RFC 4007, section 11")
    network = ip_network(text)
    # A connection to ::ffff:a.b.c.d is one to a.b.c.d: RFC 4291, section 2.5.5.2.
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return IPv4Network((mapped, network.prefixlen - 96)) if mapped and network.prefixlen >= 96 else network


def _is_loopback(host: str | Address) -> bool:
    # RFC 6761, section 6.3: names below localhost are loopback too.
    return f".{host}".endswith(".localhost") if isinstance(host, str) else host.is_loopback


def _publicity_problem(host: str | Address) -> str | None:
    if not isinstance(host, str):
        return NO_ADDRESS
    labels = host.split(".")
    if len(labels) == 1 or labels[-1] in _PRIVATE or host in _METADATA:
        return NO_PRIVATE_HOST
    if "_" in host or any(label.startswith("xn--") for label in labels):
        return NO_FOREIGN_HOST
    return None
