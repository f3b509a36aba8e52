"""Fault 38: bytes that are no message, or almost one, as the request of every RPC."""

import random
from collections.abc import Iterator

from google.protobuf.json_format import ParseDict

from providerd.v1 import provider_pb2 as pb
from tests.abuse.case import REFLECTION, SERVICE, Case, bearer
from tests.abuse.effective import EFFECTIVE
from tests.abuse.encoding import delimited, nested_list, nested_struct, tag, varint
from tests.abuse.world import World, provider

KIND = "38 bytes that are no message"

_RANDOM, _MUTATED, _TRUNCATED = 60, 90, 30
HEALTH = ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"]

# So that whatever a mutation turns them into changes nothing: all speak of a provider that is not there, and would
# make one that must not be.
_UNBORN = provider("unborn", base_url="http://169.254.169.254")
_BASES = EFFECTIVE | {
    f"{SERVICE}{method}": ParseDict(message, getattr(pb, f"{method}Request")()).SerializeToString()
    for method, message in {
        "SwitchProvider": {"provider_name": "unheard-of", "reason": "why", "expected_revision": {"number": 1}},
        "UpsertProvider": {"provider": _UNBORN, "new_api_key": "sk-of-an-attacker", "reason": "why"},
        "DeleteProvider": {"provider_name": "unheard-of", "expected_config_version": 3, "reason": "why"},
        "RollbackProvider": {"provider_name": "unheard-of", "revision_number": 2, "reason": "why"},
        "ApplyConfiguration": {"providers": [_UNBORN, _UNBORN], "reason": "why"},
        "ListHistory": {"page_size": 3, "provider_name": "keyed", "start_time": "2026-01-01T00:00:00Z", "action": 2},
        "DiffRevisions": {"from_revision": 1, "to_revision": 3, "provider_name": "keyed"},
        "GetRevision": {"number": 3},
        "ListProviders": {"page_size": 2, "page_token": "Z3JvcQ=="},
        "WatchActive": {
            "known_revision": {"store_id": "x", "number": 3}, "heartbeat_interval": "3s", "client": {"name": "me"},
        },
    }.items()
} | dict.fromkeys(HEALTH, delimited(1, b"providerd.v1.ProviderService"))  # fmt: skip

_READS = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE", "PERMISSION_DENIED"}
_WRITES = {"INVALID_ARGUMENT", "NOT_FOUND", "ABORTED", "FAILED_PRECONDITION", "OUT_OF_RANGE"}
_CODES = {
    f"{SERVICE}SwitchProvider": _WRITES, f"{SERVICE}UpsertProvider": _WRITES, f"{SERVICE}DeleteProvider": _WRITES,
    f"{SERVICE}RollbackProvider": _WRITES,
    # Nothing stated is nothing to do, and takes no more than that.
    f"{SERVICE}ApplyConfiguration": {*_WRITES, "OK", "PERMISSION_DENIED"},
}  # fmt: skip


def spoilt(base: bytes, seed: int) -> Iterator[tuple[str, bytes]]:
    """Random bytes, and a message with a few bytes changed, put in, taken out or missing at the end."""
    rng = random.Random(seed)
    for number in range(_RANDOM):
        yield f"random {seed}.{number}", rng.randbytes(rng.choice((1, 2, 3, 8, 30, 200, 3000)))
    for number in range(_TRUNCATED):
        yield f"truncated {seed}.{number}", base[: rng.randrange(len(base) + 1)] if base else b"\x0a"
    for number in range(_MUTATED):
        data = bytearray(base or b"\x08\x01")
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(data) + 1)
            data[at : at + rng.choice((0, 1, 1, 4))] = rng.randbytes(rng.choice((0, 1, 1, 4)))
        yield f"mutated {seed}.{number}", bytes(data)


def crafted() -> Iterator[tuple[str, bytes]]:
    """What breaks parsers."""
    for field in (1, 2, 3, 10, 2**29 - 1):
        yield f"field {field}: endless varint", tag(field, 0) + b"\xff" * 11
        yield f"field {field}: largest varint", tag(field, 0) + varint(2**64 - 1)
        yield f"field {field}: a group without end", tag(field, 3)
        yield f"field {field}: an end without group", tag(field, 4)
        yield f"field {field}: fixed64", tag(field, 1) + b"\xff" * 8
        yield f"field {field}: fixed32", tag(field, 5) + b"\xff" * 4
        yield f"field {field}: wire type 6", tag(field, 6) + b"\0"
        yield f"field {field}: wire type 7", tag(field, 7) + b"\0"
        yield f"field {field}: longer than it is", tag(field, 2) + varint(2**31 - 1) + b"x"
        yield f"field {field}: a length beyond 64 bits", tag(field, 2) + b"\xff" * 10 + b"\x7f"
        yield f"field {field}: no UTF-8", delimited(field, b"\xff\xfe\xed\xa0\x80")
        yield f"field {field}: overlong UTF-8", delimited(field, b"\xc0\xaf\xc0\x80")
        yield f"field {field}: deep messages", _deep(field, 5000)
        yield f"field {field}: deep groups", tag(field, 3) * 5000 + tag(field, 4) * 5000
        yield f"field {field}: ten thousand times", delimited(field, b"") * 10_000
    yield "field 0", b"\x00\x00"
    yield "field beyond 2^29", varint(2**35 << 3) + b"\0"
    yield "unknown fields", b"".join(delimited(field, b"x") for field in range(1000, 3000))
    for depth in (30, 100, 1000, 10_000):
        yield f"a Struct {depth} deep", delimited(1, delimited(10, nested_struct(depth)))
        yield f"lists {depth} deep", delimited(1, delimited(10, nested_list(depth)))


def _deep(field: int, depth: int) -> bytes:
    encoded = b""
    for _ in range(depth):
        encoded = delimited(field, encoded)
    return encoded


async def test_bytes_that_are_no_message_are_told_so(world: World) -> None:
    cases = [
        Case(
            name,
            rpc,
            frozenset(_CODES.get(rpc, _READS)),
            request,
            # Deleting takes it; nobody else is to.
            () if rpc in HEALTH else bearer(world.tokens["admin" if rpc.endswith("/DeleteProvider") else "writer"]),
            # Health has no reasons, and reflection answers errors within.
            grpc_itself=frozenset({"NOT_FOUND"}) if rpc in [*HEALTH, REFLECTION] else frozenset(),
        )
        for seed, (rpc, base) in enumerate(_BASES.items())
        for name, request in [*spoilt(base, seed), *crafted()]
    ]
    async with world.attacked() as channel:
        await world.judge.try_all(KIND, cases, channel)
