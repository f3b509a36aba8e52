"""Faults 44 and 45: watches that claim what cannot be, and more of them than anybody needs."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import Any

import grpc

from providerd.v1 import provider_pb2 as pb
from tests.abuse.case import WATCH, Answer, Case, bearer
from tests.abuse.judge import complain
from tests.abuse.world import World, state_of

CLAIMS = "44 watches that claim what cannot be"
FLOOD = "45 watches beyond the limit"

_TRIED, _LIMIT = 5_000, 1_000
_CHANNELS = 10
_HEARTBEATS = {
    "none": None, "0": (0, 0), "1 ns": (0, 1), "0.9 s": (0, 900_000_000), "1 s": (1, 0), "300 s": (300, 0),
    "301 s": (301, 0),
    "negative": (-1, 0), "largest": (315_576_000_000, 999_999_999), "no duration": (2**63 - 1, 2**31 - 1),
    "nanos alone": (0, 2**31 - 1), "opposite signs": (5, -2_000_000_000), "smallest": (-(2**63), -(2**31)),
}  # fmt: skip
_GOOD_HEARTBEATS = {"none", "1 s", "300 s", "nanos alone", "opposite signs"}


def claims(store_id: str, number: int) -> Iterator[tuple[str, bool, pb.WatchActiveRequest]]:
    """What is claimed to be known, whether such a claim is taken, and the request."""
    stores = (
        store_id,
        "",
        "00000000-0000-4000-8000-000000000000",
        "x",
        "\0",
        "'; --",
        "x" * 100,
        "x" * 101,
        "x" * 100_000,
    )
    numbers = (0, 1, number - 1, number, number + 1, 2**31, 2**63 - 1, -1, -(2**63))
    for (store, known), (name, heartbeat) in product(product(stores, numbers), _HEARTBEATS.items()):
        request = pb.WatchActiveRequest(known_revision=pb.Revision(store_id=store, number=known))
        if heartbeat is not None:
            request.heartbeat_interval.seconds, request.heartbeat_interval.nanos = heartbeat
        good = known >= 0 and len(store) <= 100 and name in _GOOD_HEARTBEATS
        yield f"{store[:40]!r} {known}, heartbeat {name}", good, request


async def test_a_claim_is_believed_or_refused_and_never_answered_with_less(world: World) -> None:
    store_id, number, *_ = await state_of(world.dsn)
    wrong: list[str] = []
    waiting = iter(list(claims(store_id, number)))

    async def work(channel: grpc.aio.Channel) -> None:
        for name, good, request in waiting:
            metadata = bearer(world.tokens["reader"])
            codes = frozenset({"OK" if good else "INVALID_ARGUMENT"})
            case = Case(name, WATCH, codes, request.SerializeToString(), metadata)
            answer = await case.send(channel)
            wrong.extend(world.judge.verdict(CLAIMS, case, answer))
            if good and (problem := untrue(request.known_revision, store_id, number, answer)):
                wrong.append(f"{name}: {problem}")

    async with world.attacked() as channel:
        await asyncio.gather(*(work(channel) for _ in range(48)))
        complain(wrong)


def untrue(claimed: pb.Revision, store_id: str, number: int, answer: Answer) -> str | None:
    """What is wrong with the first message of a watch."""
    first = pb.WatchActiveResponse.FromString(answer.body)
    if (first.revision.store_id, first.revision.number) != (store_id, number):
        return f"begins at revision {first.revision}"
    if not claimed.store_id or not claimed.number:
        cause = "INITIAL"
    elif claimed.store_id != store_id or claimed.number > number:
        cause = "RESYNC"
    else:
        # Who knows what there is needs to hear no more than that.
        cause = "INITIAL" if claimed.number < 6 else ""
    said = pb.ChangeCause.Name(first.active.cause).removeprefix("CHANGE_CAUSE_") if first.HasField("active") else ""
    return None if said == cause else f"says {said or 'a heartbeat'} rather than {cause or 'a heartbeat'}"


async def test_one_principal_takes_no_more_watches_than_it_may(world: World) -> None:
    greedy = world.access.token("greedy", "read")
    await world.let_in(greedy)
    answers: list[Answer] = []
    logged = world.daemon.log.stat().st_size
    async with asyncio.timeout(60), world.unharmed() as neighbour:
        channels = [connection(world) for _ in range(_CHANNELS)]
        try:
            watches = [
                channels[index % _CHANNELS].unary_stream(WATCH)(b"", metadata=bearer(greedy)) for index in range(_TRIED)
            ]
            answers = await asyncio.gather(*(first_answer(each) for each in watches))
            await world.call("admin", "SwitchProvider", provider_name="spare")
            assert (await neighbour.read()).active.provider.provider_name == "spare"
            heard = await asyncio.gather(*(each.read() for each in watches if not each.done()))
            assert len(heard) == _LIMIT
        finally:
            await asyncio.gather(*(channel.close() for channel in channels))
            await world.call("admin", "SwitchProvider", provider_name="keyed")
    case = Case("one of 5,000", WATCH, frozenset({"OK", "RESOURCE_EXHAUSTED"}), reasons=frozenset({"TOO_MANY_WATCHES"}))
    complain([problem for answer in answers for problem in world.judge.verdict(FLOOD, case, answer)])
    assert Counter(answer.code for answer in answers) == {"OK": _LIMIT, "RESOURCE_EXHAUSTED": _TRIED - _LIMIT}
    complain(world.failures_since(logged))


def connection(world: World) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(world.daemon.address, options=[("grpc.use_local_subchannel_pool", 1)])


async def first_answer(watch: Any) -> Answer:
    """What a watch begins with; it stays open."""
    try:
        return Answer("OK", body=await watch.read())
    except grpc.aio.AioRpcError as error:
        details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
        return Answer(error.code().name, error.details() or "", bytes(details))
