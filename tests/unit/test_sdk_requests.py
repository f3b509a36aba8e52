"""What the SDK refuses to send, and that it names the field."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import pytest

from providerd import HistoryAction, InvalidArgumentError, Revision
from providerd.requests import apply_request, history_request, switch_request, upsert_request
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


def apply(providers: Sequence[Any], **fields: Any) -> pb.ApplyConfigurationRequest:
    defaults: dict[str, Any] = {
        "active": None,
        "delete_missing": False,
        "expected_revision": None,
        "validate_only": False,
        "reason": "",
        "actor": "",
    }
    return apply_request(providers, **{**defaults, **fields})


def history(**fields: Any) -> pb.ListHistoryRequest:
    defaults: dict[str, Any] = {
        "provider_name": "",
        "action": None,
        "actor": "",
        "start_time": None,
        "end_time": None,
        "first_revision": 0,
        "last_revision": 0,
    }
    return history_request(**{**defaults, **fields})


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
        (2**53, "beyond 2"),
        (-(2**53), "beyond 2"),
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
    sent = upsert({"provider_name": "groq", "request_builder_config": {"n": 2**53 - 1}}).provider
    assert sent.request_builder_config["n"] == 2**53 - 1


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
    assert [at.field for at in refused.value.violations] == list(provider)


@pytest.mark.parametrize("value", [KEY, [KEY, 1], {KEY: KEY}, KEY.encode(), object])
@pytest.mark.parametrize("name", [*pb.Provider.DESCRIPTOR.fields_by_name, "api_key"])
def test_a_key_in_the_wrong_place_is_not_repeated(name: str, value: object) -> None:
    kind = pb.Provider.DESCRIPTOR.fields_by_name.get(name)
    fits = kind is not None and (
        (kind.type == kind.TYPE_STRING and not kind.is_repeated and isinstance(value, str))
        or (kind.message_type is not None and kind.message_type.name == "Struct" and isinstance(value, dict))
    )
    if fits:
        upsert({name: value})
        return
    with pytest.raises(InvalidArgumentError) as refused:
        upsert({name: value})
    assert [at.field.partition("[")[0] for at in refused.value.violations] == [name]
    assert KEY not in str(refused.value)
    assert refused.value.__cause__ is None


def test_every_field_at_fault_is_named_at_once() -> None:
    wrong = {"displayName": 3, "is_enabled": "yes", "nonsense": 1, "model_capabilities": {"n": 2**60}}
    with pytest.raises(InvalidArgumentError) as refused:
        upsert(wrong)
    assert [at.field for at in refused.value.violations] == [
        "display_name",
        "is_enabled",
        "nonsense",
        "model_capabilities.n",
    ]


def test_a_configuration_names_the_fields_of_all_providers() -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        apply([{"provider_name": "a"}, {"display_name": 1}, {"is_enabled": 2}, "not a mapping"])
    assert [at.field for at in refused.value.violations] == [
        "providers[1].display_name",
        "providers[2].is_enabled",
        "providers[3]",
    ]


def test_a_configuration_is_sent_whole() -> None:
    request = apply([{"providerName": "a"}, {"provider_name": "b"}], active="b", delete_missing=True)
    assert [each.provider_name for each in request.providers] == ["a", "b"]
    assert (request.active_provider_name, request.delete_missing) == ("b", True)
    assert not request.HasField("expected_revision")
    expected = apply([], expected_revision=Revision("store", 4)).expected_revision
    assert expected == pb.Revision(store_id="store", number=4)


def test_conditions_on_the_history_are_sent() -> None:
    since = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    request = history(provider_name="groq", action=HistoryAction.KEY_CHANGED, start_time=since, first_revision=3)
    assert (request.provider_name, request.action) == ("groq", pb.HISTORY_ACTION_KEY_CHANGED)
    assert (request.start_time.ToJsonString(), request.first_revision) == ("2026-03-01T10:00:00Z", 3)
    assert not request.HasField("end_time")
    assert history().action == pb.HISTORY_ACTION_UNSPECIFIED


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="time zone") as refused:
        history(end_time=datetime(2026, 3, 1))
    assert refused.value.violations[0].field == "end_time"


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
    common: dict[str, Any] = {"reason": "r", "actor": "a", "validate_only": True}
    request = switch_request("groq", expected_revision=Revision("store", 4), **common)
    assert request.expected_revision == pb.Revision(store_id="store", number=4)
    assert request.validate_only
    assert not switch_request("groq", expected_revision=None, **common).HasField("expected_revision")
