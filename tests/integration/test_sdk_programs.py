"""Whole programs: what a forked child may use and is told, how a program ends, and several clients in one."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from providerd.v1 import provider_pb2 as pb
from tests.integration.scripted_server import ScriptedServer, scripted_server
from tests.unit.sdk_messages import active, provider

PRELUDE = """
import asyncio, os, signal, sys
import providerd, providerd.sync
address = sys.argv[1]

def in_child(check):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)  # a hang in the child is a failure
        check()
        print("child is well")
        sys.exit()
    assert os.waitpid(pid, 0)[1] == 0, "the child failed"

def refused(read, text):
    try:
        read()
    except providerd.ClosedError as error:
        assert text in str(error), error
    else:
        raise AssertionError("not refused")
"""

INHERITED = """
client = providerd.sync.Client(address, include_credential=True)
with client:
    changes = client.changes()
    assert client.active.provider_name == next(changes).provider.provider_name == "groq"

    def check():
        assert client.state is providerd.State.CLOSED
        for read in (lambda: client.active, lambda: client.credential, lambda: client.current,
                     lambda: client.get("groq"), lambda: client.switch("groq"), client.wait_ready, client.start,
                     client.changes):
            refused(read, "close clients before forking")
        refused(providerd.sync.Client(address).start, "close clients before forking")
        client.close()

    in_child(check)
    assert client.state is providerd.State.READY
    assert client.active.provider_name == "groq"
"""

INHERITED_ASYNC = """
async def main():
    async with providerd.Client(address) as client:
        def check():
            assert client.state is providerd.State.CLOSED
            refused(lambda: client.active, "close clients before forking")
            os._exit(0)  # out of the parent's event loop

        in_child(check)
        assert client.active.provider_name == "groq"

asyncio.run(main())
"""

CLOSED_BEFORE = """
kept = []
with providerd.sync.Client(address) as client:
    assert client.active.provider_name == "groq"
    try:
        client.list()
    except providerd.RpcError as error:
        kept.append(error)  # with a traceback, which must not hold on to gRPC
assert kept

def check():
    refused(lambda: client.active, "the client is closed")
    with providerd.sync.Client(address) as fresh:
        assert fresh.active.provider_name == "groq"
        assert fresh.state is providerd.State.READY

in_child(check)
in_child(check)
"""

NOT_STARTED = """
client = providerd.sync.Client(address)

def check():
    with client:
        assert client.active.provider_name == "groq"

in_child(check)
with client:
    assert client.active.provider_name == "groq"
"""

SIDE_BY_SIDE = """
with providerd.sync.Client(address) as one, providerd.sync.Client(address) as two:
    for _ in range(100):
        assert one.get("groq") == two.get("groq") == one.active == two.active
    one.close()
    assert two.get("groq") == two.active
"""

LEFT_OPEN = """
client = providerd.sync.Client(address)
client.start()
client.wait_ready(5)
"""


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as server:
        yield server


async def run(server: ScriptedServer, program: str) -> str:
    """Runs the program while the server answers every watch; returns what it wrote."""

    async def answer() -> None:
        while True:
            (await server.watch()).send(active(5, "groq", "INITIAL", key="canary"))

    async def get(*_: Any) -> pb.GetProviderResponse:
        return pb.GetProviderResponse(provider=provider())

    server.answers["GetProvider"] = get
    answering = asyncio.create_task(answer())
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PRELUDE + program,
        server.address,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    answering.cancel()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_an_inherited_client_refuses_and_the_parent_goes_on(server: ScriptedServer) -> None:
    assert "child is well" in await run(server, INHERITED)


async def test_an_inherited_asyncio_client_refuses(server: ScriptedServer) -> None:
    await run(server, INHERITED_ASYNC)


async def test_after_closing_every_child_can_have_its_own(server: ScriptedServer) -> None:
    assert (await run(server, CLOSED_BEFORE)).count("child is well") == 2


async def test_a_client_that_was_not_started_can_be_started_in_the_child(server: ScriptedServer) -> None:
    assert "child is well" in await run(server, NOT_STARTED)


async def test_a_client_that_nobody_closes_does_not_hold_the_program(server: ScriptedServer) -> None:
    assert await run(server, LEFT_OPEN) == ""


async def test_several_clients_run_side_by_side_in_silence(server: ScriptedServer) -> None:
    assert await run(server, SIDE_BY_SIDE) == ""
