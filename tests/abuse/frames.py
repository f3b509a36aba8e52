"""HTTP/2 frames by hand, and streams of them that break its rules: RFC 9113."""

import random
from collections.abc import Iterator

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS = 1, 4

# What a log would take for a line of its own.
FORGED = b'\n{"event": "forged", "level": "error"}\n'

_CANCEL = b"\0\0\0\x08"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"", length: int | None = None) -> bytes:
    """A frame, that may lie about its length."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


BEGIN = PREFACE + frame(SETTINGS, 0, 0)


def call(rpc: str, *more: tuple[str, str]) -> bytes:
    """A block of the headers of a gRPC call."""
    fields = [(":method", "POST"), (":scheme", "http"), (":path", rpc), (":authority", "localhost"), ("te", "trailers")]
    return bytes(hpack.Encoder().encode([*fields, ("content-type", "application/grpc"), *more], huffman=False))


def broken(rpc: str) -> Iterator[tuple[str, bytes]]:
    """What to send on a new connection."""
    block = call(rpc)
    yield from _no_preface()
    for name, bad in {
        "longer than it may be": frame(DATA, 0, 1, b"x" * 65_536),
        "the largest length": frame(DATA, 0, 1, b"x" * 100, length=2**24 - 1),
        "data of no stream": frame(DATA, 0, 0, b"x"),
        "data before headers": frame(DATA, END_STREAM, 1, b"x"),
        "an even stream": frame(HEADERS, END_HEADERS, 2, block),
        "headers of no stream": frame(HEADERS, END_HEADERS, 0, block),
        "a lower stream": frame(HEADERS, 5, 9, block) + frame(HEADERS, 5, 3, block),
        "headers twice": frame(HEADERS, END_HEADERS, 1, block) * 2,
        "reset of an idle stream": frame(RST_STREAM, 0, 7, _CANCEL),
        "reset of no stream": frame(RST_STREAM, 0, 0, _CANCEL),
        "a short reset": frame(RST_STREAM, 0, 1, b"\0"),
        "no more window": frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0"),
        "too much window": frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 3,
        "a short window": frame(WINDOW_UPDATE, 0, 0, b"\0"),
        "settings of a stream": frame(SETTINGS, 0, 1),
        "settings that do not fit": frame(SETTINGS, 0, 0, b"12345"),
        "acknowledged settings with content": frame(SETTINGS, 1, 0, b"123456"),
        "a window of 2^32 - 1": frame(SETTINGS, 0, 0, b"\0\x04\xff\xff\xff\xff"),
        "frames of 2^32 - 1": frame(SETTINGS, 0, 0, b"\0\x05\xff\xff\xff\xff"),
        "a table of 2^32 - 1": frame(SETTINGS, 0, 0, b"\0\x01\xff\xff\xff\xff"),
        "a short ping": frame(PING, 0, 0, b"1"),
        "a ping of a stream": frame(PING, 0, 1, b"12345678"),
        "a push": frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02" + block),
        "a stream that depends on itself": frame(PRIORITY, 0, 1, b"\0\0\0\x01\x10"),
        "continuation of nothing": frame(CONTINUATION, END_HEADERS, 1, block),
        "data within headers": frame(HEADERS, 0, 1, block[:9]) + frame(DATA, 0, 1, b"x"),
        "continuation of another": frame(HEADERS, 0, 1, block[:9]) + frame(CONTINUATION, 4, 3, block[9:]),
        "padding beyond the end": frame(DATA, 8, 1, b"\xff"),
        "the last word": frame(GOAWAY, 0, 0, b"\0" * 8 + b"x" * 1_000),
        "a line for the log": frame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\x02" + FORGED),
        "no entry of the table": frame(HEADERS, 5, 1, b"\xff\xff\xff\xff\x7f"),
        "entry 0": frame(HEADERS, 5, 1, b"\x80"),
        "an endless number": frame(HEADERS, 5, 1, b"\x7f" + b"\xff" * 64),
        "bad Huffman": frame(HEADERS, 5, 1, b"\x40\x81\xff\x81\xff"),
        "a value that never ends": frame(HEADERS, 5, 1, b"\x40\x01a\x7f\xff\xff\xff\x0f"),
        "a compressed message": frame(HEADERS, 4, 1, block) + frame(DATA, 1, 1, b"\x01\0\0\0\x01x"),
        "a message of 4 GB": frame(HEADERS, 4, 1, block) + frame(DATA, 1, 1, b"\0\xff\xff\xff\xffx"),
        "less than a message": frame(HEADERS, 4, 1, block) + frame(DATA, 1, 1, b"\0\0"),
        "two messages": frame(HEADERS, 4, 1, block) + frame(DATA, 1, 1, b"\0\0\0\0\0" * 2),
    }.items():
        yield name, BEGIN + bad
    yield from _floods(block)
    for seed in range(150):
        yield f"frames at random, seed {seed}", BEGIN + _at_random(seed, block)


def _no_preface() -> Iterator[tuple[str, bytes]]:
    rng = random.Random(46)
    yield "HTTP/1.1", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    yield "an upgrade", b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    yield "another preface", b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0)
    yield "a preface alone", PREFACE
    yield "no settings", PREFACE + frame(PING, 0, 0, b"12345678")
    yield "SSH", b"SSH-2.0-OpenSSH_9.6\r\n"
    yield "zeros", b"\0" * 100_000
    for number in range(60):
        yield f"garbage {number}", rng.randbytes(rng.choice((1, 9, 24, 100, 10_000)))


def _floods(block: bytes) -> Iterator[tuple[str, bytes]]:
    opened = (frame(HEADERS, 4, stream, block) for stream in range(1, 6_001, 2))
    # CVE-2023-44487.
    yield (
        "rapid reset",
        BEGIN + b"".join(head + frame(RST_STREAM, 0, 1 + 2 * number, _CANCEL) for number, head in enumerate(opened)),
    )
    yield "settings", BEGIN + frame(SETTINGS, 0, 0, b"\0\x04\0\0\xff\xff") * 5_000
    yield "pings", BEGIN + frame(PING, 0, 0, b"12345678") * 5_000
    yield "windows", BEGIN + frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01") * 5_000
    yield "priorities", BEGIN + b"".join(frame(PRIORITY, 0, 2 * n + 1, b"\0\0\0\0\x10") for n in range(5_000))
    yield "empty data", BEGIN + frame(HEADERS, 4, 1, block) + frame(DATA, 0, 1) * 5_000
    yield "unknown frames", BEGIN + frame(77, 0, 0, b"x" * 100) * 5_000
    # CVE-2024-27316 and its like.
    yield "empty continuations", BEGIN + frame(HEADERS, 0, 1, block) + frame(CONTINUATION, 0, 1) * 5_000
    large = bytes(hpack.Encoder().encode([("x-filler", "x" * 10_000)], huffman=False))
    yield "large continuations", BEGIN + frame(HEADERS, 0, 1, block) + frame(CONTINUATION, 0, 1, large) * 500
    # One entry of the table, and thousands of references to it.
    entry = bytes(hpack.Encoder().encode([("x-bomb", "x" * 3_900)], huffman=False))
    yield "a compression bomb", BEGIN + frame(HEADERS, 5, 1, block + entry + b"\xbe" * 10_000)


def _at_random(seed: int, block: bytes) -> bytes:
    rng = random.Random(seed)
    contents = (b"", b"\0" * 4, b"\0" * 8, block, block[: rng.randrange(len(block))], rng.randbytes(rng.randrange(300)))
    return b"".join(
        frame(rng.randrange(12), rng.randrange(256), rng.choice((0, 1, 1, 2, 3, 2**31 - 1)), rng.choice(contents))
        for _ in range(rng.randint(1, 12))
    )
