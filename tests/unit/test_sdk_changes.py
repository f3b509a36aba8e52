"""One slot per consumer, and callbacks that cannot hurt each other."""

import asyncio
import gc
import logging

import pytest

from providerd import Cause, Change, ClientOptions, Provider, Revision, State, UnauthenticatedError
from providerd.announcer import Announcer
from providerd.cache import Cache
from tests.unit.sdk_messages import active, provider

GROQ, ROUTER, CHAT = (Provider.from_proto(provider(name)) for name in ("groq", "openrouter", "chatgpt"))


def change(cause: Cause, new: Provider | None, previous: Provider | None, number: int = 1) -> Change:
    return Change(cause, new, previous, Revision("store", number))


@pytest.mark.parametrize(
    ("older", "newer", "cause"),
    [
        (change(Cause.SWITCHED, ROUTER, GROQ), change(Cause.SWITCHED, CHAT, ROUTER), Cause.SWITCHED),
        (change(Cause.SWITCHED, ROUTER, GROQ), change(Cause.SWITCHED, GROQ, ROUTER), Cause.UPDATED),
        (change(Cause.SWITCHED, ROUTER, GROQ), change(Cause.UPDATED, ROUTER, ROUTER), Cause.SWITCHED),
        (change(Cause.KEY_CHANGED, GROQ, GROQ), change(Cause.KEY_CHANGED, GROQ, GROQ), Cause.KEY_CHANGED),
        (change(Cause.KEY_CHANGED, GROQ, GROQ), change(Cause.UPDATED, GROQ, GROQ), Cause.UPDATED),
        (change(Cause.INITIAL, GROQ, None), change(Cause.SWITCHED, ROUTER, GROQ), Cause.INITIAL),
        (change(Cause.UPDATED, GROQ, GROQ), change(Cause.RESYNC, ROUTER, GROQ), Cause.RESYNC),
        (change(Cause.RESYNC, GROQ, GROQ), change(Cause.SWITCHED, ROUTER, GROQ), Cause.RESYNC),
        (change(Cause.SWITCHED, ROUTER, GROQ), change(Cause.NONE_ACTIVE, None, ROUTER), Cause.NONE_ACTIVE),
    ],
)
def test_two_steps_fold_into_one(older: Change, newer: Change, cause: Cause) -> None:
    folded = older.followed_by(newer)
    assert folded == Change(cause, newer.provider, older.previous, newer.revision)


async def test_a_slow_consumer_costs_one_slot_and_gets_the_newest() -> None:
    announcer = Announcer(Cache(ClientOptions()))
    changes = announcer.iterate(change(Cause.INITIAL, GROQ, None, 1))
    assert (await anext(changes)).provider is GROQ
    for number in range(2, 10_000):
        announcer.publish(change(Cause.SWITCHED, ROUTER, GROQ, number))
    newest = await anext(changes)
    assert (newest.revision.number, newest.previous) == (9_999, GROQ)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(changes), 0.01)


async def test_an_end_comes_after_what_is_pending() -> None:
    announcer = Announcer(Cache(ClientOptions()))
    clean, failing = announcer.iterate(None), announcer.iterate(None)
    announcer.publish(change(Cause.INITIAL, GROQ, None))
    clean.end(None)
    failing.end(UnauthenticatedError("who are you"))
    assert [each.provider async for each in clean] == [GROQ]
    assert (await anext(failing)).provider is GROQ
    with pytest.raises(UnauthenticatedError):
        await anext(failing)


async def test_an_abandoned_iterator_leaves_nothing_behind() -> None:
    announcer = Announcer(Cache(ClientOptions()))
    for _ in range(100):
        announcer.iterate(None)
    gc.collect()
    assert len(announcer._iterators) == 0


async def test_a_raising_callback_is_logged_and_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    announcer = Announcer(Cache(ClientOptions()))
    seen: list[Change] = []

    def broken(_: Change) -> None:
        raise ZeroDivisionError

    announcer.on_change(broken)
    stop = announcer.on_change(seen.append)
    changes = announcer.iterate(None)
    first = change(Cause.INITIAL, GROQ, None)
    with caplog.at_level(logging.ERROR, "providerd"):
        announcer.publish(first)
    assert seen == [first]
    assert await anext(changes) == first
    assert "ZeroDivisionError" in caplog.text

    stop()
    stop()  # a second time does no harm
    announcer.publish(change(Cause.SWITCHED, ROUTER, GROQ))
    assert seen == [first]


async def test_states_are_told_once_each() -> None:
    cache = Cache(ClientOptions())
    announcer = Announcer(cache)
    states: list[State] = []
    announcer.on_state(states.append)
    cache.apply(active(1))
    announcer.publish()
    announcer.publish()
    cache.lost(UnauthenticatedError("gone"))
    announcer.publish()
    assert states == [State.READY, State.STALE]


async def test_a_coroutine_function_is_no_callback() -> None:
    async def callback(_: Change) -> None: ...

    with pytest.raises(TypeError, match="plain function"):
        Announcer(Cache(ClientOptions())).on_change(callback)
