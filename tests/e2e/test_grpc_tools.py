"""The daemon driven through reflection alone, by tools that know nothing of it: buf curl, and grpcurl where it is."""

import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Psql
from tests.daemon import PROVIDERD, DaemonProcess, clean_environment, running_daemon
from tests.integration.test_service_writes import MISTRAL

SERVICE = "providerd.v1.ProviderService"
BUF = Path(sys.executable).with_name("buf")

# Runs a tool: method and request to its answer, or to what it printed as the error.
Call = Callable[[str, dict[str, Any]], tuple[dict[str, Any], str]]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


class BufCurl:
    def __init__(self, address: str) -> None:
        self._base = f"http://{address}"
        self._flags = ("--protocol", "grpc", "--http2-prior-knowledge")

    def services(self) -> str:
        return run(BUF, "curl", *self._flags, "--list-services", self._base).stdout

    def __call__(self, method: str, request: dict[str, Any]) -> tuple[dict[str, Any], str]:
        url = f"{self._base}/{SERVICE}/{method}"
        done = run(BUF, "curl", *self._flags, "--data", json.dumps(request), url)
        return (json.loads(done.stdout) if done.returncode == 0 else {}), self._readable(done.stderr)

    def _readable(self, error: str) -> str:
        """The error with its details, which buf leaves encoded."""
        values = re.findall(r'"value": "([^"]*)"', error)
        return error + "".join(base64.b64decode(value + "==").decode(errors="replace") for value in values)


class Grpcurl:
    def __init__(self, address: str) -> None:
        self._address = address

    def services(self) -> str:
        return run("grpcurl", "-plaintext", self._address, "list").stdout

    def __call__(self, method: str, request: dict[str, Any]) -> tuple[dict[str, Any], str]:
        done = run("grpcurl", "-plaintext", "-d", json.dumps(request), self._address, f"{SERVICE}/{method}")
        return (json.loads(done.stdout) if done.returncode == 0 else {}), done.stderr


@pytest.fixture
def daemon(database: str) -> Iterator[DaemonProcess]:
    with running_daemon(database) as process:
        yield process


@pytest.mark.parametrize("tool", [BufCurl, Grpcurl], ids=["buf", "grpcurl"])
def test_everything_an_operator_does_works_through_reflection(
    tool: type[BufCurl | Grpcurl], daemon: DaemonProcess, database: str, psql: Psql
) -> None:
    if tool is Grpcurl and shutil.which("grpcurl") is None:
        pytest.skip("grpcurl is not on PATH")
    call = tool(daemon.address)
    watching = subprocess.Popen(
        [PROVIDERD, "--server", daemon.address, "watch", "--json"],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None

    def next_change() -> dict[str, Any]:
        assert watching.stdout is not None
        for line in watching.stdout:
            said: dict[str, Any] = json.loads(line)
            if "cause" in said:
                return said
        raise AssertionError("the watch ended")

    try:
        assert SERVICE in call.services()
        active, _ = call("GetActiveProvider", {})
        assert active["provider"].get("providerName", active["provider"].get("provider_name")) == "groq"
        assert next_change()["cause"] == "initial"

        _, refused = call("SwitchProvider", {"provider_name": "openrouter"})
        assert "Provider openrouter is disabled" in refused
        assert "FailedPrecondition" in refused or "failed_precondition" in refused
        assert "PROVIDER_DISABLED" in refused
        assert "google.rpc.ErrorInfo" in refused

        created, _ = call("UpsertProvider", {"provider": {**MISTRAL, "is_enabled": False}})
        assert created["created"] is True
        call("UpsertProvider", {"provider": {"provider_name": "mistral", "is_enabled": True}})
        switched, _ = call("SwitchProvider", {"provider_name": "mistral", "reason": "a test"})
        assert switched["switched"] is True
        change = next_change()
        assert (change["cause"], change["provider"]["provider_name"]) == ("switched", "mistral")

        psql(database, "-c", "UPDATE llm_provider_configs SET default_model = 'typed' WHERE is_active")
        change = next_change()
        assert (change["cause"], change["provider"]["default_model"]) == ("updated", "typed")
    finally:
        watching.terminate()
        watching.wait(20)
