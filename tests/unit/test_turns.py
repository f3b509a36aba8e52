"""The queue of writes: bounded in time, and no time at all behind those whom the database has failed."""

import asyncio

import pytest

from providerd_server.errors import Kind, Refusal
from providerd_server.store.turns import Turns


async def wait(turns: Turns, seconds: float = 0.0) -> None:
    async with turns.taken():
        await asyncio.sleep(seconds)


async def queued(turns: Turns, count: int) -> list[asyncio.Task[None]]:
    """So many who wait, once they do."""
    waiting = [asyncio.create_task(wait(turns)) for _ in range(count)]
    await asyncio.sleep(0)
    return waiting


async def test_everyone_has_their_turn() -> None:
    turns = Turns(2, patience=5)
    async with turns.taken(), turns.taken():
        waiting = await queued(turns, 5)
        assert not any(task.done() for task in waiting)
    await asyncio.gather(*waiting)


async def test_patience_ends() -> None:
    turns = Turns(1, patience=0.01)
    async with turns.taken():
        with pytest.raises(Refusal, match="1 others have been ahead of this call for too long") as caught:
            await wait(turns)
    assert (caught.value.kind, caught.value.reason) == (Kind.UNAVAILABLE, "STORE_BUSY")
    await wait(turns)


async def test_nobody_waits_for_a_database_that_fails_others() -> None:
    turns = Turns(1, patience=600)
    async with asyncio.timeout(5):
        async with turns.taken():
            waiting = await queued(turns, 3)
            turns.give_up(ConnectionResetError())
            ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert [isinstance(end, Refusal) and end.reason for end in ends] == ["STORE_UNREACHABLE"] * 3
        # Those who come later find out for themselves.
        await wait(turns)


async def test_a_turn_that_came_just_then_is_not_lost() -> None:
    turns = Turns(1, patience=600)
    async with asyncio.timeout(5):
        async with turns.taken():
            waiting = await queued(turns, 2)
        turns.give_up(ConnectionResetError())
        await asyncio.gather(*waiting, return_exceptions=True)
        await wait(turns)
