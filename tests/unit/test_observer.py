"""What the hub tells those who observe it."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from providerd.v1 import provider_pb2 as pb
from providerd_server.errors import Kind, Refusal
from providerd_server.hub import Cause, Hub, Mailbox, State
from providerd_server.observer import Observer
from providerd_server.snapshot import Revision
from providerd_server.watch import Watch, Wish
from tests.unit.snapshots import STORE, snapshot


class Told(Observer):
    """Keeps all it is told."""

    def __init__(self) -> None:
        self.all: list[tuple[Any, ...]] = []

    def wrote(self, revision: Revision, began: float, ended: float) -> None:
        self.all.append(("wrote", revision.number, ended - began))

    def failed(self, error: BaseException, began: float, ended: float) -> None:
        self.all.append(("failed", str(error), ended - began))

    def published(self, before: State | None, state: State, cause: Cause | None) -> None:
        self.all.append(("published", before and before.revision.number, state.revision.number, cause))

    def delivered(self, mailbox: Mailbox, state: State, cause: Cause | None) -> None:
        told = mailbox.told and mailbox.told.revision.number
        self.all.append(("delivered", mailbox.watcher, told, state.revision.number, cause))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def watching(told: Told) -> AsyncIterator[Hub]:
    """A hub at revision 1 that "worker" watches, without heartbeats for the time of a test."""
    hub = Hub(told)
    hub.publish(snapshot(1))

    async def nothing(*_: Any) -> None:
        return

    wish = Wish(watcher="worker", known=None, with_credential=False, heartbeat=300.0)
    watch = Watch(hub, wish, status=pb.SourceStatus, verify=nothing, write=nothing)
    task = asyncio.create_task(watch.run())
    await asyncio.sleep(0)
    yield hub
    task.cancel()
    await asyncio.wait({task})


async def test_each_new_state_and_each_message_is_told_of_with_what_was_known_before(watching: Hub, told: Told) -> None:
    watching.publish(snapshot(2, "mistral"))
    watching.publish(snapshot(2, "mistral"))
    await asyncio.sleep(0.01)
    assert told.all == [
        ("published", None, 1, Cause.INITIAL),
        ("delivered", "worker", None, 1, Cause.INITIAL),
        ("published", 1, 2, Cause.SWITCHED),
        ("delivered", "worker", 1, 2, Cause.SWITCHED),
    ]


async def test_a_change_of_another_provider_is_published_and_delivered_to_nobody_who_knows_it_then(
    watching: Hub, told: Told
) -> None:
    watching.publish(snapshot(2))
    await asyncio.sleep(0.01)
    (mailbox,) = watching.mailboxes
    assert mailbox.told is watching.state
    assert told.all[2:] == [("published", 1, 2, None)]


async def test_what_was_folded_is_told_of_once(watching: Hub, told: Told) -> None:
    for number in (2, 3, 4):
        watching.publish(snapshot(number, default_model=f"m{number}", config_version=number))
    await asyncio.sleep(0.01)
    assert [each for each in told.all if each[0] == "delivered"][1:] == [
        ("delivered", "worker", 1, 4, Cause.UPDATED),
    ]


def test_writes_are_told_of_with_the_time_they_took(told: Told) -> None:
    hub = Hub(told)
    began = time.monotonic() - 2
    hub.wrote(Revision(STORE, 7), began)
    hub.failed(Refusal(Kind.ABORTED, "REVISION_MISMATCH", "too late"), began)
    assert [each[:2] for each in told.all] == [("wrote", 7), ("failed", "too late")]
    assert all(2 <= seconds < 10 for *_, seconds in told.all)


def test_one_that_fails_disturbs_neither_the_others_nor_the_hub(told: Told) -> None:
    class Failing(Observer):
        def published(self, before: State | None, state: State, cause: Cause | None) -> None:
            raise ValueError

        def wrote(self, revision: Revision, began: float, ended: float) -> None:
            raise ValueError

    hub = Hub(Failing(), told)
    with capture_logs() as logged:
        hub.publish(snapshot(1))
        hub.wrote(Revision(STORE, 1), time.monotonic())
    assert [each[0] for each in told.all] == ["published", "wrote"]
    assert hub.state is not None
    assert [(each["observer"], each["told"]) for each in logged] == [("Failing", "published"), ("Failing", "wrote")]
