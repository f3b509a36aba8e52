"""The rules of a provider's two documents; each case breaks one rule alone."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerd_server import schemas
from providerd_server.errors import Violation
from providerd_server.validation import content_violations
from tests.unit.contents import ABSENT, CONTENT, changed, field

REQUEST = "request_builder_config"
ENTRIES = f"{REQUEST}/payload_structure"
OVERRIDE = f"{REQUEST}/model_overrides/o[0-9]*"
RESPONSE = "response_extractor_config"
RULES = f"{RESPONSE}/extraction_rules"

SOURCE = "must be param:NAME with a parameter, config:COLUMN with a column that is no document and no secret, or const"
JMESPATH = "must be a JMESPath expression with functions of its specification"
DOTTED = "must be a dotted path of at most 16 parts without white space, such as a.b"
NAME = "must be a name without white space or control characters"
ENTRY = "must be the name of an entry of payload_structure"
IN_CLEAR = "must not be stored: it would keep a secret in clear; the key goes where auth_header_template says"
DOWNWARD = "must have no empty or dot segments, nor encoded control characters, '%' or '\\', in its path"
HEADER_TEXT = (
    "must be what a header may hold: a string of at most 4,096 ASCII characters"
    " without line breaks or surrounding white space"
)
PATH_TEXT = "must be a path without '/' at either end, empty or dot segments, or '%'"
NO_WHITE_SPACE_PATH = "must start with '/' and hold no white space"
REASONS = "must be stop, length, tool_calls, content_filter, error or other"
STREAMED = (
    "done", "text_content", "usage_stats", "error", "reasoning", "refusal", "tool_calls", "finish_reason", "model",
)  # fmt: skip
OPERATIONS = (
    "must be without_system, system_text, text_parts, content_parts, merge_turns, input_items, list, flatten,"
    " function_declarations, function_calling_config, json_mime_type or json_schema"
)


def known(*names: str) -> str:
    return f"is not known here; known are {', '.join(names)}"


def entry(target: str, **rest: Any) -> dict[str, Any]:
    return {"source": "param:x", "target": target, **rest}


@pytest.mark.parametrize(
    ("place", "value", "description"),
    [
        (REQUEST, None, "is required"),
        (REQUEST, [], "request_builder_config must be a JSON object"),
        (f"{REQUEST}/version", ABSENT, 'request_builder_config must contain "version" field'),
        (f"{REQUEST}/version", 1.0, "must be a string"),
        (f"{REQUEST}/version", "", "must not be empty"),
        (f"{REQUEST}/version", "1" * 51, "must be at most 50 characters"),
        (f"{REQUEST}/notes", "x", known("version", "payload_structure", "model_overrides", "stream")),
        (f"{ENTRIES}/messages", ABSENT, 'request_builder_config must contain "messages" in "payload_structure"'),
        (f"{ENTRIES}/messages", [], "must be an object"),
        (f"{ENTRIES}/messages/source", ABSENT, "is required"),
        (f"{ENTRIES}/messages/source", "messages", SOURCE),
        (f"{ENTRIES}/messages/source", "param:", SOURCE),
        (f"{ENTRIES}/messages/source", "param:a b", SOURCE),
        (f"{ENTRIES}/messages/source", "param:messages\n", SOURCE),
        (f"{ENTRIES}/messages/source", "config:api_key_encrypted", SOURCE),
        (f"{ENTRIES}/messages/source", "config:request_builder_config", SOURCE),
        (f"{ENTRIES}/messages/required", "yes", "must be true or false"),
        (f"{ENTRIES}/messages/in", "cookie", "must be body, path, query or header"),
        (f"{ENTRIES}/messages/value", 1, "goes with source const only; a fallback is a default"),
        (f"{ENTRIES}/api_version/value", ABSENT, "is required"),
        (f"{ENTRIES}/api_version/default", 1, "has no effect beside a const; leave it out"),
        (f"{ENTRIES}/messages/transform", "list", "must be a list"),
        (f"{ENTRIES}/messages/transform", ["list"] * 21, "must hold at most 20 items"),
        (f"{ENTRIES}/messages/target", "", "must not be empty"),
        (f"{ENTRIES}/messages/target", "t" * 256, "must be at most 255 characters"),
        (f"{ENTRIES}/messages/target", "a..b", DOTTED),
        (f"{ENTRIES}/messages/target", "a b", DOTTED),
        (f"{ENTRIES}/messages/target", ".".join("a" * 17), DOTTED),
        (f"{ENTRIES}/a..b", {"source": "param:x"}, DOTTED),
        (f"{ENTRIES}/a b", entry("ok"), NAME),
        (f"{ENTRIES}/", entry("ok"), "must not be empty"),
        (f"{ENTRIES}/api_version/target", "api version", "must be a name in ASCII without white space"),
        (f"{ENTRIES}/title/target", "X Title", "is not a header name"),
        (f"{ENTRIES}/title/target", "Host", "must not be set: HTTP clients and proxies say it themselves"),
        (f"{ENTRIES}/title/target", "x-api-key", "must not be set: auth_header_template carries the key"),
        (f"{ENTRIES}/title/target", "content-type",
         "is one of additional_headers already; give the entry a default instead"),
        (f"{ENTRIES}/model/target", "deployment", "must be a {placeholder} of endpoint_path_template"),
        (f"{ENTRIES}/temperature/min", "0", "must be a number"),
        (f"{ENTRIES}/temperature/max", True, "must be a number"),
        (f"{ENTRIES}/temperature/max", -1, "must not be below min"),
        (f"{ENTRIES}/temperature/default", 3, "must be within min and max"),
        (f"{ENTRIES}/temperature/default", -0.5, "must be within min and max"),
        (f"{ENTRIES}/temperature/default", "1", "must be a number, for it has bounds"),
        (f"{ENTRIES}/temperature/default", True, "must be a number, for it has bounds"),
        (OVERRIDE, [], "must be an object"),
        (f"{OVERRIDE}/drop", ["window", "window"], "must hold nothing twice"),
        (f"{OVERRIDE}/remove", [], known("drop", "rename")),
        (f"{OVERRIDE}/drop/0", "temprature", ENTRY),
        (f"{OVERRIDE}/rename/windo", "a", ENTRY),
        (f"{OVERRIDE}/rename/window", "a..b", DOTTED),
        (f"{OVERRIDE}/rename/window", "messages", "must not be at, above or below the target of messages"),
        (f"{REQUEST}/model_overrides/o[1", {}, "must be a shell pattern: '[' is never closed"),
        (f"{REQUEST}/model_overrides/[]", {}, "must be a shell pattern: '[' is never closed"),
        (f"{REQUEST}/model_overrides/", {}, "must not be empty"),
        (f"{REQUEST}/stream/body", {}, known("payload", "query", "endpoint_path_template")),
        (f"{REQUEST}/stream/payload", [], "must be an object"),
        (f"{REQUEST}/stream/query/alt", {}, "must be a string, a number or true or false"),
        (f"{REQUEST}/stream/endpoint_path_template", "stream", NO_WHITE_SPACE_PATH),
        (f"{REQUEST}/stream/endpoint_path_template", "//evil.example/{model}", DOWNWARD),
        (f"{REQUEST}/stream/query/key", "x", IN_CLEAR),
        (f"{ENTRIES}/api_version/target", "access_token", IN_CLEAR),
        (f"{ENTRIES}/title/default", "a\r\nX-Other: b", HEADER_TEXT),
        (f"{ENTRIES}/title/target", ":authority", "is not a header name"),
        (f"{ENTRIES}/title/target", "Connection", "must not be set: HTTP clients and proxies say it themselves"),
        (f"{ENTRIES}/title/target", "AUTHORIZATION", "must not be set: auth_header_template carries the key"),
        (f"{ENTRIES}/model/default", "../admin", PATH_TEXT),
        (f"{ENTRIES}/model/default", "/evil.example", PATH_TEXT),
        (f"{ENTRIES}/model/default", "a%2fb", PATH_TEXT),
        (f"{ENTRIES}/model/default", "", PATH_TEXT),
        (RESPONSE, None, "is required"),
        (f"{RESPONSE}/version", ABSENT, 'response_extractor_config must contain "version" field'),
        (RULES, ABSENT, 'response_extractor_config must contain "extraction_rules" object'),
        (RULES, [], 'response_extractor_config must contain "extraction_rules" object'),
        (f"{RULES}/usage_stats", ABSENT, 'response_extractor_config must contain "usage_stats" in "extraction_rules"'),
        (f"{RULES}/text_content/path", "a", known("type", "paths", "sum", "join", "fields", "map")),
        (f"{RULES}/text_content/type", "object", 'must be "string"'),
        (f"{RULES}/usage_stats/type", "string", 'must be "object"'),
        (f"{RULES}/tool_calls/type", "object", 'must be "array"'),
        (f"{RULES}/tool_calls/fields/id/type", "text", "must be string, object or array"),
        (f"{RULES}/text_content/paths", [], "must not be empty"),
        (f"{RULES}/text_content/paths", ["a"] * 21, "must hold at most 20 items"),
        (f"{RULES}/text_content/paths/0", "", JMESPATH),
        (f"{RULES}/text_content/paths/0", "a[", JMESPATH),
        (f"{RULES}/text_content/paths/0", "$.a[?", JMESPATH),
        (f"{RULES}/text_content/paths/0", "$a", JMESPATH),
        (f"{RULES}/text_content/paths/0", "[a, lenght(b)]", JMESPATH),
        (f"{RULES}/text_content/paths/0", "length(a, b)", JMESPATH),
        (f"{RULES}/text_content/paths/0", "not_null()", JMESPATH),
        (f"{RULES}/text_content/paths/0", "a[::0]", JMESPATH),
        (f"{RULES}/text_content/paths/0", "(" * 400, JMESPATH),
        (f"{RULES}/text_content/paths/0", "a" * 501, "must be at most 500 characters"),
        (f"{RULES}/text_content/join", 1, "must be a string"),
        (f"{RULES}/usage_stats/fields", {}, "must not be empty"),
        (f"{RULES}/usage_stats/fields/output_tokens", "a.b", "must be an object"),
        (f"{RULES}/usage_stats/fields/output_tokens/paths", ["a"], "goes without sum; keep one of the two"),
        (f"{RULES}/usage_stats/map", {"a": "b"}, "goes without fields; give the map to one of them"),
        (f"{RULES}/usage_stats/join", ",", "goes without fields; give the join to one of them"),
        (f"{RULES}/finish_reason/map/END", "done", REASONS),
        (f"{RULES}/stream/done", "", "must not be empty"),
        (f"{RULES}/stream/text_content/paths/0", "a..b", JMESPATH),
    ],
)  # fmt: skip
def test_a_document_that_breaks_a_rule_is_the_one_violation(place: str, value: Any, description: str) -> None:
    assert content_violations(changed(place, value)) == [Violation(field(place), description)]


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (f"{ENTRIES}/messages/transform", ["lists"], {"[0]": OPERATIONS}),
        (f"{ENTRIES}/messages/transform", [{"map_roles": {}}], {"[0].map_roles": "must not be empty"}),
        (f"{ENTRIES}/messages/transform", [{"map_roles": {"a": 1}}], {"[0].map_roles.a": "must be a string"}),
        (f"{ENTRIES}/messages/transform", [{}], {"[0].map_roles": "is required"}),
        (
            f"{ENTRIES}/messages/transform", [{"map_roles": {"a": "b"}, "list": 1}],
            {"[0].list": known("map_roles")},
        ),
        (f"{ENTRIES}/x", {"source": "const", "value": 3, "max": 2}, {".value": "must be within min and max"}),
        (
            f"{ENTRIES}/x", {"source": "param:x", "required": False, "in": "path", "target": "model"},
            {
                ".required": "must be true, or have a default: a path cannot go without its value",
                ".target": "must not be at, above or below the target of model",
            },
        ),
        (
            f"{ENTRIES}/x", {"source": "param:x", "required": True, "in": "path"},
            {"": "must be a {placeholder} of endpoint_path_template"},
        ),
        (f"{ENTRIES}/options", {"source": "param:x"}, {"": "must not be at, above or below the target of temperature"}),
        (f"{ENTRIES}/x", entry("messages"), {".target": "must not be at, above or below the target of messages"}),
        (f"{ENTRIES}/x", entry("messages.y"), {".target": "must not be at, above or below the target of messages"}),
        (
            f"{ENTRIES}/x", entry("x-title", **{"in": "header"}),
            {".target": "must not be at, above or below the target of title"},
        ),
        (f"{RULES}/text_content", {}, {"": "must say what to read: paths, sum or fields"}),
        (
            f"{RULES}/text_content", {"fields": {"a": {"paths": ["a"]}}},
            {".fields": "goes with an object or an array, not with a string"},
        ),
        (
            f"{RULES}/usage_stats/fields/a", {"type": "string", "fields": {"a": {"paths": ["a"]}}},
            {".fields": "goes with an object or an array, not with a string"},
        ),
        (
            f"{RULES}/model", {"sum": ["a"], "join": ""},
            {".join": "goes without sum, which yields a number"},
        ),
        (
            f"{RULES}/error", {"sum": ["a"], "fields": {"a": {"paths": ["a"]}}},
            {".fields": "goes without sum, which yields a number"},
        ),
        (f"{RULES}/model", {"paths": ["a"], "map": {"a": 1}}, {".map.a": "must be a string"}),
        (f"{RULES}/stream", {"end": "x", "done": ""}, {".end": known(*STREAMED), ".done": "must not be empty"}),
        (
            f"{RULES}/usage_stats/fields", {"a": {"fields": {"b": {"paths": ["x["]}}}},
            {".a.fields.b.paths[0]": JMESPATH},
        ),
    ],
)  # fmt: skip
def test_violations_within_a_new_value(place: str, value: Any, told: dict[str, str]) -> None:
    found = {violation.field: violation.description for violation in content_violations(changed(place, value))}
    assert found == {field(place) + below: description for below, description in told.items()}


def test_a_rename_to_where_an_entry_stays_is_told_at_the_rename() -> None:
    content = changed(f"{OVERRIDE}/rename", {"messages": "window"})
    assert content_violations(content) == [
        Violation(field(f"{OVERRIDE}/rename/messages"), "must not be at, above or below the target of window")
    ]


def test_what_is_dropped_leaves_its_target_to_others() -> None:
    assert content_violations(changed(f"{OVERRIDE}/rename", {"window": "options.temperature"})) == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (f"{ENTRIES}/x", {"source": "config:default_model"}),
        (f"{ENTRIES}/x", entry("options.y")),
        (f"{ENTRIES}/x", entry("messages", **{"in": "query"})),
        (f"{ENTRIES}/x", {"source": "const", "value": None}),
        (f"{ENTRIES}/messages/transform", ["list", {"map_roles": {"assistant": "model"}}]),
        (f"{ENTRIES}/temperature/default", 0.5),
        (f"{ENTRIES}/model/default", "organisation/model:large"),
        (f"{ENTRIES}/title/default", "A title"),
        (f"{ENTRIES}/title/target", "Idempotency-Key"),
        (f"{REQUEST}/model_overrides/[]a]*", {}),
        (f"{REQUEST}/model_overrides/gpt-?[!45]", {}),
        (f"{REQUEST}/version", "2"),
        (f"{RULES}/text_content/paths/0", "sort_by(a, &b)[-1].merge(@, c)"),
        (f"{RULES}/usage_stats", {"paths": ["usage"]}),
    ],
)
def test_what_is_allowed(place: str, value: Any) -> None:
    assert content_violations(changed(place, value)) == []


def test_headers_that_come_with_each_call_are_as_many_as_constant_ones() -> None:
    headers = {f"x{number}": entry(f"X-{number}", **{"in": "header"}) for number in range(50)}
    content = changed(ENTRIES, {**CONTENT[REQUEST]["payload_structure"], **headers})
    assert content_violations(content) == [Violation(field(ENTRIES), "must hold at most 50 entries with in: header")]


def test_a_header_with_a_constant_is_not_renamed_to_one_for_secrets() -> None:
    content = changed(f"{ENTRIES}/title/default", "x")
    content[REQUEST]["model_overrides"]["o[0-9]*"]["rename"] = {"title": "X-Token"}
    assert content_violations(content) == [Violation(field(f"{OVERRIDE}/rename/title"), IN_CLEAR)]


def test_every_keyword_without_general_words_is_explained_in_the_schema() -> None:
    unexplained = []
    nodes: list[Any] = [schemas.schema(column) for column in schemas.SECTIONS]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            if {"format", "not", "anyOf"} & node.keys() or isinstance(node.get("pattern"), str):
                unexplained += [] if isinstance(node.get("x-violation"), str) else [node]
            nodes += node.values()
        elif isinstance(node, list):
            nodes += node
    assert unexplained == []


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
WORDS = st.sampled_from(
    ["source", "value", "in", "path", "header", "query", "target", "default", "min", "max", "transform", "paths", "sum",
     "fields", "map", "join", "type", "drop", "rename", "const", "param:x", "messages", "model", "x.y", "stream"]
)  # fmt: skip
JSON = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)
COLUMNS = (REQUEST, RESPONSE, "additional_headers", "supported_models", "model_capabilities")


def places(document: Any, above: str) -> list[str]:
    below = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [above, *(place for key, value in below for place in places(value, f"{above}/{key}"))]


PLACES = [place for column in COLUMNS for place in places(CONTENT[column], column)]


@given(st.sampled_from(PLACES), JSON)
def test_whatever_json_is_somewhere_nothing_is_raised_and_every_violation_can_be_read(place: str, value: Any) -> None:
    for violation in content_violations(changed(place, value)):
        assert violation.field.startswith("provider")
        assert violation.description
        assert (violation.field + violation.description).isprintable()


@given(st.sampled_from(COLUMNS), JSON)
def test_whatever_json_is_a_whole_document_nothing_is_raised(column: str, document: Any) -> None:
    assert isinstance(content_violations({**CONTENT, column: document}), list)


@given(st.text(alphabet="ab.[]()'\"`&|!?*:@$,<>=-0123456789{}\\ ", max_size=60))
def test_whatever_text_is_a_path_nothing_is_raised(expression: str) -> None:
    told = content_violations(changed(f"{RULES}/text_content/paths/0", expression))
    assert {violation.description for violation in told} <= {JMESPATH}


@given(st.sampled_from(PLACES))
def test_no_value_is_repeated(place: str) -> None:
    secret = "sk-live-5ec7e7"
    for value in (secret, [secret], f"{secret} ", f"$.{secret}[", {"source": secret, "target": f"{secret}.."}):
        assert secret not in repr(content_violations(changed(place, value)))


@pytest.mark.parametrize("value", [["a\r\nX: y"], {"a": "b"}])
def test_a_constant_outside_the_body_is_no_document(value: object) -> None:
    place = "request_builder_config/payload_structure/api_version/value"
    (found,) = content_violations(changed(place, value))
    assert found == Violation(field(place), "must be a text, a number or a boolean outside the body")
