"""No secret is shown by anything that the SDK makes, logs or raises."""

import asyncio
import copy
import gc
import io
import json
import logging
import pickle
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

import providerd
import providerd.sync
from providerd import Client, Secret
from providerd.v1 import provider_pb2 as pb
from tests.certificates import Authority, replace
from tests.integration.scripted_server import ScriptedServer, scripted_server
from tests.unit.sdk_messages import active, provider, revision, source

# Global, because local variables of the tests are shown, too.
TOKEN, OTHER_TOKEN = "canary-token-5d0c", "canary-other-8e11"
KEY, NEW_KEY = "canary-key-91fa", "canary-new-33b7"
CANARIES = ("canary", "PRIVATE KEY")


class Files:
    """What a client of the fleet has on its disk; broken here and there."""

    def __init__(self, directory: Path) -> None:
        authority = Authority(directory)
        self.cert_file, self.key_file = authority.issue("daemon", "127.0.0.1")
        self.token_file = directory / "token"
        self.options: dict[str, Any] = {
            "ca_file": authority.ca_file,
            "cert_file": self.cert_file,
            "key_file": self.key_file,
        }
        replace(self.token_file, TOKEN.encode())

    def server_credentials(self) -> grpc.ServerCredentials:
        return grpc.ssl_server_credentials([(self.key_file.read_bytes(), self.cert_file.read_bytes())])

    def break_token(self, content: str) -> None:
        replace(self.token_file, content.encode())

    def break_key(self) -> None:
        replace(self.key_file, f"{self.key_file.read_text()}{OTHER_TOKEN}".replace("BEGIN", "GIN").encode())


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What all loggers say at all levels."""
    said, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(said), root.level
    root.addHandler(handler)
    root.setLevel(1)
    yield said
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture
async def server(files: Files) -> AsyncIterator[ScriptedServer]:
    """A daemon that gives out its key and lets nobody write."""

    async def refuse(_: Any, context: Any) -> None:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "worker lacks the scope 'write'")

    async def answer(*_: Any) -> pb.GetActiveProviderResponse:
        return pb.GetActiveProviderResponse(
            provider=provider(), credential=pb.Credential(api_key=KEY), revision=revision(5), source=source()
        )

    asyncio.get_running_loop().set_debug(True)
    async with scripted_server(files.server_credentials) as server:
        server.answers.update(UpsertProvider=refuse, GetActiveProvider=answer)
        yield server


async def test_no_object_and_no_log_shows_a_secret(server: ScriptedServer, files: Files, log: io.StringIO) -> None:
    client = Client(server.address, include_credential=True, token_file=files.token_file, **files.options)
    idle = providerd.sync.Client(server.address, token=OTHER_TOKEN, **files.options)
    await client.start()
    watch = await server.watch()
    assert watch.authorization == [f"Bearer {TOKEN}"]
    watch.send(active(5, "groq", "INITIAL", key=KEY), active(6, provider("groq", base_url=""), key=NEW_KEY))
    await client.wait_ready(5)
    held = [client.current, await client.get_active(include_credential=True), client.changes()]
    files.break_token(f"{TOKEN} {OTHER_TOKEN}")
    files.break_key()
    await client.get_active()
    watch.end(grpc.StatusCode.UNAUTHENTICATED, "the token is unknown or was revoked")
    again = await server.watch()
    assert again.authorization == [f"Bearer {TOKEN}"]

    things = list(made_by_the_sdk())
    shown = "\n".join(map(everything_of, things)) + log.getvalue()
    await client.close()
    assert all(canary not in shown for canary in CANARIES)
    # That it looked where they are:
    assert len(held) == 3
    assert idle.options.token == Secret(OTHER_TOKEN)
    kinds = {type(each).__name__ for each in things}
    assert {"Client", "ClientOptions", "Cache", "Stream", "Connection", "Channel", "Credentials"} <= kinds
    assert {"Renewable", "Files", "Secret", "Credential", "ActiveProvider", "Changes", "Announcer"} <= kinds
    assert log.getvalue().count("what was in use stays in use") == 2
    assert "is unusable" in log.getvalue()


async def test_no_error_shows_a_secret(server: ScriptedServer, files: Files) -> None:
    errors: list[BaseException] = []

    @contextmanager
    def fails(kind: type[Exception]) -> Iterator[None]:
        with pytest.raises(kind) as caught:
            yield
        errors.append(caught.value)

    async with Client(server.address, watch=False, token_file=files.token_file, **files.options) as client:
        for content in ({"provider_name": "groq"}, {"provider_name": 1}, {"nonsense": 1}):
            with fails(providerd.RpcError):
                await client.upsert(content, api_key=Secret(NEW_KEY))
        with fails(providerd.InvalidArgumentError):
            await client.upsert({}, api_key=Secret(NEW_KEY), clear_api_key=True)
        await server.stop()
        with fails(providerd.UnavailableError):
            await client.upsert({"provider_name": "groq"}, api_key=Secret(NEW_KEY))
    with fails(providerd.ClosedError):
        await client.upsert({"provider_name": "groq"}, api_key=Secret(NEW_KEY))
    for broken in ("", "{0} {1}", "{0}\n{1}", "{0}é"):
        files.break_token(broken.format(TOKEN, OTHER_TOKEN))
        with fails(ValueError):
            Client(token_file=files.token_file)
    with fails(ValueError):
        Client("daemon.example:1", token=Secret(TOKEN))
    files.break_key()
    with fails(ValueError):
        Client(**files.options)

    told = "\n".join(map(everything_told, errors))
    assert all(canary not in told for canary in CANARIES)
    assert "request" in told  # local variables were there, and the SDK's own frames
    assert told.count("PermissionDeniedError") >= 1


def made_by_the_sdk() -> Iterator[Any]:
    """Every object there is of the SDK's own classes. Messages of the API are none, and show all they have."""
    for each in gc.get_objects():
        module = str(getattr(type(each), "__module__", ""))
        if module.startswith("providerd.") and not module.startswith("providerd.v1"):
            yield each


def everything_of(thing: Any) -> str:
    """All that an object says of itself and its attributes, or when somebody tries to dump it."""
    names = [*getattr(thing, "__dict__", ()), *getattr(type(thing), "__slots__", ())]
    attributes = [repr(getattr(thing, name, None)) for name in names if name != Secret.__slots__[0]]
    return "\n".join([repr(thing), str(thing), f"{thing}", *attributes, *map(repr, dumps(thing))])


def dumps(thing: Any) -> Iterator[Any]:
    for dump in (pickle.dumps, copy.copy, json.dumps):
        try:
            yield dump(thing)
        except Exception as refused:  # many cannot be dumped at all, and must not say too much about it
            yield refused


def everything_told(error: BaseException) -> str:
    """An error as loggers and trackers of errors show it: with the local variables."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True, compact=False)
    return "\n".join([repr(error), *told.format()])
