"""The values of the SDK: what they hold, that nobody can change them, and that they keep keys to themselves."""

import copy
import dataclasses
import json
import pickle
from types import MappingProxyType

import pytest
from google.protobuf import json_format

from providerd import ActiveProvider, Credential, Provider, Revision
from providerd.requests import upsert_request
from providerd.v1 import provider_pb2 as pb
from tests.unit.sdk_messages import provider

KEY = "canary-1f7d"


def rich() -> Provider:
    message = provider(context_window_tokens=131072, config_version=3, http_method="")
    message.request_builder_config.update({"version": 2, "deep": {"list": [1, 2.5, {"x": None}], "on": True}})
    message.additional_headers.update({"X-Title": "fleet"})
    message.supported_models.extend(["a", "b"])
    message.create_time.FromJsonString("2026-03-01T10:20:30.5Z")
    return Provider.from_proto(message)


def test_fields_are_those_of_the_message() -> None:
    assert [each.name for each in dataclasses.fields(Provider)] == [each.name for each in pb.Provider.DESCRIPTOR.fields]


def test_nothing_in_it_can_be_changed() -> None:
    value = rich()
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.base_url = "https://elsewhere.example"  # type: ignore[misc]
    deep = value.request_builder_config["deep"]
    for mapping in (value.request_builder_config, deep, deep["list"][2], value.additional_headers):
        assert isinstance(mapping, MappingProxyType)
        with pytest.raises(TypeError):
            mapping["x"] = 1  # type: ignore[index]
    assert isinstance(deep["list"], tuple)
    assert isinstance(value.supported_models, tuple)


def test_it_has_no_dict_that_could_take_more() -> None:
    assert not hasattr(rich(), "__dict__")


def test_whole_numbers_are_ints() -> None:
    numbers = rich().request_builder_config["deep"]["list"]
    assert [type(number) for number in numbers[:2]] == [int, float]
    huge = provider()
    huge.request_builder_config.update({"n": 1e300})
    assert isinstance(Provider.from_proto(huge).request_builder_config["n"], float)


def test_unset_fields_get_the_meaning_the_api_gives_them() -> None:
    message = provider()
    message.ClearField("is_enabled")
    value = Provider.from_proto(message)
    assert (value.http_method, value.is_enabled, value.context_window_tokens) == ("POST", True, None)
    assert not Provider.from_proto(provider(is_enabled=False)).is_enabled


def test_equal_content_is_equal_and_hashes_alike() -> None:
    assert rich() == rich()
    assert hash(rich()) == hash(rich())


def test_its_dict_is_json_and_goes_back_through_upsert() -> None:
    plain = rich().to_dict()
    assert plain["create_time"] == "2026-03-01T10:20:30.500000Z"
    message = upsert_request(
        plain,
        update_mask=None,
        api_key=None,
        clear_api_key=False,
        expected_config_version=None,
        validate_only=False,
        reason="",
        actor="",
    ).provider
    assert Provider.from_proto(message) == rich()
    assert json_format.MessageToDict(message, preserving_proto_field_name=True)["supported_models"] == ["a", "b"]


def test_an_unset_document_is_told_from_an_empty_one() -> None:
    message = provider()
    message.model_capabilities.SetInParent()
    value = Provider.from_proto(message)
    assert value.additional_headers == value.model_capabilities == {}
    plain = value.to_dict()
    assert "additional_headers" not in plain
    assert plain["model_capabilities"] == {}


def test_a_credential_shows_its_key_to_nobody_who_does_not_ask() -> None:
    credential = Credential(KEY)
    whole = ActiveProvider(rich(), credential, Revision("store", 1))
    assert credential.api_key == KEY
    for text in (
        repr(credential),
        str(credential),
        f"{credential}",
        f"{credential!r}",
        repr(whole),
        repr([credential]),
    ):
        assert KEY not in text


def test_a_credential_cannot_leave_the_process() -> None:
    credential = Credential(KEY)
    whole = ActiveProvider(rich(), credential, Revision("store", 1))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="cannot be pickled") as refused:
            pickle.dumps(credential, protocol)
        assert KEY not in str(refused.value)
    assert KEY not in repr(dataclasses.asdict(dataclasses.replace(whole, provider=None)))
    with pytest.raises(TypeError):
        json.dumps(credential)
    assert copy.deepcopy(credential) is credential
    assert not hasattr(credential, "__dict__")


def test_credentials_compare_by_key() -> None:
    assert Credential(KEY) == Credential(KEY)
    assert Credential(KEY) != Credential("another")


def test_a_revision_reaches_those_before_it_in_its_store() -> None:
    assert Revision("a", 3).reaches(Revision("a", 3))
    assert not Revision("a", 3).reaches(Revision("a", 4))
    assert not Revision("a", 3).reaches(Revision("b", 1))
    assert str(Revision("a", 3)) == "a:3"
