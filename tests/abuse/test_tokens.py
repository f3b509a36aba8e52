"""Fault 36: whoever has no good token gets nothing but UNAUTHENTICATED, from every RPC but health."""

import asyncio
import base64
import hashlib
import itertools
import random
import string
from collections.abc import Iterator

from grpc_health.v1.health_pb2 import HealthCheckResponse

from tests.abuse.case import RPCS, Case, Metadata
from tests.abuse.effective import EFFECTIVE
from tests.abuse.judge import complain
from tests.abuse.wire import headers, wire
from tests.abuse.world import PRESENTED, World

HEALTH = "/grpc.health.v1.Health/Check"
HEALTHY = HealthCheckResponse(status=HealthCheckResponse.SERVING).SerializeToString()

KIND = "36 tokens"
RAW = "36 tokens that no client library sends"

_MUTATIONS = 80

# What gRPC answers by itself to headers that are none.
BY_GRPC = frozenset({"INTERNAL"})


def presented(good: str, expired: str, revoked: str) -> Iterator[tuple[str, Metadata]]:
    """What may be in the place of a good token, and who sends it."""
    yield "nothing", ()
    schemes = ("Basic", "Digest", "Negotiate", "Token", "Bearer:", "BEARER", "bEARER", "Bearer,", "", "DPoP", "MAC")
    values = [
        "", " ", "Bearer", "Bearer ", "Bearer  ", "bearer", good, f" Bearer {good}", f"Bearer {good} ",
        f"Bearer  {good}", f"Bearer {good} {good}", f"Bearer {good},", f"Bearer {good}, Bearer x",
        f'Bearer "{good}"', f"Bearer <{good}>", f"Bearer token={good}", f"Bearer {good};q=1", "Bearer =", "Bearer ====",
        f"Bearer {expired}", f"Bearer {revoked}", "Bearer null", "Bearer undefined", "Bearer true", "Bearer 0",
        "Bearer *", "Bearer %", "Bearer ${TOKEN}", "Bearer ../../etc/passwd", "Bearer ' OR '1'='1", "Bearer admin",
        *(f"{scheme} {good}" for scheme in schemes),
        *(f"Bearer {PRESENTED}{'x' * length}" for length in (0, 4000, 4096, 8192, 100_000)),
    ]  # fmt: skip
    for value in values:
        yield repr(value[:60]), (("authorization", value),)
    headers = ("proxy-authorization", "x-authorization", "x-api-key", "cookie", "authorization2", "x-forwarded-user")
    for header in headers:
        yield header, ((header, f"Bearer {good}"),)
    yield "binary", (("authorization-bin", f"Bearer {good}".encode()),)
    yield "twice", (("authorization", f"Bearer {good}"),) * 2
    yield "good, then wrong", (("authorization", f"Bearer {good}"), ("authorization", f"Bearer {PRESENTED}"))
    yield "empty, then good", (("authorization", ""), ("authorization", f"Bearer {good}"))
    yield "a hundred times", (("authorization", f"Bearer {good}"),) * 100


def mutated(good: str, seed: int) -> Iterator[tuple[str, Metadata]]:
    """Tokens that are almost good."""
    alphabet = string.ascii_letters + string.digits + "._~+/-"
    spoilt = {
        *(good[:end] for end in range(1, len(good))),
        *(good[start:] for start in range(1, len(good))),
        *(good + letter for letter in alphabet + "="),
        *(letter + good for letter in alphabet),
        *(good[:at] + letter + good[at + 1 :] for at in range(len(good)) for letter in alphabet),
        good.upper(), good.swapcase(), good.title(), good * 2, good[::-1],
        hashlib.sha256(good.encode()).hexdigest(),
        hashlib.sha256(good.encode()).hexdigest().upper(),
        base64.b64encode(good.encode()).decode(),
        base64.b64encode(hashlib.sha256(good.encode()).digest()).decode(),
    } - {good}  # fmt: skip
    for value in random.Random(seed).sample(sorted(spoilt), _MUTATIONS):
        yield f"mutated with seed {seed}: {value}", (("authorization", f"Bearer {value}"),)


async def test_nothing_but_a_good_token_is_let_in(world: World) -> None:
    tokens = world.tokens
    cases = [
        Case(name, rpc, frozenset({"UNAUTHENTICATED"}), EFFECTIVE[rpc], metadata, reasons=REASONS)
        for seed, rpc in enumerate(RPCS)
        for name, metadata in [
            *presented(tokens["admin"], tokens["expired"], tokens["revoked"]),
            *mutated(tokens["admin"], seed),
        ]
    ]
    cases += [too_large(rpc, tokens["admin"]) for rpc in RPCS]
    async with world.attacked() as channel:
        await world.judge.try_all(KIND, cases, channel)


REASONS = frozenset({"TOKEN_MISSING", "TOKEN_MALFORMED", "TOKEN_UNKNOWN", "TOKEN_EXPIRED"})


def too_large(rpc: str, good: str) -> Case:
    """More metadata than the daemon reads; gRPC refuses it by itself."""
    metadata = (("authorization", f"Bearer {good}"), ("x-filler", "x" * 200_000))
    refused = frozenset({"RESOURCE_EXHAUSTED"})
    return Case("200 KB of metadata", rpc, refused, EFFECTIVE[rpc], metadata, grpc_itself=refused)


def raw(good: bytes) -> Iterator[tuple[str, list[tuple[bytes, bytes]]]]:
    """Headers as no library lets them be sent."""
    value = b"Bearer " + good
    mark = PRESENTED.encode()
    for name, shown in {
        "not ASCII": b"Bearer \xc3\xa9" + mark, "no text": b"Bearer \xff\xfe" + mark, "NUL at the end": value + b"\0",
        "NUL within": good[:4].join([b"Bearer ", b"\0", good[4:]]), "LF": value + b"\n", "CR": value + b"\r",
        "another header in it": value + b"\r\nx-user: admin", "tab": b"Bearer\t" + good,
        "two lines": b"Bearer\r\n " + good, "DEL": value + b"\x7f", "escape": b"\x1b[2J" + value,
        "2 KB, no text": b"Bearer " + b"\xff" * 2_000, "full width": b"\xef\xbc\xa2earer " + good,
        "tab at the end": value + b"\t",
        "no-break space": b"Bearer\xc2\xa0" + good, "good, with a byte more": value + b"\xff",
    }.items():  # fmt: skip
        yield name, [(b"authorization", shown)]
    for header in (b"Authorization", b"AUTHORIZATION", b"authorization ", b" authorization", b"authorization\0", b""):
        yield f"header {header!r}", [(header, value)]
    for header in (b"authorization:", b":authorization", b"author\nization", b"\xff"):
        yield f"header {header!r}", [(header, value)]
    yield "twice, once in capitals", [(b"Authorization", value), (b"authorization", b"Bearer " + mark)]


async def test_what_is_no_header_is_no_token(world: World) -> None:
    refused = frozenset({"UNAUTHENTICATED", "RESET", "CLOSED", *BY_GRPC})
    problems: list[str] = []

    async def attempt(rpc: str, name: str, extra: list[tuple[bytes, bytes]]) -> None:
        async with wire(world.daemon.address) as connection:
            await connection.begin()
            stream = connection.open(headers(rpc, *extra), EFFECTIVE[rpc])
            await connection.flush()
            answer = await connection.answer(stream)
        problems.extend(world.judge.verdict(RAW, Case(name, rpc, refused, grpc_itself=BY_GRPC), answer))

    async with world.attacked():
        good = world.tokens["admin"].encode()
        await asyncio.gather(*(attempt(rpc, *each) for rpc in RPCS for each in raw(good)))
        complain(problems)


async def test_the_path_that_is_let_through_is_the_one_that_is_served(world: World) -> None:
    refused = frozenset({"UNAUTHENTICATED", "RESET", "CLOSED", *BY_GRPC})
    problems: list[str] = []
    async with world.attacked():
        for rpc, served in itertools.product(RPCS, (True, False)):
            sent = headers(HEALTH if served else rpc, (b":path", (rpc if served else HEALTH).encode()))
            async with wire(world.daemon.address) as connection:
                await connection.begin()
                stream = connection.open(sent, EFFECTIVE[rpc])
                await connection.flush()
                answer = await connection.answer(stream)
            # Health is for everybody. It says no more than that it serves, or that the request is not for it.
            codes = refused | ({"OK"} if answer.body == HEALTHY else {"NOT_FOUND", "INVALID_ARGUMENT"})
            case = Case(f"two paths, health {served}", rpc, codes, grpc_itself=BY_GRPC | {"NOT_FOUND"})
            problems += world.judge.verdict(RAW, case, answer)
        complain(problems)
