"""Thousands of base URLs that lead, for one reader or another, to where no key may go."""

from collections.abc import Iterator
from itertools import product

# What is private, or tells machines their credentials.
_PRIVATE_V4 = ("127.0.0.1", "169.254.169.254", "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.100.100.200", "0.0.0.0")
_PUBLIC_V4 = ("8.8.8.8", "93.184.216.34", "255.255.255.255", "224.0.0.1")
_V6 = (
    "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "ff02::1", "2001:4860:4860::8888",
    "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::", "0:0:0:0:0:ffff:a9fe:a9fe", "fe80::1%25eth0", "fe80::1%eth0", "v1.fe80", "::1]", "1", "",
)  # fmt: skip
_NAMES = (
    "localhost", "LOCALHOST", "LocalHost", "a.localhost", "localhost.localdomain", "host", "vault", "metadata",
    "instance-data", "kubernetes", "postgres", "metadata.google.internal", "Metadata.Google.Internal", "metadata.goog",
    "instance-data.ec2.internal", "metadata.tencentyun.com", "host.docker.internal", "gateway.docker.internal",
    "ip-10-0-0-1.ec2.internal", "printer.local", "nas.lan", "router.home", "router.home.arpa", "wiki.corp",
    "db.intranet", "db.private", "1.0.0.127.in-addr.arpa", "kubernetes.default.svc", "vault.secrets.svc.cluster.local",
    "api.test", "api.invalid",
)  # fmt: skip
# Names that are none, or that readers normalise in different ways; dots, digits and letters that only look so.
_MISSHAPEN = (
    "", ".", "..", "-", "_", "*", "*.example.com", "a..example.com", ".example.com", "example.com..", "-a.example.com",
    "a-.example.com", "a_b.example.com", "_dmarc.example.com", "xn--localhost-", "xn--a.example.com", "xn--.com",
    "xn--80ak6aa92e.com", "api.xn--p1ai", "l\u00f6calhost.com", "\u217eocalhost", "\uff4cocalhost", "\u24dbocalhost",
    "127\u30020\u30020\u30021", "127\uff0e0\uff0e0\uff0e1", "\uff11\uff12\uff17.0.0.1", "\u2460\u2461\u2466.0.0.1",
    "api.openai.com\u200b", "api\u00ad.openai.com", "\u0430pi.openai.com", "%6cocalhost", "%31%32%37.0.0.1",
    "127%2e0.0.1",
    "api.openai.com%00.evil.com", "api.openai.com%2f.evil.com", "a" * 64 + ".com", ".".join(["a" * 63] * 4) + ".com",
    "api.openai.com,evil.com", "api.openai.com;evil.com", "api.openai.com&evil.com", "$(id).example.com",
    "{api_key}.com",
    "[api.openai.com]", "api.openai.com]", "[::1", "a b.com", "a\tb.com", "a\nb.com", "a\rb.com", "a\0b.com",
    "a\x7fb.com",
)  # fmt: skip
_SCHEMES = (
    "", "//", "http://", "HTTP://", "ftp://", "file://", "gopher://", "ws://", "wss://", "data:", "javascript:",
    "https:", "https:/", "https:///", "https:\\\\", "https:/\\", "https://\\", "htt\tps://", " https://", "\0https://",
    "https ://", "https\n://", "//https://", "https:https://", "blob:https://", "view-source:https://", "jar:https://",
)  # fmt: skip
_PORTS = ("", ":443", ":8080")
_BAD_PORTS = (
    ":0",
    ":65536",
    ":99999999",
    ":-1",
    ":+1",
    ":http",
    ":",
    ":443:80",
    ": 443",
    ":4\u0664",
    ":0x1bb",
    ":443 ",
)
_PATHS = ("", "/v1", "/openai/v1")
_BAD_TAILS = (
    "?", "?key=1", "#", "#@evil.com", "/#", "/..", "/../x", "/./x", "/%2e%2e/x", "/%2E./x", "/.%2e/x", "//evil.com",
    "/x//y", "/\\evil.com", "\\evil.com", "/%5c..", "/%2f..", "/..;/x", "/%00", "/%0d%0aHost:evil.com", "/%", "/%zz",
    "/%252e%252e/x", "/x y", "/x\ty", "/x\r\nHost: evil.com", "/x/", "/", "/\u2025/x", "/\uff0f..", "/<x>",
    '/"', "/{model}",
)  # fmt: skip
_USERS = (
    "user@",
    "user:pw@",
    ":@",
    "@",
    "api.openai.com@",
    "api.openai.com:443@",
    "api.openai.com%40",
    "a@b@",
    "\\@",
    "%00@",
)


def hostile_urls() -> list[str]:
    """URLs that are refused wherever nothing is allowed beyond public names; each once, always in the same order."""
    return list(dict.fromkeys([*_to_hosts(), *_of_other_shapes()]))


def spellings(address: str) -> list[str]:
    """The ways in which inet_aton(3) and browsers let an IPv4 address be written."""
    first, second, third, fourth = parts = [int(part) for part in address.split(".")]
    low = third << 8 | fourth
    whole = first << 24 | second << 16 | low
    written = [
        address, f"{whole}", f"{whole:#x}", f"{whole:#X}", f"0{whole:o}", f"{first}.{second << 16 | low}",
        f"{first}.{second}.{low}", f"{first:#x}.{second << 16 | low:#x}", f"0{first:o}.{second}.{low:#x}",
        *(".".join(shape.format(part) for part in parts) for shape in ("0{:o}", "{:#x}", "{:#X}", "{:03}", "{:#010x}")),
        *(".".join([*(f"{part}" for part in parts[:3]), shape.format(fourth)]) for shape in ("0{:o}", "{:#x}")),
        f"{address}.1", f"1.{address}", f"{first}.{second}.{third}", f"{first}..{third}.{fourth}", f"256.{second}.1.1",
    ]  # fmt: skip
    return list(dict.fromkeys([*written, *(f"{each}." for each in written), *(f"{each}.." for each in written)]))


def _to_hosts() -> Iterator[str]:
    numeric = [each for address in (*_PRIVATE_V4, *_PUBLIC_V4) for each in spellings(address)]
    dotted = [f"{name}." for name in _NAMES]
    bracketed = [f"[{address}]" for address in _V6]
    hosts = [*numeric, *_NAMES, *dotted, *bracketed, *_MISSHAPEN]
    for host, port, path in product(hosts, _PORTS, _PATHS):
        yield f"https://{host}{port}{path}"
    for host, port in product(hosts, _PORTS):
        yield f"http://{host}{port}"
    for host, user in product([*_PRIVATE_V4, *_NAMES, *bracketed], _USERS):
        yield f"https://{user}{host}"


def _of_other_shapes() -> Iterator[str]:
    hosts = ("api.openai.com", "169.254.169.254", "localhost", "[::1]")
    for scheme, host, path in product(_SCHEMES, hosts, _PATHS):
        yield f"{scheme}{host}{path}"
    for host, port, path in product(hosts, _BAD_PORTS, _PATHS):
        yield f"https://{host}{port}{path}"
    for host, port, tail in product(hosts, _PORTS, _BAD_TAILS):
        yield f"https://{host}{port}{tail}"
    for user, host, path in product(_USERS, hosts, _PATHS):
        yield f"https://{user}{host}{path}"
