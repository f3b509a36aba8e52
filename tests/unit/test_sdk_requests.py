"""What the SDK refuses to send, and that it names the field."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from providerd import InvalidArgumentError, Revision
from providerd.requests import switch_request, upsert_request
from providerd.v1 import provider_pb2 as pb

KEY = "canary-77aa"


def upsert(provider: Mapping[str, Any], **fields: Any) -> pb.UpsertProviderRequest:
    defaults: dict[str, Any] = {
        "update_mask": None,
        "api_key": None,
        "clear_api_key": False,
        "expected_config_version": None,
        "validate_only": False,
        "reason": "",
        "actor": "",
    }
    return upsert_request(provider, **{**defaults, **fields})


def test_both_spellings_of_a_field_mean_the_same() -> None:
    snake = upsert({"provider_name": "groq", "request_builder_config": {"a_b": 1}, "is_enabled": False})
    camel = upsert({"providerName": "groq", "requestBuilderConfig": {"a_b": 1}, "isEnabled": False})
    assert snake == camel
    assert snake.provider.HasField("is_enabled")


def test_immutable_json_is_taken_as_it_is() -> None:
    frozen = MappingProxyType({"list": (1, MappingProxyType({"x": None}))})
    request = upsert({"provider_name": "groq", "request_builder_config": frozen, "supported_models": ("a",)})
    assert request.provider.request_builder_config["list"][1]["x"] is None
    assert list(request.provider.supported_models) == ["a"]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (2**53 + 1, "beyond 2"),
        (-(2**53) - 1, "beyond 2"),
        (10**400, "beyond 2"),
        (float("nan"), "no number nan"),
        (float("inf"), "no number inf"),
        (b"bytes", "bytes is not a JSON value"),
        ({1: "x"}, "a key is not a string"),
    ],
)
def test_what_json_would_change_is_refused_by_name(value: object, why: str) -> None:
    with pytest.raises(InvalidArgumentError, match=why) as refused:
        upsert({"provider_name": "groq", "modelCapabilities": {"limits": [0, {"x": value}]}})
    assert refused.value.violations[0].field.startswith("model_capabilities.limits[1].x")


def test_the_largest_exact_integers_are_sent() -> None:
    config = upsert({"provider_name": "groq", "request_builder_config": {"n": 2**53}}).provider.request_builder_config
    assert config["n"] == 2**53


def test_endless_json_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["again"] = loop
    with pytest.raises(InvalidArgumentError, match="nested deeper than 100"):
        upsert({"provider_name": "groq", "request_builder_config": loop})


@pytest.mark.parametrize(
    "provider",
    [{"no_such_field": 1}, {"context_window_tokens": 2**31}, {"supported_models": "a"}, {"request_builder_config": 3}],
)
def test_a_wrong_provider_is_refused(provider: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        upsert({"provider_name": "groq", **provider})
    assert next(iter(provider)) in str(refused.value)


def test_the_mask_is_spelled_as_the_api_wants_it() -> None:
    request = upsert({"provider_name": "groq"}, update_mask=["displayName", "base_url", "*"])
    assert list(request.update_mask.paths) == ["display_name", "base_url", "*"]
    assert upsert({"provider_name": "groq"}, update_mask=[]).HasField("update_mask")
    assert not upsert({"provider_name": "groq"}).HasField("update_mask")


def test_the_key_is_set_kept_or_cleared() -> None:
    assert upsert({}, api_key=KEY).new_api_key == KEY
    assert upsert({}, clear_api_key=True).clear_api_key
    assert upsert({}).WhichOneof("key_change") is None
    with pytest.raises(InvalidArgumentError, match="not both") as refused:
        upsert({}, api_key=KEY, clear_api_key=True)
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [("api_key", KEY + "\udc80"), ("expected_config_version", 2**40), ("reason", 5), ("actor", "\udc80")],
)
def test_a_value_that_does_not_fit_is_named_and_not_shown(field: str, value: object) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        upsert({}, **{field: value})
    assert refused.value.violations[0].field in (field, f"new_{field}")
    assert KEY not in str(refused.value)
    assert refused.value.__cause__ is None


def test_an_expected_version_of_zero_is_sent() -> None:
    assert upsert({}, expected_config_version=0).HasField("expected_config_version")


def test_a_switch_carries_the_revision_it_expects() -> None:
    request = switch_request("groq", reason="r", actor="a", expected_revision=Revision("store", 4))
    assert request.expected_revision == pb.Revision(store_id="store", number=4)
    assert not switch_request("groq", reason="", actor="", expected_revision=None).HasField("expected_revision")
