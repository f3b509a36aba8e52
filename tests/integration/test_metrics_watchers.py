"""What Prometheus is told of those who watch a daemon, of what they take, and of how they end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from serving import Serving, free_port

from providerd.cli.condition import Condition
from providerd.daemon_status import DaemonStatus
from providerd.v1 import provider_pb2 as pb
from providerd_server.errors import Refusal
from providerd_server.hub import Hub
from providerd_server.metrics import Metrics, in_loop
from providerd_server.watch import Watch, Wish
from tests.integration.measured import until, watched
from tests.integration.sql import connected
from tests.metrics import scrape
from tests.unit.snapshots import snapshot


@pytest.fixture
def address() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has nobody be told what was true a moment ago."""
    monkeypatch.setattr(in_loop, "_SHARED", 0.0)


@pytest.fixture
async def daemon(database: str, address: str) -> AsyncIterator[Serving]:
    """A daemon with the providers "one", active, and "two"."""
    async with watched(database, address) as daemon:
        yield daemon


@asynccontextmanager
async def stalling(daemon: Serving) -> AsyncIterator[Any]:
    """A watch that has read its first message, and reads on by itself no further than its window."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]
    async with grpc.aio.insecure_channel(daemon.address, options=options) as channel:
        watch = channel.unary_stream("/providerd.v1.ProviderService/WatchActive")(b"", timeout=60)
        await watch.read()
        yield watch


async def enlarge(daemon: Serving, number: int) -> None:
    """Makes a revision whose message is large: some of them fill the window of a watcher."""
    await daemon.call(
        "UpsertProvider",
        provider={"provider_name": "one", "model_capabilities": {"padding": "x" * 60_000, "number": number}},
        update_mask="modelCapabilities",
    )


async def test_watchers_and_their_messages_are_counted(daemon: Serving, address: str) -> None:
    watch = daemon.watch(heartbeat_interval="1s")
    await watch.read()
    await daemon.call("SwitchProvider", provider_name="two")
    assert (await watch.read()).active.cause == pb.CHANGE_CAUSE_SWITCHED
    assert (await watch.read()).WhichOneof("event") == "heartbeat"
    shown = await scrape(address)
    assert shown("providerd_watchers", state="current") == 1
    assert shown("providerd_watchers", state="behind") == shown("providerd_watchers", state="starting") == 0
    assert shown("providerd_slowest_watcher_lag") == 0
    assert shown("providerd_deliveries_total", cause="initial") == 1
    assert shown("providerd_deliveries_total", cause="switched") == 1
    assert shown("providerd_deliveries_total", cause="heartbeat") == 1
    assert shown("providerd_delivery_seconds_count") == 1
    assert shown("providerd_folded_revisions_total") == 0
    watch.cancel()
    ended = await until(address, lambda shown: shown("providerd_watchers", state="current") == 0)
    assert (
        ended(
            "grpc_server_handled_total",
            grpc_service="providerd.v1.ProviderService",
            grpc_method="WatchActive",
            grpc_code="CANCELLED",
        )
        == 1
    )
    assert ended("providerd_watches_ended_total", reason="CANCELLED") == 1


async def test_a_watcher_that_does_not_read_is_behind_and_what_it_misses_is_folded(database: str, address: str) -> None:
    async with watched(database, address, watch_write_timeout=60.0) as daemon, stalling(daemon) as watch:
        changes = 0
        while (behind := await scrape(address))("providerd_slowest_watcher_lag") < 3:
            changes += 1
            await enlarge(daemon, changes)
        assert behind("providerd_watchers", state="behind") == 1
        newest = behind("providerd_revision")
        while pb.WatchActiveResponse.FromString(await watch.read()).revision.number < newest:
            pass
        caught_up = await until(address, lambda shown: shown("providerd_watchers", state="current") == 1)
        watch.cancel()
    assert caught_up("providerd_slowest_watcher_lag") == 0
    assert caught_up("providerd_folded_revisions_total") >= 1
    delivered = caught_up("providerd_deliveries_total", cause="updated")
    assert delivered + caught_up("providerd_folded_revisions_total") == changes


async def test_a_watcher_that_is_cut_off_since_it_does_not_read_is_counted(database: str, address: str) -> None:
    async with watched(database, address, watch_write_timeout=0.3) as daemon, stalling(daemon):
        changes = 0
        while not (shown := await scrape(address))("providerd_watches_ended_total", reason="WATCHER_STALLED"):
            changes += 1
            await enlarge(daemon, changes)
    assert (
        sum(shown("providerd_watches_ended_total", **each) for each in shown.labels("providerd_watches_ended_total"))
        == 1
    )


async def test_how_far_a_watcher_of_another_store_is_is_not_said_in_revisions(database: str, address: str) -> None:
    async with (
        watched(database, address, watch_write_timeout=60.0, poll_interval=0.2) as daemon,
        stalling(daemon) as watch,
        connected(database) as db,
    ):
        changes = 0
        while (await scrape(address))("providerd_watchers", state="behind") < 1:
            changes += 1
            await enlarge(daemon, changes)
        await db.execute("SET session_replication_role = replica")
        await db.execute("UPDATE llm_provider_store SET store_id = gen_random_uuid()")
        shown = await until(address, lambda shown: shown("providerd_resyncs_total") == 1)
        watchers = (await daemon.call("GetStatus")).watchers
        pairs = dict(Condition("", "", "", daemon=DaemonStatus.from_proto(await daemon.call("GetStatus"))).pairs())
        watch.cancel()
    assert shown("providerd_watchers", state="resyncing") == watchers.resyncing == 1
    assert shown("providerd_watchers", state="behind") == shown("providerd_slowest_watcher_lag") == 0
    assert pairs["watchers"] == "0 up to date, 1 yet to hear of another store"


async def test_watches_are_said_goodbye_to_and_so_counted() -> None:
    events = Metrics().events
    hub = Hub(events)
    hub.publish(snapshot(1))
    hub.drain()

    async def nothing(*_: Any) -> None:
        return

    wish = Wish(watcher="worker", known=None, with_credential=False, heartbeat=300.0)
    with pytest.raises(Refusal):
        await Watch(hub, wish, status=pb.SourceStatus, verify=nothing, write=nothing).run()
    with pytest.raises(ZeroDivisionError), hub.subscribe():
        raise ZeroDivisionError
    assert {reason: count for reason, count in events.ends.items() if count} == {"DRAINING": 1, "INTERNAL": 1}
