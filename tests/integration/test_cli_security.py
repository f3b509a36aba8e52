"""The program over TLS and with tokens, against a real gRPC server that knows one of each."""

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from providerd.v1 import provider_pb2 as pb
from tests.certificates import Authority, replace
from tests.cli import environment
from tests.daemon import PROVIDERD
from tests.integration.scripted_server import ScriptedServer, authorization, names, scripted_server
from tests.unit.sdk_messages import active, provider, revision, source

TOKEN = "canary-5b2d"


class Fleet:
    """A daemon that wants certificates and tokens, and what a person has to get in."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        authority = Authority(directory)
        self.ca_file = authority.ca_file
        self.daemon = authority.issue("daemon", "daemon.example")
        self.cert_file, self.key_file = authority.issue("worker", "worker.example")
        self.token_file = directory / "token"
        replace(self.token_file, f"{TOKEN}\n".encode())
        self.options = {
            "--ca-file": self.ca_file,
            "--cert-file": self.cert_file,
            "--key-file": self.key_file,
            "--tls-server-name": "daemon.example",
            "--token-file": self.token_file,
        }

    def credentials(self) -> grpc.ServerCredentials:
        certificate, key = (path.read_bytes() for path in self.daemon)
        return grpc.ssl_server_credentials([(key, certificate)], self.ca_file.read_bytes(), True)

    def arguments(self, *, without: tuple[str, ...] = ()) -> list[str]:
        return [str(part) for pair in self.options.items() if pair[0] not in without for part in pair]

    def variables(self) -> dict[str, str]:
        return {f"PROVIDERD_{name.strip('-').replace('-', '_').upper()}": str(at) for name, at in self.options.items()}


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


async def check(context: Any) -> None:
    if names(context) != ["worker.example"] or authorization(context) != [f"Bearer {TOKEN}"]:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is unknown or was revoked")


async def answer(_: Any, context: Any) -> pb.GetActiveProviderResponse:
    await check(context)
    return pb.GetActiveProviderResponse(provider=provider(), revision=revision(5), source=source())


async def list_(_: Any, context: Any) -> pb.ListProvidersResponse:
    await check(context)
    return pb.ListProvidersResponse(providers=[provider()], revision=revision(5), source=source())


@pytest.fixture
async def server(fleet: Fleet) -> AsyncIterator[ScriptedServer]:
    async with scripted_server(fleet.credentials) as server:
        server.answers.update(GetActiveProvider=answer, ListProviders=list_)
        yield server


async def run(server: ScriptedServer, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    def program() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROVIDERD, *arguments],
            # Because gRPC has an own word on each handshake that fails, and reads this before the program runs.
            env={**environment(server.address), "GRPC_VERBOSITY": "NONE", **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return await asyncio.to_thread(program)


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert TOKEN not in line
    return line


async def test_options_are_good_before_and_behind_the_command(server: ScriptedServer, fleet: Fleet) -> None:
    given = fleet.arguments()
    for arguments in (["get", *given], [*given, "get"], [*given[:4], "get", *given[4:]]):
        done = await run(server, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert "groq" in done.stdout


async def test_the_environment_says_it_all(server: ScriptedServer, fleet: Fleet) -> None:
    variables = fleet.variables()
    assert (await run(server, "get", **variables)).returncode == 0
    del variables["PROVIDERD_TOKEN_FILE"]
    assert (await run(server, "get", **variables, PROVIDERD_TOKEN=TOKEN)).returncode == 0
    assert (await run(server, "get", **variables, PROVIDERD_TOKEN="")).returncode == 8


async def test_an_option_goes_before_the_environment(server: ScriptedServer, fleet: Fleet) -> None:
    variables = {**fleet.variables(), "PROVIDERD_CA_FILE": "/nowhere", "PROVIDERD_TOKEN_FILE": "/nowhere"}
    done = await run(server, *fleet.arguments(), "get", **variables, PROVIDERD_TOKEN="another")
    assert (done.returncode, done.stderr) == (0, "")


async def test_who_is_not_known_is_told_what_to_do(server: ScriptedServer, fleet: Fleet) -> None:
    for command in (["get"], ["watch", "--timeout", "1"]):
        replace(fleet.token_file, b"another-token")
        running = asyncio.create_task(run(server, *command, *fleet.arguments()))
        if command[0] == "watch":
            (await server.watch()).end(grpc.StatusCode.UNAUTHENTICATED, "the token is unknown or was revoked")
        done = await running
        assert done.returncode == 8
        assert error_of(done) == (
            "error: the token is unknown or was revoked; "
            "--token-file or PROVIDERD_TOKEN_FILE names the file of your token [UNAUTHENTICATED]"
        )


async def test_a_daemon_that_cannot_be_verified_is_7(server: ScriptedServer, fleet: Fleet) -> None:
    wrong = fleet.arguments(without=("--tls-server-name",))
    done = await run(server, "get", *wrong, "--tls-server-name", "other.example")
    assert done.returncode == 7
    assert error_of(done).endswith("or give that as tls_server_name [CERTIFICATE_NAME_MISMATCH]")
    done = await run(server, "get", "--tls", "--token-file", str(fleet.token_file))
    assert done.returncode == 7
    assert error_of(done).endswith("[CERTIFICATE_NOT_VERIFIED]")
    done = await run(server, "get")
    assert done.returncode == 7
    assert "it may speak TLS" in error_of(done)


async def test_the_status_says_how_it_connects_and_as_what(server: ScriptedServer, fleet: Fleet) -> None:
    running = asyncio.create_task(run(server, "status", "--json", *fleet.arguments()))
    (await server.watch()).send(active(5, "groq", "INITIAL"))
    found = json.loads((await running).stdout)
    assert (found["transport"], found["identity"]) == ("mutual TLS", f"token in {fleet.token_file}")
    assert found["serving"]

    done = await run(server, "status", *fleet.arguments(without=("--token-file",)))
    assert done.returncode == 8
    assert re.search(r"^transport +mutual TLS$", done.stdout, re.MULTILINE)
    assert f"certificate in {fleet.cert_file}" in done.stdout

    done = await run(server, "status", "--json", PROVIDERD_TOKEN=TOKEN)
    found = json.loads(done.stdout)
    assert (found["transport"], found["identity"], found["reachable"]) == ("plain", "token", False)
    assert TOKEN not in done.stdout + done.stderr


async def test_a_token_is_not_sent_in_clear_to_another_machine(server: ScriptedServer, fleet: Fleet) -> None:
    for name in ("PROVIDERD_TOKEN", "PROVIDERD_TOKEN_FILE"):
        variables = {"PROVIDERD_SERVER": "192.0.2.1:1", name: TOKEN if name.endswith("N") else str(fleet.token_file)}
        done = await run(server, "get", **variables)
        assert done.returncode == 2
        assert "would cross the network in clear" in error_of(done)
        # To an address that nobody has, so nobody gets it here either.
        for allowed in (["--insecure"], []):
            yes = {} if allowed else {"PROVIDERD_INSECURE_TOKEN": "true"}
            done = await run(server, *allowed, "get", "--timeout", "0.2", **variables, **yes)
            assert done.returncode == 7


@pytest.mark.parametrize(
    "arguments", [["--token", TOKEN, "get"], ["get", "--token", TOKEN], ["get", f"--token={TOKEN}"]]
)
async def test_a_token_is_no_argument_and_is_not_repeated(server: ScriptedServer, arguments: list[str]) -> None:
    done = await run(server, *arguments)
    assert done.returncode == 2
    assert "a token is no argument: other users of this machine may have seen it" in error_of(done)


@pytest.mark.parametrize("variable", ["PROVIDERD_TLS", "PROVIDERD_INSECURE_TOKEN"])
async def test_a_variable_that_is_neither_true_nor_false_is_refused(server: ScriptedServer, variable: str) -> None:
    done = await run(server, "get", **{variable: "perhaps"})
    assert (done.returncode, error_of(done)) == (
        2,
        f"error: {variable} must be true or false (see: providerd get --help)",
    )
    assert "speak TLS" in error_of(await run(server, "get", **{variable: "no"}))
