"""An access file that tests write, and calls with what it names."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from serving import Serving, request_type

from providerd.v1 import provider_pb2 as pb
from tests.certificates import replace
from tests.cli import MINIMAL

UPSERT = {"provider": {**MINIMAL, "provider_name": "first", "base_url": "https://api.example.com"}}


class AccessFile:
    """An access file; every change of it is written at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tokens: dict[str, dict[str, Any]] = {}
        self._certificates: list[dict[str, Any]] = []
        self._write()

    def token(self, name: str, *scopes: str, expires: datetime | None = None) -> str:
        """Lets a principal in, by the token that is returned."""
        token = f"providerd_token-of-{name}"
        self._tokens[name] = {
            "name": name,
            "scopes": scopes,
            "sha256": hashlib.sha256(token.encode()).hexdigest(),
            "expires": expires.isoformat() if expires else None,
        }
        self._write()
        return token

    def certificate(self, name: str, san: str, *scopes: str) -> None:
        self._certificates.append({"name": name, "san": san, "scopes": scopes})
        self._write()

    def revoke(self, name: str) -> None:
        del self._tokens[name]
        self._write()

    def _write(self) -> None:
        content = {"tokens": list(self._tokens.values()), "certificates": self._certificates}
        replace(self.path, json.dumps(content).encode())


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


async def call(daemon: Serving, method: str, token: str | None = None, **request: Any) -> Any:
    """Calls a unary RPC with a token and a request given as JSON."""
    message = ParseDict(request, request_type(method)())
    return await getattr(daemon.stub, method)(message, timeout=10, metadata=bearer(token) if token else ())


def watch(daemon: Serving, token: str | None = None, **request: Any) -> Any:
    message = ParseDict(request, pb.WatchActiveRequest())
    return daemon.stub.WatchActive(message, timeout=60, metadata=bearer(token) if token else ())


async def until_serving(channel: grpc.aio.Channel) -> None:
    """Returns once the daemon's health says SERVING, which takes no token."""
    async for answer in HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=20, wait_for_ready=True):
        if answer.status == health_pb2.HealthCheckResponse.SERVING:
            return


def logged(capfd: pytest.CaptureFixture[str], text: str) -> Callable[[], Awaitable[bool]]:
    """What says whether a text was logged from here on."""
    seen = ""

    async def is_there() -> bool:
        nonlocal seen
        captured = capfd.readouterr()
        seen += captured.err + captured.out
        return text in seen

    return is_there
