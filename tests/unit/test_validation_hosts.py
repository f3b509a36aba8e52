"""Where a key may be sent: the hosts of base_url, by the daemon's own reading and by that of others."""

import ipaddress
import socket
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from providerd_server.validation.address import address_violations
from providerd_server.validation.hosts import (
    HTTPS,
    NO_ADDRESS,
    NO_FOREIGN_HOST,
    NO_HOST,
    NO_PRIVATE_HOST,
    STRICT,
    HostPolicy,
)
from tests.hostile_urls import hostile_urls, spellings
from tests.unit.contents import CONTENT
from tests.url_standard import destination

HOSTILE = hostile_urls()
DEVELOPMENT = HostPolicy(development=True)
# Written down once more, and not taken from what is tested.
PRIVATE_ENDS = (
    ".localhost", ".local", ".internal", ".lan", ".arpa", ".svc", ".corp", ".home", ".private", ".intranet", ".test",
)  # fmt: skip
METADATA_NAMES = {"metadata.google.internal", "metadata.goog", "metadata.tencentyun.com", "instance-data.ec2.internal"}


def told(url: str, hosts: HostPolicy = STRICT) -> list[str]:
    return [violation.description for violation in address_violations({**CONTENT, "base_url": url}, hosts)]


@pytest.mark.parametrize(
    "url",
    [
        "https://api.groq.com", "https://openrouter.ai", "https://generativelanguage.googleapis.com",
        "https://API.OpenAI.com", "https://api.openai.com.", "https://api.openai.com:8443/v1",
        "https://my-resource.openai.azure.com", "https://bedrock-runtime.eu-central-1.amazonaws.com",
        "https://127.0.0.1.example.com", "https://0x7f.example.com", "https://localhost.example.com", "https://1.example",
        "https://local.internal.example", "https://metadata.example.com", "https://a--b.example.com",
        f"https://{'a' * 63}.example.com", f"https://{'.'.join(['a' * 63] * 3)}.{'a' * 57}.com",
    ],
)  # fmt: skip
def test_public_names_are_allowed(url: str) -> None:
    assert told(url) == []


@pytest.mark.parametrize(
    ("host", "problem"),
    [
        ("127.0.0.1", NO_ADDRESS), ("8.8.8.8", NO_ADDRESS), ("169.254.169.254", NO_ADDRESS), ("[::1]", NO_ADDRESS),
        ("[2001:4860:4860::8888]", NO_ADDRESS), ("[::ffff:127.0.0.1]", NO_ADDRESS), ("[fd00:ec2::254]", NO_ADDRESS),
        ("2130706433", NO_HOST), ("0177.0.0.1", NO_HOST), ("0x7f000001", NO_HOST), ("127.1", NO_HOST),
        ("127.0.0.1.", NO_HOST), ("1.2.3.4.5", NO_HOST), ("256.1.1.1", NO_HOST), ("a.0x", NO_HOST),
        ("a..com", NO_HOST), ("a-.com", NO_HOST), ("a.-b.com", NO_HOST), ("a.com..", NO_HOST),
        ("x" * 64 + ".com", NO_HOST),
        (".".join(["a" * 63] * 3) + "." + "a" * 58 + ".com", NO_HOST),
        ("localhost", NO_PRIVATE_HOST), ("localhost.", NO_PRIVATE_HOST), ("a.LocalHost", NO_PRIVATE_HOST),
        ("postgres", NO_PRIVATE_HOST), ("metadata", NO_PRIVATE_HOST), ("metadata.google.internal.", NO_PRIVATE_HOST),
        ("printer.local", NO_PRIVATE_HOST), ("router.home.arpa", NO_PRIVATE_HOST), ("nas.lan", NO_PRIVATE_HOST),
        ("api.default.svc", NO_PRIVATE_HOST), ("api.default.svc.cluster.local", NO_PRIVATE_HOST),
        ("metadata.tencentyun.com", NO_PRIVATE_HOST),
        ("xn--80ak6aa92e.com", NO_FOREIGN_HOST), ("api.XN--p1ai", NO_FOREIGN_HOST),
        ("llm_gateway.example", NO_FOREIGN_HOST),
    ],
)  # fmt: skip
def test_what_is_not_public_is_refused_with_the_reason_and_the_setting(host: str, problem: str) -> None:
    assert told(f"https://{host}") == [problem]
    assert problem is NO_HOST or "PROVIDERD_ALLOWED_HOSTS" in problem


@pytest.mark.parametrize("host", ["api.openai.com", "127.0.0.1", "localhost", "10.0.0.1", "[::1]"])
def test_http_is_refused(host: str) -> None:
    assert told(f"http://{host}") == [HTTPS]
    assert told(f"http://{host}", HostPolicy(["127.0.0.1", "localhost", "10.0.0.1", "::1"])) == [HTTPS]


@pytest.mark.parametrize(
    "host", ["localhost", "a.localhost.", "127.0.0.1:8000", "127.9.9.9", "[::1]:1", "[::ffff:127.0.0.1]"]
)
def test_in_development_loopback_is_allowed_by_http_too(host: str) -> None:
    assert told(f"http://{host}", DEVELOPMENT) == []
    assert told(f"https://{host}", DEVELOPMENT) == []


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "0.0.0.0", "[::]", "[::127.0.0.1]", "localhost.example.com", "127.1", "2130706433"]
)
def test_development_allows_nothing_but_loopback(host: str) -> None:
    assert told(f"http://{host}", DEVELOPMENT) != []
    assert told("https://10.0.0.1", DEVELOPMENT) == [NO_ADDRESS]


@pytest.mark.parametrize(
    ("entry", "inside", "outside"),
    [
        ("vllm", ["vllm", "VLLM:8000", "vllm."], ["vllm2", "localhost"]),
        ("GPU.internal.", ["gpu.internal"], ["a.gpu.internal", "internal", "xgpu.internal"]),
        ("*.llm.internal", ["a.llm.internal", "b.a.llm.internal."], ["llm.internal", "xllm.internal", "a.internal"]),
        ("llm_gateway", ["llm_gateway"], ["llm-gateway"]),
        ("xn--80ak6aa92e.com", ["xn--80ak6aa92e.com"], ["xn--p1ai.com"]),
        ("10.1.2.3", ["10.1.2.3", "[::ffff:10.1.2.3]"], ["10.1.2.4", "167838211", "10.1.515", "[::10.1.2.3]"]),
        ("10.0.0.0/8", ["10.0.0.1", "10.255.255.255"], ["11.0.0.1", "012.0.0.1", "10.1"]),
        ("fd00:1::/32", ["[fd00:1::5]"], ["[fd00:2::5]", "[fe80::1]"]),
        ("[fd00::1]", ["[fd00::1]", "[fd00:0:0::1]"], ["[fd00::2]"]),
        ("::ffff:10.0.0.0/104", ["10.0.0.1", "[::ffff:10.0.0.1]"], ["11.0.0.1"]),
        ("0.0.0.0/0", ["10.0.0.1", "127.0.0.1"], ["169.254.169.254", "100.100.100.200", "[::1]", "localhost"]),
        ("::/0", ["[fd00::1]"], ["[fd00:ec2::254]", "10.0.0.1"]),
        ("*.internal", ["a.internal"], ["metadata.google.internal", "internal"]),
        ("169.254.169.254", ["169.254.169.254"], ["169.254.169.253"]),
        ("metadata.google.internal", ["metadata.google.internal"], ["a.metadata.google.internal"]),
    ],
)  # fmt: skip
def test_the_operator_allows_what_the_setting_lists_and_nothing_else(
    entry: str, inside: list[str], outside: list[str]
) -> None:
    hosts = HostPolicy([entry])
    assert [told(f"https://{host}", hosts) for host in inside] == [[] for _ in inside]
    assert all(told(f"https://{host}", hosts) for host in outside)
    assert all(told(f"https://{host}") for host in inside)


@pytest.mark.parametrize(
    "entry",
    [
        "", " ", "*", "*.", "*.*.com", "a.*.com", "https://host", "host:80", "host/path", "user@host", "10.0.0.0/33",
        "10.0.0.1/8", "127.1", "0x7f000001", "2130706433", "1.2.3.4.5", "fe80::1%eth0",
        "::/129", "a b", "hööst", "-a", "a..b",
    ],
)  # fmt: skip
def test_a_malformed_entry_of_the_setting_is_an_error_that_names_it(entry: str) -> None:
    with pytest.raises(ValueError) as caught:
        HostPolicy(["ok.internal", entry])
    assert repr(entry) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_with_host_bits_is_refused_with_that_reason() -> None:
    with pytest.raises(ValueError, match="host bits"):
        HostPolicy(["10.0.0.1/8"])


def test_no_hostile_url_is_accepted_and_nothing_of_one_is_repeated() -> None:
    assert len(HOSTILE) > 5_000
    answers = {url: told(url) for url in HOSTILE}
    assert [url for url, problems in answers.items() if not problems] == []
    # So few are the same words for all of them.
    assert len({problem for problems in answers.values() for problem in problems}) < 15


def test_what_development_accepts_of_hostile_urls_is_loopback() -> None:
    accepted = [url for url in HOSTILE if not told(url, DEVELOPMENT)]
    assert accepted
    for url in accepted:
        host = destination(url).host
        assert str(host).removesuffix(".").endswith("localhost") or host in LOOPBACK, url


LOOPBACK = {ipaddress.ip_address(each) for each in ("127.0.0.1", "::1", "::ffff:127.0.0.1")}


def test_the_spellings_are_of_that_address_for_those_who_read_them() -> None:
    read = [each for each in spellings("169.254.169.254") if reads_as(each) == "169.254.169.254"]
    assert len(read) > 10


def reads_as(host: str) -> str | None:
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return None


LABELS = st.sampled_from(
    ["api", "openai", "localhost", "internal", "metadata", "google", "svc", "127", "0", "1", "169", "0x7f", "0177",
     "2130706433", "a-b", "a--b"]
)  # fmt: skip
ODD = st.sampled_from(
    ["", "-", "xn--", "xn--p1ai", "a_b", "[::1]", "%31", "%2e", "\uff11", "\u3002", "\u2488", "\u00ad", "\u200b", "\0"]
)
ENDS = st.sampled_from(["com", "ai", "example", "com.", "goog", "internal", "local", "1", "0x", "lan."])
NAMES = st.builds(lambda labels, end: ".".join([*labels, end]), st.lists(LABELS, max_size=4), ENDS)
HOSTS = NAMES | NAMES | st.builds(lambda name, odd, at: name[:at] + odd + name[at:], NAMES, ODD, st.integers(0, 20))
SCHEMES = st.just("https://") | st.sampled_from(["HTTPS://", "http://", "https:/", "https:\\", "https:///", "https:"])
USERS = st.just("") | st.sampled_from(
    ["", "", "u@", "u:p@", "api.openai.com\\@", "api.openai.com#@", "api.openai.com/"]
)
TAILS = st.just("") | st.sampled_from(
    [":443", ":8443/v1", "/v1", "/@b.com", "//b.com", "/\\b.com", "\\b.com", "?x", "#x", "\t", "\n", ":0443", ":٤"]
)
URLS = st.builds(lambda *parts: "".join(parts), SCHEMES, USERS, HOSTS, TAILS)


@settings(max_examples=500, suppress_health_check=[HealthCheck.filter_too_much])
@given(URLS)
@example("https://api.openai.com.")
@example("HTTPS://127.0.0.1.Example.com:0443/@b.com")
def test_every_reader_of_an_accepted_url_goes_to_the_same_public_name(url: str) -> None:
    assume(not told(url))
    read, standard = urlsplit(url), destination(url)
    assert read.scheme == standard.scheme == "https"
    assert not standard.has_credentials
    assert read.username is None
    assert (read.port or 443) == standard.port
    assert isinstance(standard.host, str)
    assert read.hostname == standard.host
    name = standard.host.removesuffix(".")
    assert reads_as(name) is None
    with pytest.raises(ValueError):
        ipaddress.ip_address(name)
    assert "." in name
    assert not name.endswith(PRIVATE_ENDS)
    assert name not in METADATA_NAMES


@given(st.text())
def test_whatever_a_host_is_nothing_is_raised(text: str) -> None:
    assert STRICT.problem("http", text) in (HTTPS, NO_HOST)
    assert isinstance(told(f"https://{text}"), list)
