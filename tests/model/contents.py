"""What the tests write: small palettes, so that values meet again, in groups whose fields must fit one another."""

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import strategies as st

from tests.integration.test_service_writes import MISTRAL, REQUEST_BUILDER, RESPONSE_EXTRACTOR
from tests.model.model import COLUMNS, DEFAULTS

# Every key holds this, so that one search finds any of them.
CANARY = "canary"

SEEDED = ("chatgpt", "google_ai", "groq", "openrouter")
NAMES = (*SEEDED, "cohere", "mistral")

# A whole provider, to be changed by edits.
WHOLE: dict[str, Any] = {name: value for name, value in MISTRAL.items() if name != "provider_name"}

_OTHER_BUILDER = {
    **REQUEST_BUILDER,
    "payload_structure": {
        **REQUEST_BUILDER["payload_structure"],
        "temperature": {"source": "param:temperature", "required": False, "min": 0, "max": 1.5},
    },
    "model_overrides": {"mistral-*": {"drop": ["temperature"]}},
}
_OTHER_EXTRACTOR: dict[str, Any] = {
    "version": "1.1",
    "extraction_rules": {
        "text_content": {"type": "string", "paths": ["output.text", "text"]},
        "usage_stats": {"type": "object", "fields": {"total_tokens": {"paths": ["usage.total"]}}},
    },
}

# Each inner tuple holds the values that one group of fields may be given together.
_GROUPS: tuple[tuple[dict[str, Any], ...], ...] = (
    ({"display_name": "One"}, {"display_name": "Zwei Ü"}),
    ({"description": "cheap"}, {"description": "line\nbreak"}),
    ({"auth_scheme": "header"}, {"auth_scheme": "bearer"}),
    ({"auth_header_template": "x-api-key: {api_key}"}, {"auth_header_template": "Authorization: Bearer {api_key}"}),
    ({"base_url": "https://a.example.com"}, {"base_url": "https://b.example.com:8443"}),
    (
        {"endpoint_path_template": "/v1/chat", "request_builder_config": REQUEST_BUILDER},
        {"endpoint_path_template": "/v2/{model}/chat", "request_builder_config": _OTHER_BUILDER},
    ),
    ({"response_extractor_config": RESPONSE_EXTRACTOR}, {"response_extractor_config": _OTHER_EXTRACTOR}),
    ({"http_method": "PUT"}, {"http_method": "POST"}),
    ({"additional_headers": {"Content-Type": "application/json", "x.dotted": "1"}}, {"additional_headers": {"X": "2"}}),
    (
        {"default_model": "large", "supported_models": ["large", "small"]},
        {"default_model": "small", "supported_models": ["small"]},
    ),
    (
        {"model_capabilities": {"tools": True, "gpt-4.1": {"max": 1.5}}},
        {"model_capabilities": {"tools": 1, "gpt-4.1": {"max": 2}}},
        {"model_capabilities": {"tools": None, 'a"b': []}},
    ),
    (
        {"context_window_tokens": 1000, "max_output_tokens_limit": 10},
        {"context_window_tokens": 2000, "max_output_tokens_limit": 20},
    ),
    # Twice as often enabled as not, for what is disabled can do little.
    ({"is_enabled": True}, {"is_enabled": True}, {"is_enabled": False}),
)

# By SQL all of these are refused as well.
_WRONG_EVERYWHERE = (
    {"display_name": " "},
    {"http_method": "BREW"},
    {"context_window_tokens": 0},
    {"max_output_tokens_limit": -5},
)

names = st.sampled_from(NAMES)
keys = st.sampled_from([f"{CANARY}-one", f"{CANARY}-two"])
# Of the newest revision or version: none is sent, the right one, or another.
expectations = st.sampled_from(["none", "none", "right", "wrong"])


def whole(edits: dict[str, Any]) -> dict[str, Any]:
    """Every content column of a new provider."""
    return {column: {**WHOLE, **edits}.get(column, DEFAULTS.get(column)) for column in COLUMNS}


def _joined(groups: list[dict[str, Any]]) -> dict[str, Any]:
    return {column: value for group in groups for column, value in group.items()}


_values = [st.sampled_from(group) for group in _GROUPS]

edits = st.lists(st.one_of(_values), min_size=1, max_size=4).map(_joined)
wrong_edits = st.sampled_from(_WRONG_EVERYWHERE)
wrong_requests = st.sampled_from((*_WRONG_EVERYWHERE, {"base_url": "nowhere"}))
# Whole groups, so that what is cleared leaves nothing behind that does not fit.
masks = st.one_of(
    st.just("*"),
    st.lists(st.sampled_from([tuple(group[0]) for group in _GROUPS]), min_size=1, max_size=4, unique=True).map(
        lambda groups: FieldMask(paths=[column for group in groups for column in group]).ToJsonString()
    ),
)
