"""The rules of a provider's columns; each case breaks one rule alone. The documents have a file of their own."""

import json
from typing import Any

import asyncpg
import pytest

from providerd_server.errors import Violation
from providerd_server.validation import content_violations, reported, text_violations
from providerd_server.validation.hosts import HTTPS
from providerd_server.validation.report import MOST
from tests.unit.contents import CONTENT, changed, field

MODEL_RULE = "must be 1 to 255 printable characters without surrounding white space"
HEADER_VALUE = "must be a string of at most 4,096 ASCII characters without line breaks or surrounding white space"
AUTH_SHAPE = "must be a header name, ':' and a value, such as Authorization: Bearer {api_key}"
AUTH_KEY = "must hold {api_key} once, in the key's place, and no other braces"
AUTH_VALUE = "must have a value of ASCII characters without line breaks or surrounding white space"
URL_SHAPE = "must be http:// or https:// and a host"
URL_HOST = "must have a host in ASCII, and a port as a number if it has one"
URL_PATH = "must hold what the path of a URL may, if it has one, and not end with '/'"
URL_PARTS = "must hold no user, query or fragment"
DOWNWARD = "must have no empty or dot segments, nor encoded control characters, '%' or '\\', in its path"
RESERVED = "must not be set: HTTP clients and proxies say it themselves"
AUTH_RESERVED = "must not name a header that HTTP clients and proxies set themselves"
AUTH_EXPOSED = "must not name a header such as Referer or Cookie, which servers log and pass on"
IN_CLEAR = "must not be stored: it would keep a secret in clear; the key goes where auth_header_template says"
CLEAN = "must hold no control characters, nor invisible ones or such as change the direction of text"
PATH_ONLY = "must hold no query or fragment; an entry with in: query makes a query"
PLACEHOLDERS = "must hold no placeholder but {model} and those that entries with in: path fill"


def deep(levels: int) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for _ in range(levels - 1):
        document = {"a": document}
    return document


def test_the_example_is_valid() -> None:
    assert content_violations(CONTENT) == []


@pytest.mark.parametrize(
    ("place", "value", "description"),
    [
        ("display_name", " ", "is required"),
        ("display_name", "n" * 256, "must be at most 255 characters"),
        ("description", "d" * 10_001, "must be at most 10,000 characters"),
        ("description", "a\0b", CLEAN),
        ("description", "a\rb", CLEAN),
        ("description", "a\u2028b", CLEAN),
        ("display_name", "a\nb", CLEAN),
        ("display_name", "a\x1b[2Jb", CLEAN),
        ("display_name", "a\x85b", CLEAN),
        ("display_name", "groq\u202e", CLEAN),
        ("display_name", "gr\u200boq", CLEAN),
        ("display_name", "groq\U000e0041", CLEAN),
        ("auth_scheme", "bearer\u2066", CLEAN),
        ("auth_scheme", "s" * 51, "must be at most 50 characters"),
        ("base_url", "", "is required"),
        ("base_url", "ftp://host", URL_SHAPE),
        ("base_url", "https://", URL_SHAPE),
        ("base_url", "https://[::1", "is not a URL"),
        ("base_url", "https://ho st", "must hold no white space"),
        ("base_url", "https://host\n", "must hold no white space"),
        ("base_url", "https://host:0", "must have a port from 1 to 65535"),
        ("base_url", "https://host:65536", "must have a port from 1 to 65535"),
        ("base_url", "https://host:http", URL_HOST),
        ("base_url", "https://hööst", URL_HOST),
        ("base_url", "https://user:secret@host.example", URL_PARTS),
        ("base_url", "https://host.example?key=secret", URL_PARTS),
        ("base_url", "https://host.example#", URL_PARTS),
        ("base_url", "https://host.example/v1/", URL_PATH),
        ("base_url", 'https://host.example/"', URL_PATH),
        ("base_url", "https://host.example//other.example", DOWNWARD),
        ("base_url", "https://host.example/v1/..", DOWNWARD),
        ("base_url", "http://host.example", HTTPS),
        ("endpoint_path_template", "v1/{model}", "must start with '/' and hold no white space"),
        ("endpoint_path_template", "/v 1/{model}", "must start with '/' and hold no white space"),
        ("endpoint_path_template", "/{model}?key=1", PATH_ONLY),
        ("endpoint_path_template", "/{model}#key", PATH_ONLY),
        ("endpoint_path_template", "/{model}/{api_key}", PLACEHOLDERS),
        ("endpoint_path_template", "/{model}/{", PLACEHOLDERS),
        ("endpoint_path_template", "/{model}/ä", "must hold what the path of a URL may; percent-encode the rest"),
        ("endpoint_path_template", "//other.example/{model}", DOWNWARD),
        ("endpoint_path_template", "/%2Fother.example/{model}", DOWNWARD),
        ("endpoint_path_template", "/{model}//x", DOWNWARD),
        ("endpoint_path_template", "/v1/../{model}", DOWNWARD),
        ("endpoint_path_template", "/{model}/.", DOWNWARD),
        ("endpoint_path_template", "/%2e%2E/{model}", DOWNWARD),
        ("endpoint_path_template", "/..;x/{model}", DOWNWARD),
        ("endpoint_path_template", "/{model}/x%2f..", DOWNWARD),
        ("endpoint_path_template", "/{model}%5C..", DOWNWARD),
        ("endpoint_path_template", "/{model}%252e", DOWNWARD),
        ("endpoint_path_template", "/{model}%0d%0aHost:x", DOWNWARD),
        ("endpoint_path_template", "/{model}%", DOWNWARD),
        ("endpoint_path_template", "/{model}\\x", "must hold what the path of a URL may; percent-encode the rest"),
        ("http_method", "DELETE", "must be one of GET, POST, PUT, PATCH"),
        ("auth_header_template", "X-Key {api_key}", AUTH_SHAPE),
        ("auth_header_template", "X Key: {api_key}", AUTH_SHAPE),
        ("auth_header_template", "X-Key: sk-secret", AUTH_KEY),
        ("auth_header_template", "X-Key: {api_key}{api_key}", AUTH_KEY),
        ("auth_header_template", "X-Key: {api_key} {user}", AUTH_KEY),
        ("auth_header_template", "X-Key: {api_key}\r\nX: y", AUTH_VALUE),
        ("auth_header_template", "Host: {api_key}", AUTH_RESERVED),
        ("auth_header_template", "transfer-ENCODING: {api_key}", AUTH_RESERVED),
        ("auth_header_template", "Proxy-Authorization: {api_key}", AUTH_RESERVED),
        ("auth_header_template", "X-Original-URL: {api_key}", AUTH_RESERVED),
        ("auth_header_template", "Referer: {api_key}", AUTH_EXPOSED),
        ("auth_header_template", "cookie: session={api_key}", AUTH_EXPOSED),
        ("auth_header_template", "ORIGIN: {api_key}", AUTH_EXPOSED),
        ("auth_header_template", "User-Agent: {api_key}", AUTH_EXPOSED),
        ("auth_header_template", "Accept-Language: {api_key}", AUTH_EXPOSED),
        ("auth_header_template", ":authority: {api_key}", AUTH_SHAPE),
        ("auth_header_template", "X-Key:\t{api_key}", AUTH_VALUE),
        ("additional_headers", [], "additional_headers must be a JSON object of strings"),
        ("additional_headers", {f"X-{n}": "v" for n in range(51)}, "must hold at most 50 headers"),
        ("additional_headers/X Y", "v", "is not a header name"),
        ("additional_headers/content-type", "v", "is there twice: case does not matter in the names of headers"),
        ("additional_headers/Transfer-Encoding", "v", RESERVED),
        ("additional_headers/HOST", "v", RESERVED),
        ("additional_headers/content-Length", "0", RESERVED),
        ("additional_headers/Keep-Alive", "v", RESERVED),
        ("additional_headers/Proxy-Anything", "v", RESERVED),
        ("additional_headers/X-Forwarded-For", "v", RESERVED),
        ("additional_headers/Forwarded", "v", RESERVED),
        ("additional_headers/X-Host", "v", RESERVED),
        ("additional_headers/X-HTTP-Host-Override", "v", RESERVED),
        ("additional_headers/X-Original-URL", "v", RESERVED),
        ("additional_headers/x-rewrite-url", "v", RESERVED),
        ("additional_headers/X-HTTP-Method", "v", RESERVED),
        ("additional_headers/X-HTTP-Method-Override", "v", RESERVED),
        ("additional_headers/X-Method-Override", "v", RESERVED),
        ("additional_headers/:path", "v", "is not a header name"),
        ("additional_headers/Cookie", "v", IN_CLEAR),
        ("additional_headers/api-key", "v", IN_CLEAR),
        ("additional_headers/X-Goog-Api-Key", "v", IN_CLEAR),
        ("additional_headers/X-Amz-Security-Token", "v", IN_CLEAR),
        ("additional_headers/X-Client-SECRET", "v", IN_CLEAR),
        ("additional_headers/Helicone-Auth", "v", IN_CLEAR),
        ("additional_headers/X-Gateway", "bearer v", IN_CLEAR),
        ("additional_headers/authorization", "v", "must not be set: auth_header_template carries the key"),
        ("additional_headers/x-api-key", "v", "must not be set: auth_header_template carries the key"),
        ("additional_headers/X", 1, HEADER_VALUE),
        ("additional_headers/X", "a\r\nb", HEADER_VALUE),
        ("additional_headers/X", " a", HEADER_VALUE),
        ("additional_headers/X", "ä", HEADER_VALUE),
        ("additional_headers/X", "v" * 4097, HEADER_VALUE),
        ("default_model", "huge", "must be one of supported_models"),
        ("supported_models", {}, "supported_models must be a JSON array of strings"),
        ("supported_models", ["large", *map(str, range(500))], "must hold at most 500 models"),
        ("supported_models/1", "", MODEL_RULE),
        ("supported_models/1", "m" * 256, MODEL_RULE),
        ("supported_models/1", " m", MODEL_RULE),
        ("supported_models/1", 7, MODEL_RULE),
        ("supported_models/1", "large", "is in the list already"),
        ("model_capabilities", [], "model_capabilities must be a JSON object"),
        ("model_capabilities", deep(33), "must be nested at most 32 levels deep"),
        ("model_capabilities", deep(5000), "must be nested at most 32 levels deep"),
        ("model_capabilities", {"x": "v" * 65_536}, "must be at most 64 KiB as compact JSON"),
        ("model_capabilities/texts", "a\0", "must hold no NUL character"),
        ("context_window_tokens", 0, "must be positive"),
        ("max_output_tokens_limit", -1, "must be positive"),
        ("max_output_tokens_limit", 128_001, "must not be more than context_window_tokens"),
    ],
)
def test_a_column_that_breaks_a_rule_is_the_one_violation(place: str, value: Any, description: str) -> None:
    assert content_violations(changed(place, value)) == [Violation(field(place), description)]


def test_keys_are_shown_printable_and_short() -> None:
    assert content_violations(changed("model_capabilities/x\0", 1)) == [
        Violation(r"provider.model_capabilities.x\u0000", "must have a name without a NUL character")
    ]
    assert content_violations(changed("additional_headers/" + "X" * 257, "v")) == [
        Violation(f"provider.additional_headers.{'X' * 99}…", "is not a header name")
    ]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("auth_header_template", None),
        ("auth_header_template", "x-goog-api-key:{api_key}"),
        ("auth_scheme", "What An Older Row Says"),
        ("endpoint_path_template", "/v1.1/{model}:call;v=1/projects%2Fone/..."),
        ("endpoint_path_template", "/v1/{model}/"),
        ("description", "one\n\ttwo"),
        ("display_name", "Zoë 北京 \u0645\u06cc\u200c\u062e\u0648 👩\u200d💻 ☁\ufe0f"),
        ("base_url", "https://gateway.example:443/openai/v1"),
        ("http_method", None),
        ("additional_headers", None),
        ("additional_headers/X", ""),
        ("additional_headers/anthropic-version", "2023-06-01"),
        ("additional_headers/HTTP-Referer", "https://app.example"),
        ("additional_headers/OpenAI-Organization", "org-1"),
        ("supported_models", []),
        ("supported_models", None),
        ("model_capabilities", None),
        ("model_capabilities", deep(32)),
        ("context_window_tokens", None),
    ],
)
def test_what_is_allowed(place: str, value: Any) -> None:
    assert content_violations(changed(place, value)) == []


def test_without_a_template_the_key_goes_into_authorization() -> None:
    content = {**CONTENT, "auth_header_template": None, "additional_headers": {"Authorization": "Bearer sk-secret"}}
    assert [violation.field for violation in content_violations(content)] == [
        "provider.additional_headers.Authorization"
    ]


def test_a_model_that_is_not_listed_is_told_apart_from_one_that_is_none() -> None:
    content = {**CONTENT, "supported_models": None, "default_model": " m"}
    assert content_violations(content) == [Violation("provider.default_model", MODEL_RULE)]


@pytest.mark.parametrize("text", ["two\nlines", "\x1b]0;title\x07", "a\0", "\u202egnorw", "in\u200bvisible", "\u2029"])
def test_the_reason_and_the_actor_are_one_honest_line(text: str) -> None:
    assert text_violations(text, text) == [Violation("reason", CLEAN), Violation("actor", CLEAN)]
    assert text_violations("für später — 후에", "dana@example.com") == []


def test_more_violations_than_can_be_told_end_with_how_many_more() -> None:
    short = [Violation("f", str(number)) for number in range(MOST + 5)]
    assert reported(short) == [*short[:MOST], Violation("provider", "has 5 more violations; mend these first")]
    assert reported(short[:MOST]) == short[:MOST]
    long = [Violation("f" * 200, str(number)) for number in range(20)]
    assert 0 < len(reported(long)) < 20
    assert reported([short[0], short[0]]) == [short[0]]


async def test_the_seeded_providers_are_valid(database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=str, decoder=json.loads)
    rows = await connection.fetch("SELECT * FROM llm_provider_configs")
    await connection.close()
    assert {row["provider_name"]: content_violations(dict(row)) for row in rows} == {
        "groq": [], "openrouter": [], "google_ai": [], "chatgpt": [],
    }  # fmt: skip
