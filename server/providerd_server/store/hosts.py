"""The hosts in a database URL."""

from __future__ import annotations

import os
from urllib.parse import parse_qs, unquote, urlsplit

from providerd.channel import is_loopback_host
from providerd.secret import Secret


def hosts_of(url: Secret) -> list[str]:
    """The hosts and directories of sockets that asyncpg takes a URL to name; none where it chooses local ones itself.

    Raises:
        ValueError: The URL cannot be read.
    """
    parts = urlsplit(url.reveal())
    # Split before it is unquoted, and at the first @, as asyncpg does: what is checked is what is connected to.
    hosts = parts.netloc.partition("@")[2] if "@" in parts.netloc else parts.netloc
    if hosts:
        names = [unquote(_name(each)) for each in hosts.split(",")]
    else:
        given = parse_qs(parts.query).get("host", [""])[-1] or os.environ.get("PGHOST", "")
        names = [_name(each) for each in given.split(",") if each]
    if any("@" in name for name in names):
        raise ValueError("an @ that is not written as %40")
    return names


def is_socket(host: str) -> bool:
    """Whether it is the directory of a unix socket."""
    return host.startswith("/")


def is_local(host: str) -> bool:
    """Whether what is sent there stays on this machine: a unix socket, ``localhost`` or a loopback address."""
    return is_socket(host) or is_loopback_host(host.lower())


def _name(spec: str) -> str:
    if is_socket(spec):
        return spec
    return spec[1:].partition("]")[0] if spec.startswith("[") else spec.partition(":")[0]
