"""The hub: what a watcher is told, that the newest is never lost, and that nothing piles up."""

import asyncio
from dataclasses import replace

import pytest

from providerd.secret import Secret
from providerd_server.hub import Cause, Hub, cause_between
from providerd_server.snapshot import Revision, Snapshot
from tests.unit.snapshots import OTHER_STORE, STORE, snapshot


def published(*snapshots: Snapshot) -> Hub:
    hub = Hub()
    for one in snapshots:
        hub.publish(one)
    return hub


@pytest.mark.parametrize(
    ("after", "cause"),
    [
        (snapshot(2, "mistral"), Cause.SWITCHED),
        (snapshot(2, None), Cause.NONE_ACTIVE),
        (snapshot(2, default_model="n", config_version=2), Cause.UPDATED),
        (snapshot(2, key_fingerprint="ab", config_version=2), Cause.KEY_CHANGED),
        (snapshot(2, key_fingerprint="ab", default_model="n", config_version=2), Cause.UPDATED),
        (snapshot(2), None),
        (snapshot(0), Cause.RESYNC),
        (snapshot(9, store=OTHER_STORE), Cause.RESYNC),
        (snapshot(1, default_model="n", config_version=2), Cause.RESYNC),
    ],
    ids=[
        "switched",
        "none",
        "updated",
        "key",
        "key-and-content",
        "another-provider",
        "restored",
        "replaced",
        "rewritten",
    ],
)
def test_a_watcher_is_told_what_happened_to_the_active_provider(after: Snapshot, cause: Cause | None) -> None:
    hub = published(snapshot(1))
    before = hub.state
    hub.publish(after)
    assert before is not None
    assert hub.state is not None
    assert cause_between(before, hub.state) is cause


def test_a_source_that_was_told_of_another_past_has_watchers_forget_theirs_though_the_number_is_higher() -> None:
    hub = published(snapshot(1))
    before = hub.state
    hub.publish(replace(snapshot(2), epoch=1))
    assert before is not None
    assert hub.state is not None
    assert cause_between(before, hub.state) is Cause.RESYNC


def test_a_key_that_can_be_read_at_last_is_told_though_the_revision_is_the_same() -> None:
    hub = published(snapshot(1, key_fingerprint="ab"))
    before = hub.state
    hub.publish(snapshot(1, key_fingerprint="ab", api_key=Secret("gsk-canary")))
    assert before is not None
    assert hub.state is not None
    assert cause_between(before, hub.state) is Cause.KEY_CHANGED
    hub.publish(snapshot(1, key_fingerprint="ab", api_key=Secret("gsk-canary")))
    assert hub.state.epoch == before.epoch


def test_after_nobody_was_active_the_next_one_is_a_switch() -> None:
    hub = published(snapshot(1, None))
    before = hub.state
    hub.publish(snapshot(2, "groq"))
    assert before is not None
    assert hub.state is not None
    assert cause_between(before, hub.state) is Cause.SWITCHED


def test_there_and_back_between_two_looks_is_no_news() -> None:
    hub = published(snapshot(1))
    before = hub.state
    hub.publish(snapshot(2, "mistral"))
    hub.publish(snapshot(3))
    assert before is not None
    assert hub.state is not None
    assert cause_between(before, hub.state) is None
    assert hub.state.revision.number == 3


def test_publishing_the_current_revision_again_disturbs_nobody() -> None:
    hub = published(snapshot(1))
    state = hub.state
    hub.publish(snapshot(1))
    assert hub.state is state


async def test_a_watcher_that_does_not_look_costs_one_slot_and_then_sees_the_newest() -> None:
    hub = published(snapshot(1))
    with hub.subscribe() as mailbox:
        mailbox.take()
        for number in range(2, 100):
            hub.publish(snapshot(number, "mistral" if number % 2 else "groq"))
        assert await mailbox.wait(1)
        state = mailbox.take()
        assert state is not None
        assert state.revision.number == 99
        assert not await mailbox.wait(0.01)


async def test_a_change_between_subscribing_and_the_first_look_is_seen_once() -> None:
    hub = published(snapshot(1))
    with hub.subscribe() as mailbox:
        hub.publish(snapshot(2, "mistral"))
        state = mailbox.take()
        assert state is not None
        assert state.revision.number == 2
        assert not await mailbox.wait(0.01)


async def test_a_watcher_that_leaves_leaves_nothing_behind() -> None:
    hub = published(snapshot(1))
    with hub.subscribe():
        assert len(hub.mailboxes) == 1
        waiting = asyncio.create_task(hub.wait_empty())
        await asyncio.sleep(0)
        assert not waiting.done()
    assert len(hub.mailboxes) == 0
    await asyncio.wait_for(waiting, 1)


def test_a_state_older_than_what_was_acknowledged_is_behind() -> None:
    hub = published(snapshot(1))
    hub.acknowledge(Revision(STORE, 1))
    assert not hub.is_behind
    hub.acknowledge(Revision(STORE, 2))
    hub.acknowledge(Revision(STORE, 1))
    assert hub.is_behind
    hub.publish(snapshot(2))
    assert not hub.is_behind


@pytest.mark.parametrize("after", [snapshot(1), snapshot(1, store=OTHER_STORE)], ids=["restored", "replaced"])
def test_what_was_acknowledged_in_a_past_that_is_gone_is_forgotten(after: Snapshot) -> None:
    hub = published(snapshot(5))
    hub.acknowledge(Revision(STORE, 6))
    assert hub.is_behind
    hub.publish(after)
    assert not hub.is_behind
    hub.acknowledge(Revision(after.revision.store_id, 2))
    assert hub.is_behind


async def test_turning_stale_wakes_who_was_told_otherwise_and_so_does_the_end_of_it() -> None:
    hub = published(snapshot(1))
    stale = False
    following = asyncio.create_task(hub.follow_freshness(lambda: stale))
    with hub.subscribe() as mailbox:
        mailbox.told_stale = False
        assert not await mailbox.wait(0.6)
        for stale in (True, False):
            assert await mailbox.wait(2)
            mailbox.take()
            mailbox.told_stale = stale
        assert not await mailbox.wait(0.6)
    following.cancel()


async def test_draining_wakes_everyone() -> None:
    hub = published(snapshot(1))
    with hub.subscribe() as mailbox:
        mailbox.take()
        hub.drain()
        assert await mailbox.wait(1)
        assert hub.draining


@pytest.mark.parametrize(
    ("known", "current"),
    [
        (Revision(STORE, 3), True),
        (Revision(STORE, 2), True),
        (Revision(STORE, 1), False),
        (Revision(STORE, 4), False),
        (Revision(OTHER_STORE, 3), False),
    ],
    ids=["newest", "since-the-switch", "before-the-switch", "from-the-future", "another-store"],
)
def test_who_has_seen_the_last_change_of_the_active_provider_is_current(known: Revision, current: bool) -> None:
    # Revision 2 switched, revision 3 changed a provider that is not active.
    hub = published(snapshot(1), snapshot(2, "mistral"), snapshot(3, "mistral"))
    assert hub.state is not None
    assert hub.state.is_current_for(known) is current


def test_each_distinct_response_is_encoded_once_per_state() -> None:
    hub = published(snapshot(1))
    calls = []

    def encode() -> bytes:
        calls.append(1)
        return b"bytes"

    assert hub.state is not None
    assert hub.state.encoded("a", encode) is hub.state.encoded("a", encode)
    assert len(calls) == 1
    hub.publish(snapshot(2))
    hub.state.encoded("a", encode)
    assert len(calls) == 2
