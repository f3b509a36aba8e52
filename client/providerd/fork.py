"""What becomes of clients in a forked child: its copies have neither the thread nor the connection behind them."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING
from weakref import WeakSet

from providerd.errors import ClosedError

if TYPE_CHECKING:
    from providerd.cache import Cache

# How long gRPC winds down after its last channel, in seconds; it offers nothing to wait for. Mostly it takes 1 ms.
_WINDING_DOWN = 0.1

_connected: WeakSet[Cache] = WeakSet()
_last_closed = -_WINDING_DOWN
_grpc_is_broken = False


def connecting(cache: Cache) -> None:
    """Notes that a client is about to use gRPC.

    Raises:
        ClosedError: gRPC was in use when this process was forked, and cannot be used in it: calls would hang or
            crash. See https://github.com/grpc/grpc/blob/master/doc/fork_support.md.
    """
    if _grpc_is_broken:
        raise ClosedError(
            "gRPC was in use when this process was forked and does not work in it: "
            "close clients before forking, or start the process with spawn"
        )
    _connected.add(cache)


def disconnected(cache: Cache) -> None:
    """Notes that a client let go of gRPC."""
    global _last_closed
    _connected.discard(cache)
    _last_closed = time.monotonic()


def _before() -> None:
    """Keeps a fork from meeting gRPC half shut down, which would crash the child."""
    remaining = _last_closed + _WINDING_DOWN - time.monotonic()
    if remaining > 0 and not _connected:
        time.sleep(remaining)


def _in_child() -> None:
    """Ends the copies of clients here, which nothing keeps current."""
    global _grpc_is_broken
    for cache in list(_connected):
        _grpc_is_broken = True
        cache.close(
            ClosedError(
                "this client was connected before the fork: close clients before forking and open new ones in the "
                "child, or start the process with spawn"
            )
        )
    _connected.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_child=_in_child)
