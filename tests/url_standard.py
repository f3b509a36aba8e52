"""A second reader of URLs, written from https://url.spec.whatwg.org/ alone: what browsers and their like make of one.

More lenient than providerd: it drops, decodes and guesses as the standard says, so as to find what a stricter reader
let pass.
"""

import ipaddress
import re
import unicodedata
from typing import NamedTuple
from urllib.parse import unquote

Host = str | ipaddress.IPv4Address | ipaddress.IPv6Address

_FORBIDDEN = re.compile(r"[\0-\x20\x7f#%/:<>?@\[\\\]^|]")


class Destination(NamedTuple):
    """Where a request to a URL goes."""

    scheme: str
    host: Host
    port: int
    has_credentials: bool


def destination(url: str) -> Destination:
    """Where ``url`` leads; ValueError where the standard fails."""
    text = re.sub(r"[\t\n\r]", "", url.strip("".join(map(chr, range(0x21)))))
    match = re.match(r"(?i)(https?):", text)
    if match is None:
        raise ValueError("not a scheme of HTTP")
    scheme = match[1].lower()
    # The states "special authority slashes" and "special authority ignore slashes".
    rest = re.split(r"[/\\?#]", text[match.end() :].lstrip("/\\"), maxsplit=1)[0]
    credentials, at, place = rest.rpartition("@")
    found = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::([0-9]*))?", place)
    if found is None or not found[1] or int(found[2] or 0) > 65535:
        raise ValueError("not a host and a port")
    port = int(found[2]) if found[2] else {"http": 80, "https": 443}[scheme]
    return Destination(scheme, _host(found[1]), port, bool(at or credentials))


def _host(text: str) -> Host:
    if text.startswith("["):
        return ipaddress.IPv6Address(text[1:-1])
    # Near enough to "domain to ASCII" (UTS 46): what is ignored goes, and look-alikes become what they look like.
    visible = "".join(char for char in unquote(text) if unicodedata.category(char) != "Cf")
    name = unicodedata.normalize("NFKC", visible).lower().replace("\u3002", ".")
    if not name or _FORBIDDEN.search(name):
        raise ValueError("not a domain")
    labels = name.removesuffix(".").split(".")
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        return _ipv4(labels)
    return name


def _ipv4(parts: list[str]) -> ipaddress.IPv4Address:
    if len(parts) > 4:
        raise ValueError("too many parts")
    *above, last = map(_number, parts)
    if any(number > 255 for number in above) or last >= 256 ** (5 - len(parts)):
        raise ValueError("a part is too large")
    return ipaddress.IPv4Address(last + sum(number * 256 ** (3 - index) for index, number in enumerate(above)))


def _number(part: str) -> int:
    if part.startswith("0x"):
        return int(part[2:] or "0", 16)
    return int(part, 8 if len(part) > 1 and part.startswith("0") else 10)
