"""What the program says of an answer that the daemon gives from memory, without its database."""

import asyncio
from typing import Any

import pytest

from providerd.v1 import provider_pb2 as pb
from tests.cli import providerd
from tests.integration.scripted_server import scripted_server
from tests.unit.sdk_messages import provider, revision, source


@pytest.mark.parametrize("stale", [True, False])
@pytest.mark.parametrize("command", [("get",), ("list",), ("show", "groq"), ("show", "groq", "--json")])
async def test_a_stale_answer_is_an_answer_with_a_warning(command: tuple[str, ...], stale: bool) -> None:
    status = source(42.4, stale=stale)

    async def answer(request: Any, _: Any) -> Any:
        if isinstance(request, pb.ListProvidersRequest):
            return pb.ListProvidersResponse(providers=[provider()], revision=revision(3), source=status)
        kind = pb.GetProviderResponse if isinstance(request, pb.GetProviderRequest) else pb.GetActiveProviderResponse
        return kind(provider=provider(), revision=revision(3), source=status)

    async with scripted_server() as server:
        server.answers.update(dict.fromkeys(["GetActiveProvider", "GetProvider", "ListProviders"], answer))
        done = await asyncio.to_thread(providerd, *command, server=server.address)
    assert done.returncode == 0
    assert "groq" in done.stdout
    warning = "warning: from memory, because the daemon last reached its database 42 s ago [STALE]\n"
    assert done.stderr == (warning if stale else "")
