"""docs/reference/provider-configuration.md: its examples are valid, and it leaves nothing out."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from providerd.v1 import provider_pb2 as pb
from providerd_server import schemas
from providerd_server.edit import Edit
from providerd_server.validation import content_violations
from tests.unit.contents import CONTENT

PAGE = (Path(__file__).parents[2] / "docs/reference/provider-configuration.md").read_text(encoding="utf-8")
EXAMPLES: list[dict[str, Any]] = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]


def examples_with(key: str) -> list[dict[str, Any]]:
    return [example for example in EXAMPLES if key in example]


def words_of(node: Any) -> set[str]:
    """The keys and the operations that a schema knows."""
    if isinstance(node, list):
        return set().union(*map(words_of, node))
    if not isinstance(node, dict):
        return set()
    values = node.get("enum", [])
    return {*node.get("properties", {}), *values}.union(*map(words_of, node.values()))


def test_every_example_is_one_of_three_kinds() -> None:
    kinds = ("provider_name", "payload_structure", "extraction_rules")
    assert [len(examples_with(kind)) for kind in kinds] == [1, 1, 1]
    assert len(EXAMPLES) == 3


def test_the_example_of_a_whole_provider_is_valid() -> None:
    [example] = examples_with("provider_name")
    provider = ParseDict(example, pb.Provider())
    assert Edit(pb.UpsertProviderRequest(provider=provider)).merge(None)["display_name"] == "Mistral"


def test_the_examples_of_documents_are_valid() -> None:
    [request] = examples_with("payload_structure")
    [response] = examples_with("extraction_rules")
    content = {
        **CONTENT,
        "endpoint_path_template": "/v1/models/{model}:generate",
        "request_builder_config": request,
        "response_extractor_config": response,
    }
    assert content_violations(content) == []


@pytest.mark.parametrize("column", schemas.SECTIONS)
def test_every_key_and_operation_is_on_the_page(column: str) -> None:
    named = set(re.findall(r"`([a-z_]+)`", PAGE))
    assert words_of(schemas.schema(column)) - named == set()


def test_the_examples_of_the_founding_document_are_valid() -> None:
    request = {
        "version": "1.0",
        "payload_structure": {
            "model": {"source": "param:model_name", "required": True},
            "messages": {"source": "param:messages", "required": True},
        },
    }
    response = {
        "version": "1.0",
        "extraction_rules": {
            "text_content": {"type": "string", "paths": ["output_text", "choices[0].message.content"]},
            "usage_stats": {"type": "object", "fields": {"total_tokens": {"paths": ["usage.total_tokens"]}}},
        },
    }
    content = {**CONTENT, "request_builder_config": request, "response_extractor_config": response}
    assert content_violations({**content, "endpoint_path_template": "/v1/test"}) == []
