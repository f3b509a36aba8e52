"""The checker can fail: on made-up records, and on daemons that are broken on purpose."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.faults.builds import broken_build
from tests.faults.checker import Delivered, Write, check
from tests.faults.load import Load
from tests.faults.proxy import Proxy, proxy_to
from tests.faults.truth import Content, Entry, Truth
from tests.faults.world import World, until

STORE, OTHER = "store", "another store"
A, B = Content("alpha", "one", 1), Content("beta", "two", 1)


def truth() -> Truth:
    """Two revisions: alpha is created, then beta activated."""
    return Truth(
        STORE,
        2,
        active={1: A, 2: B},
        entries={1: [Entry("created", "alpha", "one")], 2: [Entry("activated", "beta", "two")]},
    )


def told(*messages: tuple[int, Content | None], cause: str = "") -> list[Delivered]:
    return [Delivered(0.0, STORE, number, cause, held, stale=False) for number, held in messages]


GOOD = told((1, A), (2, B), (2, B))
FIRST, SECOND = Write(0.0, 1.0, STORE, 1, "alpha", "one"), Write(2.0, 3.0, STORE, 2, "beta", None)


def judged(
    messages: list[Delivered] = GOOD,
    writes: tuple[Write, ...] = (FIRST, SECOND),
    past: Truth | None = None,
    **places: bytes,
) -> list[str]:
    return check({"w": messages}, writes, [past or truth()], places, [b"canary"])


def test_what_is_right_is_let_pass() -> None:
    assert judged(log=b"nothing of note") == []


@pytest.mark.parametrize(
    ("invariant", "wrong"),
    [
        ("I1", {"messages": told((2, B), (1, A), (2, B))}),
        ("I2", {"messages": told((1, B), (2, B))}),
        ("I2", {"messages": told((3, B), (2, B))}),
        ("I2", {"messages": told((1, A), (2, A), (2, B))}),
        ("I3", {"messages": told((1, A))}),
        ("I3", {"messages": []}),
        ("I4", {"writes": (FIRST, Write(2, 3, STORE, 2, "alpha", None))}),
        ("I4", {"writes": (FIRST, Write(2, 3, STORE, 3, "beta", "two"))}),
        ("I4", {"writes": (FIRST._replace(store_id=OTHER),)}),
        ("I5", {"writes": (FIRST._replace(began=5.0, ended=6.0), SECOND)}),
        ("I6", {"past": Truth(STORE, 2, truth().active, truth().entries, doubled=[2])}),
        ("I7", {"log": b"a canary sings"}),
    ],
)
def test_each_invariant_is_held_to(invariant: str, wrong: dict[str, Any]) -> None:
    problems = judged(**wrong)
    assert any(problem.startswith(invariant) for problem in problems), problems


def test_a_resync_may_go_back_only_in_a_store_that_was_restored() -> None:
    back = {"w": [*told((2, B)), *told((1, A), cause="RESYNC"), *told((2, B))]}
    assert check(back, [], [truth(), truth()], {}, []) == []
    [problem] = check(back, [], [truth()], {}, [])
    assert problem.startswith("I1")
    [problem] = check(back, [], [Truth(OTHER, 2, truth().active, truth().entries), truth()], {}, [])
    assert problem.startswith("I1")


def test_two_active_at_once_are_seen_in_the_history() -> None:
    row = {"action": "created", "text": "", "active": True, "version": 1, "at": 0.0}
    rows: Any = [{**row, "revision": 1, "provider_name": name, "row": name} for name in ("alpha", "beta")]
    assert Truth.replay(STORE, 1, rows).doubled == [1]


async def serial_ids_out_of_order(world: World, *_: Proxy) -> None:
    """A change takes its id first and is committed last, as happens where writers do not queue."""
    await world.cluster.execute(
        world.name,
        "CREATE OR REPLACE FUNCTION queue_provider_writers() RETURNS TRIGGER LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NULL; END'",
    )
    change = "UPDATE llm_provider_configs SET description = '{}' WHERE provider_name = '{}'"
    first, second = [await asyncpg.connect(world.dsn) for _ in range(2)]
    late, early = second.transaction(), first.transaction()
    await late.start()
    await early.start()
    await first.execute("SELECT FROM llm_provider_store FOR UPDATE")
    changing = asyncio.create_task(second.execute(change.format("takes its id first", "alpha")))
    await _until_waiting(first)
    await first.execute(change.format("takes its id second", "beta"))
    await early.commit()
    await changing
    newest = await first.fetchval("SELECT revision FROM llm_provider_store")
    await until(lambda: all(f'"revision": {newest},' in each.log.read_text() for each in world.daemons), 5)
    await late.commit()
    for connection in (first, second):
        await connection.close()


async def a_commit_while_nobody_listens(world: World, *_: Proxy) -> None:
    """The listener is away for the moment of one commit."""
    listeners = [pid for pid, query in (await world.cluster.backends(world.name)).items() if "pg_notify" in query]
    assert len(listeners) == len(world.daemons)
    connection = await asyncpg.connect(world.dsn)
    await world.cluster.execute("postgres", f"ALTER DATABASE {world.name} ALLOW_CONNECTIONS false")
    await connection.execute("SELECT pg_terminate_backend(pid, 5000) FROM unnest($1::int[]) pid", listeners)
    await connection.execute("UPDATE llm_provider_configs SET description = 'unheard' WHERE is_active")
    await world.cluster.execute("postgres", f"ALTER DATABASE {world.name} ALLOW_CONNECTIONS true")
    await connection.close()


async def notifications_that_never_come(world: World, *ways: Proxy) -> None:
    """The connections that listen are held, while those that read go on."""
    for way in ways:
        [link] = way.that_said(b"pg_notify")
        link.hold()
    await world.cluster.execute(
        world.name, "UPDATE llm_provider_configs SET description = 'unannounced' WHERE is_active"
    )


# The poll and the probe must not mend what another part of the daemon is to be shown for.
SELDOM = {"PROVIDERD_POLL_INTERVAL": "600", "PROVIDERD_PROBE_INTERVAL": "600"}
SCENARIOS: dict[str, tuple[Callable[..., Awaitable[None]], dict[str, str]]] = {
    "a cursor over SERIAL ids": (serial_ids_out_of_order, {"PROVIDERD_POLL_INTERVAL": "0.1"}),
    "LISTEN after the read": (a_commit_while_nobody_listens, SELDOM),
    "no poll": (notifications_that_never_come, {**SELDOM, "PROVIDERD_POLL_INTERVAL": "0.3"}),
}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_broken_daemon_is_found_out_and_an_intact_one_is_not(name: str, bare: World, tmp_path: Path) -> None:
    scenario, settings = SCENARIOS[name]
    python_path = str(broken_build(name, tmp_path))
    async with (
        proxy_to(bare.cluster.socket) as to_intact,
        proxy_to(bare.cluster.socket) as to_broken,
        bare.daemon(bare.url(to_intact.address), **settings) as intact,
        bare.daemon(bare.url(to_broken.address), **settings, PYTHONPATH=python_path) as broken,
    ):
        await bare.seed(intact.address)
        quiet = {"watchers": 2, "writes": 0, "reads": 0}
        async with (
            Load([broken.address], bare.dsn, **quiet) as deceived,
            Load([intact.address], bare.dsn, **quiet) as well,
        ):
            wanted = (await bare.truth()).newest
            for load in (deceived, well):
                await load.until(lambda load=load: all(each.number >= wanted for each in load.watchers), 5)
            await scenario(bare, to_intact, to_broken)
            past = await bare.truth()
            assert past.newest > wanted
            await well.until(lambda: all(each.number == past.newest for each in well.watchers), 5)
            await asyncio.sleep(1)
            assert check({"intact": well.watchers[0].told}, [], [past], {}, []) == []
            problems = check({"broken": deceived.watchers[0].told}, [], [past], {}, [])
            assert any(problem.startswith("I3") for problem in problems), problems


async def test_a_daemon_that_tells_less_than_is_known_is_found_out_and_an_intact_one_is_not(
    bare: World, tmp_path: Path
) -> None:
    python_path = str(broken_build("no catching up", tmp_path))
    quiet = {"watchers": 2, "writes": 0, "reads": 0}
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        link = await enter(proxy_to(bare.cluster.socket))
        fresh = await enter(bare.daemon())
        intact = await enter(bare.daemon(bare.url(link.address)))
        broken = await enter(bare.daemon(bare.url(link.address), PYTHONPATH=python_path))
        await bare.seed(fresh.address)
        to_intact, to_broken = await enter(proxy_to(intact.address)), await enter(proxy_to(broken.address))
        well = await enter(Load([to_intact.address], bare.dsn, **quiet))
        deceived = await enter(Load([to_broken.address], bare.dsn, **quiet))
        # All learn at the daemon that is up to date what those that are cut off do not know.
        known = (await bare.truth()).newest
        for load in (well, deceived):
            await load.until(lambda load=load: all(each.number >= known for each in load.watchers), 5)
        link.hold()
        for proxy in (to_intact, to_broken):
            proxy.target = fresh.address
            proxy.reset()
        await bare.cluster.execute(bare.name, "SELECT switch_active_provider('beta', 'test')")
        past = await bare.truth()
        for load in (well, deceived):
            await load.until(lambda load=load: all(each.number == past.newest for each in load.watchers), 10)
        for proxy, daemon in ((to_intact, intact), (to_broken, broken)):
            proxy.target = daemon.address
            proxy.reset()
        await deceived.until(lambda: all(each.number < past.newest for each in deceived.watchers), 10)
        link.release()
        for load in (well, deceived):
            await load.until(lambda load=load: all(each.told[-1].number == past.newest for each in load.watchers), 15)
    assert check({str(each): each.told for each in well.watchers}, [], [past], {}, []) == []
    problems = check({str(each): each.told for each in deceived.watchers}, [], [past], {}, [])
    assert len(problems) == 2
    assert all(problem.startswith("I1") for problem in problems), problems


async def _until_waiting(connection: asyncpg.Connection) -> None:
    async with asyncio.timeout(5):
        while not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
            await asyncio.sleep(0.01)
