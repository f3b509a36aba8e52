"""UpsertProvider requests: what they ask for, and every violation at once."""

from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from providerd.v1 import provider_pb2 as pb
from providerd_server.edit import Edit, check_content, configuration_from
from providerd_server.errors import Kind, Refusal
from providerd_server.validation import HostPolicy
from tests.unit.snapshots import provider

COMPLETE: dict[str, Any] = {
    "provider_name": "mistral",
    "display_name": "Mistral",
    "base_url": "https://api.mistral.ai",
    "endpoint_path_template": "/v1/chat/completions",
    "default_model": "mistral-large",
    "request_builder_config": {
        "version": "1.0",
        "payload_structure": {"model": {"source": "param:model_name"}, "messages": {"source": "param:messages"}},
    },
    "response_extractor_config": {
        "version": "1.0",
        "extraction_rules": {"text_content": {"paths": ["text"]}, "usage_stats": {"paths": ["usage"]}},
    },
}

EXISTING = provider(
    "mistral",
    description="as it was",
    request_builder_config=COMPLETE["request_builder_config"],
    response_extractor_config=COMPLETE["response_extractor_config"],
    context_window_tokens=1000,
)


def request(content: dict[str, Any], **rest: Any) -> pb.UpsertProviderRequest:
    return ParseDict({"provider": content, **rest}, pb.UpsertProviderRequest())


def fields_of(caught: pytest.ExceptionInfo[Refusal]) -> set[str]:
    return {violation.field for violation in caught.value.violations}


def test_a_new_provider_takes_everything_and_the_defaults_of_the_table() -> None:
    content = Edit(request(COMPLETE)).merge(None)
    assert content["display_name"] == "Mistral"
    assert content["request_builder_config"] == COMPLETE["request_builder_config"]
    assert (content["auth_scheme"], content["http_method"], content["is_enabled"]) == ("bearer", "POST", True)
    assert content["supported_models"] is None


def test_without_a_mask_populated_fields_change_and_the_rest_stays() -> None:
    content = Edit(request({"provider_name": "mistral", "default_model": "small"})).merge(EXISTING)
    assert content["default_model"] == "small"
    assert content["description"] == "as it was"
    assert content["context_window_tokens"] == 1000


def test_a_mask_names_what_changes_and_clears_what_is_not_populated() -> None:
    edit = Edit(
        request(
            {"provider_name": "mistral", "default_model": "ignored", "display_name": "M"},
            update_mask="displayName,description,contextWindowTokens",
        )
    )
    content = edit.merge(EXISTING)
    assert content["display_name"] == "M"
    assert content["description"] is None
    assert content["context_window_tokens"] is None
    assert content["default_model"] == EXISTING.default_model


def test_what_sql_has_named_otherwise_stays_editable_and_nothing_new_is_named_so() -> None:
    edit = Edit(request({**COMPLETE, "provider_name": "My Mistral"}))
    assert edit.merge(replace(EXISTING, provider_name="My Mistral"))["display_name"] == "Mistral"
    with pytest.raises(Refusal) as caught:
        edit.merge(None)
    assert fields_of(caught) == {"provider.provider_name"}


def test_what_sql_has_stored_against_the_rules_stays_editable_elsewhere() -> None:
    odd = replace(EXISTING, supported_models=["another"], max_output_tokens_limit=2000)
    content = Edit(request({"provider_name": "mistral", "description": "d"})).merge(odd)
    assert content["description"] == "d"
    with pytest.raises(Refusal) as caught:
        Edit(request({"provider_name": "mistral", "default_model": "third", "base_url": "nowhere"})).merge(
            replace(EXISTING, supported_models=["m"])
        )
    assert fields_of(caught) == {"provider.default_model", "provider.base_url"}


@pytest.mark.parametrize(
    "changed",
    [
        {"base_url": "https://10.0.0.2"},
        {"additional_headers": {"X-Token": "other"}},
        {"additional_headers": {"X-Token": "stored", "X-Title": "t"}},
    ],
)
def test_who_rewrites_a_column_makes_it_right_even_if_it_was_wrong_in_the_same_way(changed: dict[str, Any]) -> None:
    odd = replace(EXISTING, base_url="https://10.0.0.1", additional_headers={"X-Token": "stored"})
    same = {"base_url": "https://10.0.0.1", "additional_headers": {"X-Token": "stored"}, "display_name": "M"}
    assert Edit(request({"provider_name": "mistral", **same})).merge(odd)["display_name"] == "M"
    with pytest.raises(Refusal) as caught:
        Edit(request({"provider_name": "mistral", **same, **changed})).merge(odd)
    assert {field.split(".")[1] for field in fields_of(caught)} == set(changed)


def test_the_policy_decides_about_edits_configurations_and_rollbacks() -> None:
    hosts = HostPolicy(["*.llm.internal"])
    wanted = {**COMPLETE, "base_url": "https://a.llm.internal"}
    assert Edit(request(wanted), hosts=hosts).merge(None)["base_url"] == "https://a.llm.internal"
    stated = ParseDict({"providers": [wanted]}, pb.ApplyConfigurationRequest())
    contents = configuration_from(stated, hosts).contents({})
    assert contents["mistral"]["base_url"] == "https://a.llm.internal"
    check_content(None, contents["mistral"], hosts)
    for refused in (
        lambda: Edit(request(wanted)).merge(None),
        lambda: configuration_from(stated).contents({}),
        lambda: check_content(None, contents["mistral"]),
    ):
        with pytest.raises(Refusal) as caught:
            refused()
        assert [field.rpartition(".")[2] for field in fields_of(caught)] == ["base_url"]
        assert "llm.internal" not in str(caught.value) + repr(caught.value.violations)


def test_the_star_replaces_everything() -> None:
    content = Edit(request(COMPLETE, update_mask="*")).merge(EXISTING)
    assert content["description"] is None
    assert content["display_name"] == "Mistral"


def test_output_only_fields_are_ignored_unless_the_mask_names_them() -> None:
    echoed = {**COMPLETE, "is_active": True, "config_version": 7, "has_key": True}
    assert Edit(request(echoed)).merge(None)["display_name"] == "Mistral"
    with pytest.raises(Refusal) as caught:
        Edit(request(echoed, update_mask="isActive,configVersion,nonsense")).merge(None)
    said = " ".join(violation.description for violation in caught.value.violations)
    assert "is_active is output only; SwitchProvider changes it" in said
    assert "config_version is output only" in said
    assert "'nonsense' is not a top-level field" in said


def test_every_violation_is_told_at_once() -> None:
    with pytest.raises(Refusal) as caught:
        Edit(
            request(
                {
                    "provider_name": "Bad Name",
                    "base_url": "ftp://x",
                    "http_method": "BREW",
                    "endpoint_path_template": "no slash",
                    "additional_headers": {"X Y": "v", "X-Ok": "a\r\nb", "X-Number": 1},
                    "request_builder_config": {"payload_structure": {"model": {"source": "param:model_name"}}},
                    "response_extractor_config": {"version": "1.0"},
                    "context_window_tokens": -1,
                    "supported_models": ["", "ok"],
                },
                reason="r" * 1001,
                actor="a" * 256,
                expected_config_version=-1,
                clear_api_key=False,
            )
        ).merge(None)
    assert caught.value.kind is Kind.INVALID_ARGUMENT
    assert fields_of(caught) == {
        "provider.provider_name",
        "provider.display_name",
        "provider.base_url",
        "provider.http_method",
        "provider.endpoint_path_template",
        "provider.default_model",
        "provider.additional_headers.X Y",
        "provider.additional_headers.X-Ok",
        "provider.additional_headers.X-Number",
        "provider.request_builder_config.version",
        "provider.request_builder_config.payload_structure.messages",
        "provider.response_extractor_config.extraction_rules",
        "provider.context_window_tokens",
        "provider.supported_models[0]",
        "reason",
        "actor",
        "expected_config_version",
        "clear_api_key",
    }


@pytest.mark.parametrize("number", [2.0**53, -(2.0**53), -(2.0**60), 1e300])
def test_numbers_that_a_double_does_not_hold_exactly_are_refused(number: float) -> None:
    with pytest.raises(Refusal) as caught:
        Edit(request({**COMPLETE, "model_capabilities": {"deep": [{"n": number}]}})).merge(None)
    assert fields_of(caught) == {"provider.model_capabilities.deep[0].n"}


def test_numbers_that_are_not_numbers_are_refused() -> None:
    bad = request(COMPLETE)
    bad.provider.model_capabilities.fields["n"].number_value = float("nan")
    with pytest.raises(Refusal) as caught:
        Edit(bad).merge(None)
    assert fields_of(caught) == {"provider.model_capabilities.n"}


def test_whole_numbers_stay_whole_and_fractions_stay_fractions() -> None:
    content = Edit(request({**COMPLETE, "model_capabilities": {"n": 2**53 - 1, "t": 0.7, "none": None}})).merge(None)
    assert content["model_capabilities"] == {"n": 2**53 - 1, "t": 0.7, "none": None}
    assert isinstance(content["model_capabilities"]["n"], int)


@pytest.mark.parametrize(
    "url",
    ["https://", "file:///etc/passwd", "https://u:p@h", "https://h#f", "https://h?q=1", "https://h x", "https://[::1"],
)
def test_a_base_url_is_a_scheme_and_a_host(url: str) -> None:
    with pytest.raises(Refusal) as caught:
        Edit(request({**COMPLETE, "base_url": url})).merge(None)
    assert fields_of(caught) == {"provider.base_url"}


@pytest.mark.parametrize("key", ["", " k", "k\n", "k\0", "ключ", "k" * 8193])
def test_a_key_that_no_header_could_carry_is_refused_without_an_echo(key: str) -> None:
    with pytest.raises(Refusal) as caught:
        Edit(request(COMPLETE, new_api_key=key)).merge(None)
    assert fields_of(caught) == {"new_api_key"}
    assert not key.strip() or key not in str(caught.value) + repr(caught.value.violations)
