"""Several daemons: what calls are answered is never older than what the client knows, or says that it is stale."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc

from providerd import ActiveProvider, Client, DeadlineExceededError, NotFoundError, State, UnavailableError
from tests.abuse.world import provider
from tests.daemon import PROVIDERD, clean_environment
from tests.faults.load import PROVIDERS
from tests.faults.proxy import Proxy
from tests.faults.several import clients_of, somebody_else, switch
from tests.faults.world import World, fresh_address, until


async def test_calls_go_past_a_daemon_that_never_saw_its_database(world: World, tmp_path: Path) -> None:
    [daemon] = world.daemons
    with never_ready(tmp_path) as address:
        async with Client(daemon.address, address, watch=False) as client:
            await until_connected(address)
            for number in range(20):
                assert (await client.get("alpha")).provider_name == "alpha"
                await client.switch(PROVIDERS[number % 2])
        async with clients_of(daemon.address, address) as clients:
            assert {client.state for client in clients} == {State.READY}


async def test_what_is_so_now_never_goes_back(link: Proxy, pair: list[str]) -> None:
    link.hold()
    async with Client(*pair, watch=False) as client:
        await client.get_active()
        newest = await switch(pair[0])
        await until_told(client, newest)
        for _ in range(20):
            answer = await client.get_active()
            assert answer.revision.number == newest
            assert not client.source.stale
    async with Client(*pair, heartbeat_interval=1) as watching:
        await until(lambda: watching.revision.number == newest, 30)
        assert {(await watching.get_active()).revision.number for _ in range(20)} == {newest}
    link.release()


async def test_what_is_so_now_never_goes_back_after_a_dry_run(link: Proxy, pair: list[str]) -> None:
    link.hold()
    async with Client(*pair, watch=False) as client:
        newest = await switch(pair[0])
        await until_told(client, newest)
        await client.switch(await somebody_else(pair[0]), validate_only=True)
        for _ in range(20):
            assert (await client.get_active()).revision.number == newest
    link.release()


async def test_where_all_are_behind_the_answer_is_marked_stale(bare: World, link: Proxy, pair: list[str]) -> None:
    link.hold()
    async with Client(*pair, watch=False) as client:
        newest = (await client.switch(await somebody_else(pair[0]))).revision.number
        await asyncio.to_thread(bare.daemons[0].kill)
        answer = await until_answered(client)
        assert answer.revision.number < newest
        assert client.source is not None
        assert client.source.stale
    link.release()


async def test_what_one_does_not_know_yet_is_asked_of_the_next(link: Proxy, pair: list[str]) -> None:
    link.hold()
    async with Client(pair[0], watch=False) as ahead, Client(*pair, watch=False) as client:
        await ahead.upsert(provider("new"))
        while True:
            with suppress(NotFoundError):
                await client.get("new")
                break
        for _ in range(20):
            assert (await client.get("new")).provider_name == "new"
    link.release()


async def test_what_is_gone_does_not_come_back(bare: World, link: Proxy, pair: list[str]) -> None:
    link.hold()
    async with Client(pair[0], watch=False) as ahead, Client(*pair, watch=False) as client:
        gone = PROVIDERS[1]
        await ahead.delete(gone, reason="a test")
        await bare.cluster.execute(bare.name, "UPDATE llm_provider_configs SET is_active = false WHERE is_active")
        for call in (lambda: client.get(gone), client.get_active):
            while not await refuses(call):
                pass
            for _ in range(20):
                assert await refuses(call) or (client.source is not None and client.source.stale)
    link.release()


async def test_a_daemon_that_hangs_does_not_take_away_an_answer(bare: World, link: Proxy, pair: list[str]) -> None:
    link.hold()
    async with Client(*pair, watch=False) as client:
        newest = await switch(pair[0])
        await until_told(client, newest)
        os.kill(bare.daemons[0].pid, signal.SIGSTOP)
        try:
            told = []
            for _ in range(4):
                # Whoever is asked first: of the one that hangs nothing comes, and then the time is over.
                with suppress(DeadlineExceededError):
                    told.append((await client.get_active()).revision.number < newest)
                    assert client.source is not None
                    assert client.source.stale
        finally:
            os.kill(bare.daemons[0].pid, signal.SIGCONT)
        assert told
        assert all(told)
    link.release()


@contextmanager
def never_ready(directory: Path) -> Iterator[str]:
    """A daemon whose database is nowhere; yields its address."""
    address = fresh_address()
    environment = {"SUPABASE_DB_URL": "postgresql://nobody@127.0.0.1:1/none", "PROVIDERD_LISTEN": address}
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [PROVIDERD, "serve"],
            env={**clean_environment(), **environment, "PROVIDERD_DEV": "true"},
            cwd=directory,
            stderr=log,
        )
    try:
        yield address
    finally:
        process.terminate()
        process.wait(20)


async def refuses(call: Callable[[], Awaitable[object]]) -> bool:
    """Whether the answer is that there is none."""
    try:
        await call()
    except NotFoundError:
        return True
    return False


async def until_told(client: Client, number: int) -> None:
    """Returns once a daemon that has this revision was the one who answered."""
    async with asyncio.timeout(10):
        while (await client.get_active()).revision.number < number:
            pass


async def until_connected(address: str) -> None:
    """Returns once somebody listens there."""
    async with grpc.aio.insecure_channel(address) as channel:
        await asyncio.wait_for(channel.channel_ready(), 20)


async def until_answered(client: Client) -> ActiveProvider:
    """What it is told once it has noticed that a daemon is gone."""
    async with asyncio.timeout(10):
        while True:
            with suppress(UnavailableError):
                return await client.get_active()
