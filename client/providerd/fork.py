"""What becomes of clients in a forked child: its copies have neither the thread nor the connection behind them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from weakref import WeakSet

from providerd.errors import ClosedError

if TYPE_CHECKING:
    from providerd.cache import Cache

_connected: WeakSet[Cache] = WeakSet()
_grpc_is_broken = False


def connecting(cache: Cache) -> None:
    """Notes that this client is about to use gRPC.

    Raises:
        ClosedError: gRPC was in use when this process was forked, and cannot be used in it: calls would hang or
            crash. See https://github.com/grpc/grpc/blob/master/doc/fork_support.md: grpc.aio is not supported.
    """
    if _grpc_is_broken:
        raise ClosedError(
            "gRPC was in use when this process was forked and does not work in it: "
            "close clients before forking, or start the process with spawn"
        )
    _connected.add(cache)


def _disown() -> None:
    global _grpc_is_broken
    for cache in list(_connected):
        if cache.closed is None:
            _grpc_is_broken = True
            cache.close(ClosedError("this client was connected before the fork: create a new one in the child"))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown)
