"""The header that carries the key, and those that every request carries."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from providerd_server.errors import Violation
from providerd_server.validation.credentials import IN_CLEAR, looks_secret
from providerd_server.validation.paths import path

MOST = 50
_LONGEST_NAME, _LONGEST_VALUE = 256, 4096
VALUE_RULE = f"a string of at most {_LONGEST_VALUE:,} ASCII characters without line breaks or surrounding white space"

# These patterns are those of provider_header_fits in migrations/004 as well, which holds SQL to them.

# Field names are tokens: RFC 9110, section 5.6.2. Values are visible ASCII with blanks between: section 5.5.
NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VALUE = re.compile(r"(?:[!-~](?:[ \t!-~]*[!-~])?)?")

# What the HTTP client says itself, what is of one connection only, and what proxies say of who asks: RFC 9110, sections
# 7.2, 7.6.1, 7.6.3, 8.6, 10.1.1 and 11.7, and RFC 7239. Then what has proxies and frameworks see another host, path or
# method than those of the request.
RESERVED = re.compile(
    r"host|content-length|connection|keep-alive|te|trailer|transfer-encoding|upgrade"
    r"|http2-settings|expect|via|forwarded|x-real-ip|(?:x-forwarded|proxy)(?:-.*)?|x-host|x-original-url"
    r"|x-rewrite-url|x-http-host-override|x-http-method|x-http-method-override|x-method-override",
    re.ASCII | re.IGNORECASE,
)

# What has a meaning of its own: servers write it to their logs, pass it on or answer others by it, for it is no secret.
EXPOSED = re.compile(
    r"(?:http-)?referer|origin|user-agent|from|(?:set-)?cookie2?|accept(?:-.*)?|content-.*"
    r"|sec-.*|access-control-.*|if-.*|range|date|cache-control|pragma|traceparent|tracestate|baggage",
    re.ASCII | re.IGNORECASE,
)
_KEY = "{api_key}"


def header_violations(content: Mapping[str, Any]) -> Iterator[Violation]:
    """What is wrong with the headers of a provider."""
    template = content["auth_header_template"] or ""
    yield from (Violation("provider.auth_header_template", problem) for problem in _template_problems(template))
    headers = content["additional_headers"]
    if not isinstance(headers, dict | None):
        yield Violation("provider.additional_headers", "additional_headers must be a JSON object of strings")
    elif headers:
        yield from _constants("provider.additional_headers", headers, content)


def name_problem(name: str, content: Mapping[str, Any]) -> str | None:
    """What is wrong with the name of a header beside the one that carries the key."""
    if len(name) > _LONGEST_NAME or not NAME.fullmatch(name):
        return "is not a header name"
    if RESERVED.fullmatch(name):
        return "must not be set: HTTP clients and proxies say it themselves"
    if name.lower() in ("authorization", _auth_header(content)):
        return "must not be set: auth_header_template carries the key"
    return None


def is_value(value: object) -> bool:
    """Whether a header may have this value."""
    return isinstance(value, str) and len(value) <= _LONGEST_VALUE and VALUE.fullmatch(value) is not None


def _constants(field: str, headers: Mapping[str, Any], content: Mapping[str, Any]) -> Iterator[Violation]:
    if len(headers) > MOST:
        yield Violation(field, f"must hold at most {MOST} headers")
    seen = set()
    for name, value in headers.items():
        if problem := name_problem(name, content):
            yield Violation(path(field, name), problem)
        elif name.lower() in seen:
            yield Violation(path(field, name), "is there twice: case does not matter in the names of headers")
        elif looks_secret(name, value):
            yield Violation(path(field, name), IN_CLEAR)
        seen.add(name.lower())
        if not is_value(value):
            yield Violation(path(field, name), f"must be {VALUE_RULE}")


def _auth_header(content: Mapping[str, Any]) -> str:
    name: str = (content["auth_header_template"] or "").partition(":")[0]
    return name.lower()


def _template_problems(template: str) -> Iterator[str]:
    if not template:
        return
    name, colon, value = template.partition(":")
    if not colon or not NAME.fullmatch(name):
        # Where the value begins is not clear then.
        yield "must be a header name, ':' and a value, such as Authorization: Bearer {api_key}"
        return
    if RESERVED.fullmatch(name):
        yield "must not name a header that HTTP clients and proxies set themselves"
    if EXPOSED.fullmatch(name):
        yield "must not name a header such as Referer or Cookie, which servers log and pass on"
    if value.count(_KEY) != 1 or re.search(r"[{}]", template.replace(_KEY, "")):
        yield "must hold {api_key} once, in the key's place, and no other braces"
    if not VALUE.fullmatch(value.removeprefix(" ")):
        yield "must have a value of ASCII characters without line breaks or surrounding white space"
