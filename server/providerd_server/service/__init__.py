"""The API: translates between messages and what answers them, and holds no logic of its own."""

from __future__ import annotations

from typing import Protocol

import grpc

from providerd_server.rpc import Handler
from providerd_server.service.history import HistoryReads
from providerd_server.service.reads import Reads
from providerd_server.service.writes import Writes

SERVICE_NAME = "providerd.v1.ProviderService"


class Part(Protocol):
    """Some RPCs of the service."""

    def handlers(self) -> list[tuple[str, Handler]]:
        """The names and gRPC handlers of these RPCs."""
        ...


def create_handler(*parts: Part) -> grpc.GenericRpcHandler:
    """What a gRPC server is given to serve all of these as one service."""
    return grpc.method_handlers_generic_handler(SERVICE_NAME, dict(pair for part in parts for pair in part.handlers()))


__all__ = ["SERVICE_NAME", "HistoryReads", "Reads", "Writes", "create_handler"]
