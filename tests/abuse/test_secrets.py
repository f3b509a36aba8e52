"""Fault 50: an API key, tokens and a passphrase go through a whole life, and are found only where they belong."""

import base64
import json
import logging
import subprocess
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from providerd import Client, ProviderdError
from providerd import sync as providerd_sync
from tests.abuse.search import Search, command_lines, disguises
from tests.abuse.world import API_KEY, CANARIES, PASSPHRASE, PRESENTED, World, provider
from tests.daemon import PROVIDERD, clean_environment
from tests.integration.sql import connected

KIND = "50 steps of a life with secrets"


@asynccontextmanager
async def listening(world: World) -> AsyncIterator[list[str]]:
    """The payloads of all notifications."""
    heard: list[str] = []
    async with connected(world.dsn) as db:
        await db.add_listener("llm_provider_changes", lambda *told: heard.append(str(told[-1])))
        yield heard


async def life(world: World) -> AsyncIterator[tuple[str, object]]:
    """What a program can do with the SDK; gives every object that it comes by, and every error."""
    options = {"token": world.tokens["admin"], "include_credential": True}
    async with Client(world.daemon.address, **options) as client:
        yield "a client", client
        changes = client.changes()
        yield "a change", await anext(changes)
        yield "an upsert", await client.upsert(provider("canary"), api_key=API_KEY, reason="because", actor="me")
        yield (
            "an upsert",
            await client.upsert({"provider_name": "canary", "display_name": "New"}, api_key=f"{API_KEY}2"),
        )
        yield "a switch", await client.switch("canary", reason="because")
        yield "a change", await anext(changes)
        yield "the active provider", client.active
        yield "the active provider", await client.get_active(include_credential=True)
        yield "all providers", await client.list()
        yield "the history", [entry async for entry in client.history()]
        yield "a revision", await client.revision_at()
        yield "a difference", await client.diff(1)
        yield "a rollback", await client.rollback("canary", (await client.revision_at()).revision.number - 2)
        yield "a switch back", await client.switch("keyed")
        yield "a deletion", await client.delete("canary")
        for name, wrong in {
            "a key that is none": client.upsert(provider("canary"), api_key=f"{API_KEY}\n"),
            "a URL with a key": client.upsert(
                provider("canary", base_url=f"https://{API_KEY}@x.example"), api_key=API_KEY
            ),
            "a header with a key": client.upsert(provider("canary", additional_headers={"X-Api-Key": API_KEY})),
            "an unknown one": client.switch("unheard-of"),
            "a key of a stranger": client.upsert(provider("keyed", base_url="https://evil.example.org")),
        }.items():
            yield name, await failure(wrong)
    good, address = world.tokens["admin"], world.daemon.address
    for token in (f"{PRESENTED}-{API_KEY}", world.tokens["expired"], world.tokens["revoked"], f"{good}\n", f"{good} "):
        yield "a denial", await failure(asked(token, address))
    yield "an unreachable daemon", await failure(asked(good, "127.0.0.1:1"))


async def asked(token: str, address: str) -> None:
    async with Client(address, token=token, watch=False, timeout=1) as client:
        await client.list()


async def failure(wrong: Any) -> Exception:
    """The error that something ends with."""
    with pytest.raises((ProviderdError, ValueError)) as caught:
        await wrong
    return caught.value


def shown(thing: object) -> str:
    """All that a program may come to print of an object."""
    texts = [repr(thing), str(thing), f"{thing}", repr(getattr(thing, "__dict__", ""))]
    if isinstance(thing, list):
        texts += map(shown, thing)
    if isinstance(thing, Exception):
        texts += traceback.format_exception(thing)
    return "\n".join([*texts, json.dumps(thing, default=repr)])


def run(world: World, *arguments: str, stdin: str = "", **variables: str) -> str:
    """What the program prints of a command, and of what goes wrong with it."""
    environment = {**clean_environment(), "PROVIDERD_SERVER": world.daemon.address, **variables}
    if "PROVIDERD_TOKEN" not in environment:
        environment["PROVIDERD_TOKEN"] = world.tokens["admin"]
    command = [PROVIDERD, "--debug", *arguments]
    process = subprocess.Popen(
        command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    seen = "\n".join(command_lines())
    return seen + process.communicate(stdin, timeout=60)[0]


def test_the_search_finds_what_is_there() -> None:
    for canary in CANARIES:
        seen = (canary.encode(), canary.encode().hex().encode(), base64.b64encode(b"user:" + canary.encode() + b"\n"))
        assert all(any(form in each for form in disguises(canary)) for each in seen)


async def test_no_secret_is_anywhere_but_where_it_belongs(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    search = Search(world)
    caplog.set_level(logging.DEBUG)
    async with listening(world) as payloads:
        async for name, thing in life(world):
            search.look("reprs, texts and tracebacks of the SDK's objects and errors", f"{name}: {shown(thing)}")
            world.judge.tally.tried(KIND)
        with providerd_sync.Client(
            world.daemon.address, token=world.tokens["keeper"], include_credential=True
        ) as client:
            search.look(
                "reprs, texts and tracebacks of the SDK's objects and errors", shown(client) + shown(client.active)
            )
        search.look("the debug log of the SDK, with gRPC's", "\n".join(caplog.messages) + caplog.text)
        for where, output in commands(world, tmp_path):
            search.look(where, output)
            world.judge.tally.tried(KIND)
        search.look("notifications", "\n".join(payloads))
    await search.look_at_what_is_left()
    written = capfd.readouterr()
    search.look("what the tests' own process wrote", f"nothing but: {written.out}{written.err}")
    search.conclude()


def commands(world: World, directory: Path) -> Iterator[tuple[str, str]]:
    """What the program prints, and the files that it writes."""
    program = "output of the CLI, with --debug, and arguments meanwhile"
    described = json.dumps(provider("canary"))
    yield program, run(world, "upsert", "-f", "-", stdin=described)
    yield program, run(world, "set-key", "canary", "--json", stdin=f"{API_KEY}\n")
    yield program, run(world, "switch", "canary", "--json")
    for name in ("get", "list", "history", "status", "diff 1", "show canary", "export --format json"):
        yield program, run(world, *name.split())
    yield program, run(world, "set-key", "canary", stdin=f"{API_KEY}\0\n")
    yield program, run(world, "set-key", "unheard-of", stdin=f"{API_KEY}\n")
    yield program, run(world, "list", PROVIDERD_TOKEN=f"{PRESENTED} {API_KEY}")
    yield program, run(world, "list", PROVIDERD_TOKEN=PRESENTED)
    yield program, run(world, "token", "list", "--file", str(world.access.path))
    yield program, run(world, "keys", "status", SUPABASE_DB_URL=world.dsn, DB_ENCRYPTION_KEY=PASSPHRASE)
    yield program, run(world, "keys", "status", SUPABASE_DB_URL=world.dsn, DB_ENCRYPTION_KEY=f"{PASSPHRASE}x")
    yield program, run(world, "switch", "keyed", "--json")
    yield program, run(world, "delete", "canary", "--yes")
    configured = {
        "SUPABASE_DB_URL": f"postgresql://user:{PASSPHRASE}@127.0.0.1:1/x",
        "SUPABASE_DB_PASSWORD": PASSPHRASE,
        "DB_ENCRYPTION_KEY": PASSPHRASE,
        "DB_ENCRYPTION_KEY_PREVIOUS": f"{PASSPHRASE}-before",
    }
    yield "serve --print-config", run(world, "serve", "--print-config", **configured)
    yield (
        "serve with a database away, or settings that are wrong",
        run(world, "serve", "--listen", "nowhere", **configured, PROVIDERD_LOG_LEVEL="debug"),
    )
    exported = directory / "exported.yaml"
    run(world, "export", "-o", str(exported))
    yield "an export", exported.read_text()
