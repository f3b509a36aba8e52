"""Fault 42: headers that split a request, speak for the connection, or carry a key past the place for it."""

from collections.abc import Iterator
from itertools import product
from typing import Any

from google.protobuf.json_format import ParseDict

from providerd.v1 import provider_pb2 as pb
from tests.abuse.case import bearer, case
from tests.abuse.world import World, provider

KIND = "42 headers"

_BREAKS = (
    "\r",
    "\n",
    "\r\n",
    "\0",
    "\r\nX: y",
    "\n\n{}",
    "\u2028",
    "\x0b",
    "\x85",
    "\x7f",
    "\x1b[0m",
    "\r\n\r\nGET / HTTP/1.1\r\n",
)
# RFC 9110, sections 7.2, 7.6.1 and 8.6, and what proxies add.
_RESERVED = (
    "Host", "host", "HOST", "Content-Length", "content-length", "Transfer-Encoding", "TE", "te", "Trailer", "Upgrade",
    "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Proxy-Authenticate",
    "HTTP2-Settings", "Via",
    "Expect", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "x-forwarded-proto", "X-Real-IP",
    "X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method", "X-HTTP-Method-Override", "X-Method-Override", "X-Host",
    "X-HTTP-Host-Override",
)  # fmt: skip
_KEYS = (
    "Authorization",
    "authorization",
    "AUTHORIZATION",
    "X-Api-Key",
    "x-api-key",
    "Api-Key",
    "Cookie2",
    "X-Auth-Token",
)
_NAMES = (
    "", " ", "a b", "a:", ":a", ":authority", ":path", ":method", ":scheme", ":status", "a\tb", "(a)", "a/b",
    "a@b", "a,b",
    'a"b', "[a]", "{a}", "a=b", "a;b", "a\\b", "<a>", "a?b", "\u00e9", "\uff41", "\u0430uthorization", "Authorization ",
    " Authorization", "Authorization:", "Content-Length ", "Transfer-Encoding\t", "X" * 257, "X" * 10_000,
)  # fmt: skip
_VALUES = (
    " a", "a ", "\ta", "\u00e9", "\u2603", "\U0001f600", "a\u00a0", "x" * 4_097, "x" * 60_000, "Bearer sk-abc",
    "bearer sk-abc",
    "Basic dXNlcjpwYXNz", " Bearer x", "BEARER x",
)  # fmt: skip
_TEMPLATES = (
    "Authorization", "Authorization Bearer {api_key}", "{api_key}", ": {api_key}", "{api_key}: x", "X-Api-Key: none",
    "Authorization: Bearer {api_key}{api_key}", "Authorization: Bearer {api_key} {other}", "Authorization: {api_key.x}",
    "Authorization: Bearer sk-in-clear", "Host: {api_key}", "Content-Length: {api_key}", "Connection: {api_key}",
    "Transfer-Encoding: {api_key}", "A B: {api_key}", ":authority: {api_key}", "X\0: {api_key}", "\u00e9: {api_key}",
    "X: \u00e9{api_key}", "X: " + "a" * 1_000 + "{api_key}", "A: {api_key}\nB: {api_key}",
)  # fmt: skip


def headers() -> Iterator[tuple[str, dict[str, Any]]]:
    """Sets of headers that no provider may have."""
    for name in (*_RESERVED, *_KEYS, *_NAMES):
        yield f"header {name[:30]!r}", {name: "a"}
    for name, mark in product(("X-A", "Accept"), _BREAKS):
        yield f"header {name + mark!r}", {name + mark: "a"}
        yield f"header {mark + name!r}", {mark + name: "a"}
        for value in (f"a{mark}b", f"{mark}a", f"a{mark}", mark):
            yield f"value {value!r}", {name: value}
    for value in _VALUES:
        yield f"value {value[:30]!r}", {"X-A": value}
    for value in (1, True, None, ["a"], {"a": "b"}, 1.5):
        yield f"value {value!r}", {"X-A": value}
    for count in (51, 100, 1_000):
        yield f"{count} of them", {f"X-{number}": "a" for number in range(count)}
    yield "one in two cases", {"X-A": "a", "x-a": "b"}
    yield "nothing but names", dict.fromkeys(_NAMES, "a")


def contents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Contents of providers with such headers in every place for headers."""
    for name, hostile in headers():
        yield name, {"additional_headers": hostile}
        ((header, value), *more) = hostile.items()
        if not more and isinstance(value, str):
            yield f"{name} of an entry", {"request_builder_config": with_entry(header, value)}
    for template in _TEMPLATES:
        yield f"template {template[:40]!r}", {"auth_header_template": template}
    for mark in _BREAKS:
        for template in (
            f"X{mark}: {{api_key}}",
            f"X: {mark}{{api_key}}",
            f"X: {{api_key}}{mark}",
            f"{mark}X: {{api_key}}",
        ):
            yield f"template {template!r}", {"auth_header_template": template}


def with_entry(header: str, value: Any) -> dict[str, Any]:
    """A request that sends a header from its payload structure."""
    config = provider("x")["request_builder_config"]
    entry = {"source": "const", "value": value, "in": "header", "target": header}
    return {**config, "payload_structure": {**config["payload_structure"], "extra": entry}}


async def test_no_header_says_more_than_itself(world: World) -> None:
    cases = []
    for number, (name, content) in enumerate(contents()):
        hostile = ParseDict(provider("unborn", **content), pb.Provider())
        existing = ParseDict({"provider_name": "keyed", **content}, pb.Provider())
        requests = [("UpsertProvider", pb.UpsertProviderRequest(provider=hostile))]
        # One of the other ways for each, in turn.
        if number % 2:
            requests.append(("UpsertProvider", pb.UpsertProviderRequest(provider=existing)))
        else:
            requests.append(("ApplyConfiguration", pb.ApplyConfigurationRequest(providers=[hostile])))
        for method, request in requests:
            cases.append(case(name, method, "INVALID_ARGUMENT", request, metadata=bearer(world.tokens["writer"])))
    async with world.attacked() as channel:
        await world.judge.try_all(KIND, cases, channel)
