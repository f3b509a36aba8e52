"""Fault 39: JSON documents that are too deep, too large, or hold what JSON or PostgreSQL cannot."""

import math
import random
import struct as packing
from collections.abc import Iterator

from providerd.v1 import provider_pb2 as pb
from tests.abuse.case import SERVICE, Case, bearer
from tests.abuse.encoding import delimited, nested_list, nested_struct, struct, tag, text_value
from tests.abuse.world import World

KIND = "39 JSON documents"

_FIELDS = {
    name: pb.Provider.DESCRIPTOR.fields_by_name[name].number
    for name in ("additional_headers", "request_builder_config", "response_extractor_config", "model_capabilities")
}
_NUMBERS = (
    math.nan, math.inf, -math.inf, 2.0**53, -(2.0**53), 2.0**63, -(2.0**63), 2.0**64, 1e100, -1e308,
    1.7976931348623157e308, 9007199254740994.0,
)  # fmt: skip
INVALID, TOO_LARGE = frozenset({"INVALID_ARGUMENT"}), frozenset({"RESOURCE_EXHAUSTED"})


def documents() -> Iterator[tuple[str, bytes, frozenset[str]]]:
    """Structs that no field of a provider takes, encoded, and what they are answered."""
    for depth in (33, 34, 40, 49, 50, 51, 64, 98, 99, 100, 101, 128, 200, 500, 1000, 2000, 5000, 10_000):
        yield f"{depth} objects deep", nested_struct(depth), INVALID
        yield f"{depth} lists deep", nested_list(depth), INVALID
        yield f"{depth} objects deep, NUL inmost", nested_struct(depth, struct([(b"b", text_value(b"\0"))])), INVALID
    for number in _NUMBERS:
        value = tag(2, 1) + packing.pack("<d", number)
        yield f"the number {number}", struct([(b"a", value)]), INVALID
        yield f"the number {number} in a list", struct([(b"a", delimited(6, delimited(1, value)))]), INVALID
    for text in (
        b"\0",
        b"a\0b",
        b"\0" * 1000,
        b"\xff",
        b"\xed\xa0\x80",
        b"\xed\xb0\x80",
        b"\xf4\x90\x80\x80",
        b"\xc0\x80",
    ):
        yield f"the text {text[:8]!r}", struct([(b"a", text_value(text))]), INVALID
        yield f"the name {text[:8]!r}", struct([(text, text_value(b"a"))]), INVALID
        yield (
            f"the text {text[:8]!r} in a list",
            struct([(b"a", delimited(6, delimited(1, text_value(text))))]),
            INVALID,
        )
    for size in (65_537, 100_000, 500_000, 1_000_000):
        yield f"a text of {size}", struct([(b"a", text_value(b"x" * size))]), INVALID
        yield f"a name of {size}", struct([(b"x" * size, text_value(b"a"))]), INVALID
    for count in (7_000, 20_000, 60_000):
        yield f"{count:,} names", struct([(b"%d" % number, text_value(b"")) for number in range(count)]), INVALID
        yield (
            f"{3 * count:,} texts",
            struct([(b"a", delimited(6, delimited(1, text_value(b"x")) * 3 * count))]),
            INVALID,
        )
    for size in (1 << 20, 2 << 20, 4 << 20):
        yield f"a text of {size}", struct([(b"a", text_value(b"x" * size))]), TOO_LARGE
    yield "100,000 names", struct([(b"name-%d" % number, text_value(b"x")) for number in range(100_000)]), TOO_LARGE
    yield "no struct", b"\xff\xff\xff", INVALID


def arbitrary(seed: int) -> bytes:
    """A document of random shape, with something in it that is not allowed anywhere."""
    rng = random.Random(seed)
    encoded = struct([(b"bad", rng.choice((text_value(b"\0"), tag(2, 1) + packing.pack("<d", rng.choice(_NUMBERS)))))])
    for _ in range(rng.randint(1, 25)):
        others = [(rng.randbytes(3).hex().encode(), text_value(b"x")) for _ in range(rng.randint(0, 3))]
        members = [*others, (rng.randbytes(2).hex().encode(), delimited(5, encoded))]
        rng.shuffle(members)
        encoded = struct(members)
    return encoded


def upserting(field: int, document: bytes) -> dict[str, bytes]:
    """Requests that would store a document in a field of an existing provider, by the names of their methods."""
    provider = pb.Provider(provider_name="spare").SerializeToString() + delimited(field, document)
    methods = ["UpsertProvider"] if field != _FIELDS["model_capabilities"] else ["UpsertProvider", "ApplyConfiguration"]
    return dict.fromkeys(methods, delimited(1, provider))


async def test_documents_that_cannot_be_are_refused(world: World) -> None:
    generated = [(f"generated with seed {seed}", arbitrary(seed), INVALID) for seed in range(100)]
    cases = [
        Case(
            f"{name} as {column}",
            f"{SERVICE}{method}",
            codes,
            request,
            bearer(world.tokens["writer"]),
            # Before the daemon sees it.
            grpc_itself=TOO_LARGE,
        )
        for name, document, codes in [*documents(), *generated]
        for column, field in _FIELDS.items()
        for method, request in upserting(field, document).items()
    ]
    async with world.attacked() as channel:
        await world.judge.try_all(KIND, cases, channel)
