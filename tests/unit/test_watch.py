"""How long a watcher may take for what it is told."""

import asyncio
import time
from typing import cast

import grpc
import pytest

from providerd.v1 import provider_pb2 as pb
from providerd_server.errors import Refusal
from providerd_server.hub import Hub
from providerd_server.rpc import Context
from providerd_server.watch import Watch, Wish, bounded_write
from tests.unit.snapshots import snapshot


class Blocked:
    """A call whose client takes nothing."""

    async def write(self, _: bytes) -> None:
        await asyncio.Event().wait()


async def nothing() -> None:
    return


async def test_a_message_has_the_time_that_the_one_before_it_left() -> None:
    write = bounded_write(cast(Context, Blocked()), 60)
    with pytest.raises(Refusal) as caught:
        # Otherwise this would be a minute more.
        await asyncio.wait_for(write(b"", time.monotonic() - 59), 30)
    assert caught.value.reason == "WATCHER_STALLED"
    assert "60 s" in caught.value.message


async def test_a_message_has_some_time_of_its_own() -> None:
    taken: list[bytes] = []

    class Slow:
        async def write(self, encoded: bytes) -> None:
            await asyncio.sleep(0.01)
            taken.append(encoded)

    await bounded_write(cast(Context, Slow()), 60)(b"new", time.monotonic() - 1000)
    assert taken == [b"new"]


async def test_a_client_that_goes_in_the_middle_of_a_message_has_left() -> None:
    class Gone:
        async def write(self, _: bytes) -> None:
            raise grpc.aio.InternalError("Failed to execute a batch")

    with pytest.raises(asyncio.CancelledError):
        await bounded_write(cast(Context, Gone()), 60)(b"", time.monotonic())


async def test_time_is_counted_from_the_first_change_that_was_not_told_yet() -> None:
    hub = Hub()
    hub.publish(snapshot(1))
    reasons: list[float] = []
    may_go_on, told = asyncio.Event(), asyncio.Event()

    async def write(_: bytes, since: float) -> None:
        reasons.append(since)
        told.set()
        await may_go_on.wait()

    wish = Wish(watcher="worker", known=None, with_credential=False, heartbeat=300.0)
    task = asyncio.create_task(Watch(hub, wish, status=pb.SourceStatus, verify=nothing, write=write).run())
    await told.wait()
    told.clear()
    before = time.monotonic()
    hub.publish(snapshot(2, active="beta"))
    after = time.monotonic()
    await asyncio.sleep(0.05)
    hub.publish(snapshot(3, active="alpha"))
    hub.publish(snapshot(4, active="beta"))
    may_go_on.set()
    await told.wait()
    task.cancel()
    await asyncio.wait({task})
    assert len(reasons) == 2
    assert before <= reasons[1] <= after
