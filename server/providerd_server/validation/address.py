"""Where a request goes: URL, path and method."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from typing import Any
from urllib.parse import unquote, urlsplit

from providerd_server.errors import Violation
from providerd_server.validation.entries import fillable
from providerd_server.validation.hosts import HostPolicy

HTTP_METHODS = ("GET", "POST", "PUT", "PATCH")

# RFC 3986, section 3.2: a name or an IPv4 address, or an IPv6 address in brackets; then a port.
_AUTHORITY = re.compile(r"(?P<host>[A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
# RFC 3986, section 3.3: what a path may hold.
_FOREIGN = re.compile(r"[^/A-Za-z0-9._~!$&'()*+,;=:@%-]")
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
# What some reader on the way takes for the end of a segment or of a line, or decodes once more.
_TWO_FACED = re.compile(r"[\0-\x1f\x7f\\%]")
_DOWNWARD = "must have no empty or dot segments, nor encoded control characters, '%' or '\\', in its path"


def address_violations(content: Mapping[str, Any], hosts: HostPolicy) -> Iterator[Violation]:
    """What is wrong with the URL, the path and the method of a provider."""
    if url := content["base_url"]:
        for problem in _url_problems(url, hosts):
            yield Violation("provider.base_url", problem)
    if template := content["endpoint_path_template"]:
        for problem in template_problems(template, fillable(content["request_builder_config"])):
            yield Violation("provider.endpoint_path_template", problem)
    if content["http_method"] not in (None, *HTTP_METHODS):
        yield Violation("provider.http_method", f"must be one of {', '.join(HTTP_METHODS)}")


def placeholders(template: str) -> set[str]:
    """The names in braces."""
    return set(_PLACEHOLDER.findall(template))


def template_problems(template: str, known: Set[str]) -> Iterator[str]:
    """What is wrong with a path whose placeholders may be ``known``."""
    literal = _PLACEHOLDER.sub("", template)
    if not template.startswith("/") or re.search(r"\s", template):
        yield "must start with '/' and hold no white space"
    if re.search(r"[?#]", template):
        yield "must hold no query or fragment; an entry with in: query makes a query"
    if not placeholders(template) <= known or re.search(r"[{}]", literal):
        yield "must hold no placeholder but {model} and those that entries with in: path fill"
    if _FOREIGN.search(re.sub(r"[\s?#{}]", "", literal)):
        yield "must hold what the path of a URL may; percent-encode the rest"
    elif not leads_down(_PLACEHOLDER.sub("x", template)):
        yield _DOWNWARD


def leads_down(path: str) -> bool:
    """Whether each segment of a path leads down, for every reader: none is empty but the last, none is of dots.

    Encoded dots count, https://url.spec.whatwg.org/#double-dot-path-segment, and so do those before parameters of a
    segment, RFC 3986, section 3.3, which some servers drop.
    """
    decoded = unquote(path)
    *above, last = [segment.partition(";")[0] for segment in decoded.removeprefix("/").split("/")]
    return "" not in above and {".", ".."}.isdisjoint([*above, last]) and not _TWO_FACED.search(decoded)


def _url_problems(url: str, hosts: HostPolicy) -> Iterator[str]:
    # urlsplit drops some white space by itself.
    if re.search(r"[\s\0-\x1f]", url):
        yield "must hold no white space"
        return
    try:
        parts = urlsplit(url)
    except ValueError:
        yield "is not a URL"
        return
    if parts.scheme not in ("http", "https") or not parts.hostname:
        yield "must be http:// or https:// and a host"
    elif problem := _authority_problem(parts.scheme, parts.netloc.rpartition("@")[2], hosts):
        yield problem
    if "@" in parts.netloc or "?" in url or "#" in url:
        yield "must hold no user, query or fragment"
    if parts.path.endswith("/") or _FOREIGN.search(parts.path):
        yield "must hold what the path of a URL may, if it has one, and not end with '/'"
    elif not leads_down(parts.path):
        yield _DOWNWARD


def _authority_problem(scheme: str, authority: str, hosts: HostPolicy) -> str | None:
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return "must have a host in ASCII, and a port as a number if it has one"
    if match["port"] is not None and not 1 <= int(match["port"]) <= 65535:
        return "must have a port from 1 to 65535"
    return hosts.problem(scheme, match["host"])
