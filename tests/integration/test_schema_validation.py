"""What a configuration must be, and how the database says what is wrong with it."""

import json
from typing import Any

import asyncpg
import pytest

from tests.integration.sql import REQUEST, RESPONSE, connected, insert_provider, refused

INEXACT = "{} holds the number {}, which a 64-bit float cannot hold exactly: write it as a string"


def without(document: dict[str, Any], section: str, member: str) -> dict[str, Any]:
    kept = {name: entry for name, entry in document[section].items() if name != member}
    return {**document, section: kept}


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("provider_name", "", "provider_name must not be empty"),
        ("provider_name", " \t", "provider_name must not be empty"),
        ("provider_name", None, "provider_name must not be empty"),
        ("provider_name", " mine", "provider_name must not begin or end with white space"),
        ("provider_name", "mine\n", "provider_name must not begin or end with white space"),
        ("display_name", " ", "display_name must not be empty"),
        ("base_url", "", "base_url must not be empty"),
        ("endpoint_path_template", "", "endpoint_path_template must not be empty"),
        ("default_model", "", "default_model must not be empty"),
        ("http_method", "DELETE", "http_method must be GET, POST, PUT or PATCH"),
        ("http_method", "post", "http_method must be GET, POST, PUT or PATCH"),
        ("additional_headers", ["X-A"], "additional_headers must be a JSON object of strings"),
        ("additional_headers", {"X-A": 1}, "additional_headers must be a JSON object of strings"),
        ("additional_headers", {"X-A": ["b"]}, "additional_headers must be a JSON object of strings"),
        ("request_builder_config", [], "request_builder_config must be a JSON object"),
        ("request_builder_config", None, "request_builder_config must be a JSON object"),
        ("request_builder_config", {}, 'request_builder_config must contain "version" field'),
        (
            "request_builder_config",
            {"version": "1.0", "payload_structure": []},
            'request_builder_config must contain "payload_structure" object',
        ),
        (
            "request_builder_config",
            without(REQUEST, "payload_structure", "model"),
            'request_builder_config must contain "model" in "payload_structure"',
        ),
        (
            "request_builder_config",
            without(REQUEST, "payload_structure", "messages"),
            'request_builder_config must contain "messages" in "payload_structure"',
        ),
        ("response_extractor_config", {}, 'response_extractor_config must contain "version" field'),
        (
            "response_extractor_config",
            {"version": "1.0"},
            'response_extractor_config must contain "extraction_rules" object',
        ),
        (
            "response_extractor_config",
            without(RESPONSE, "extraction_rules", "text_content"),
            'response_extractor_config must contain "text_content" in "extraction_rules"',
        ),
        (
            "response_extractor_config",
            without(RESPONSE, "extraction_rules", "usage_stats"),
            'response_extractor_config must contain "usage_stats" in "extraction_rules"',
        ),
        ("supported_models", {"a": "b"}, "supported_models must be a JSON array of strings"),
        ("supported_models", "a", "supported_models must be a JSON array of strings"),
        ("supported_models", ["a", None], "supported_models must be a JSON array of strings"),
        ("supported_models", ["a", ["b"]], "supported_models must be a JSON array of strings"),
        ("model_capabilities", ["tools"], "model_capabilities must be a JSON object"),
        ("context_window_tokens", 0, "context_window_tokens must be positive"),
        ("max_output_tokens_limit", -1, "max_output_tokens_limit must be positive"),
    ],
)
async def test_a_wrong_column_is_named(database: str, column: str, value: Any, message: str) -> None:
    async with connected(database) as db:
        with refused("PD003", message) as caught:
            await insert_provider(db, **{"name" if column == "provider_name" else column: value})
    assert caught.value.column_name == column
    assert caught.value.table_name == "llm_provider_configs"


async def test_all_violations_come_at_once(database: str) -> None:
    async with connected(database) as db:
        with refused("PD003", "provider_name must not be empty") as caught:
            await insert_provider(db, "", http_method="TRACE", request_builder_config={}, context_window_tokens=0)
    assert [(v["column"], v["message"]) for v in json.loads(caught.value.detail)] == [
        ("provider_name", "provider_name must not be empty"),
        ("http_method", "http_method must be GET, POST, PUT or PATCH"),
        ("request_builder_config", 'request_builder_config must contain "version" field'),
        ("request_builder_config", 'request_builder_config must contain "payload_structure" object'),
        ("context_window_tokens", "context_window_tokens must be positive"),
    ]


async def test_updates_are_validated_like_inserts(database: str) -> None:
    async with connected(database) as db:
        with refused("PD003", 'response_extractor_config must contain "version" field'):
            await db.execute("UPDATE llm_provider_configs SET response_extractor_config = '{}'")


@pytest.mark.parametrize(
    "number",
    ["9007199254740993", "0.1234567890123456789", "1e400", "-1e400", "1e-400", "123456789012345678901234567890"],
)
async def test_a_number_that_no_float_holds_is_refused(database: str, number: str) -> None:
    async with connected(database) as db:
        with refused("PD003") as caught:
            await db.execute(
                "UPDATE llm_provider_configs SET model_capabilities = $1::text::jsonb WHERE provider_name = 'groq'",
                f'{{"deep": [{{"limit": {number}}}]}}',
            )
    assert caught.value.column_name == "model_capabilities"
    assert "which a 64-bit float cannot hold exactly" in caught.value.args[0]


@pytest.mark.parametrize("digits", [-15, 0, 1, 3])
@pytest.mark.parametrize(
    "number", ["9007199254740992", "0.1", "1.10", "1e22", "1.7976931348623157e308", "5e-324", "-0.5"]
)
async def test_a_number_that_a_float_holds_is_kept(database: str, number: str, digits: int) -> None:
    async with connected(database) as db:
        await db.execute(f"SET extra_float_digits = {digits}")
        await db.execute(
            "UPDATE llm_provider_configs SET model_capabilities = $1::text::jsonb WHERE provider_name = 'groq'",
            f'{{"limit": {number}}}',
        )
        kept = await db.fetchval("SELECT model_capabilities FROM get_active_provider()")
    assert float(kept["limit"]) == float(number)


@pytest.mark.parametrize(
    "column",
    [
        "additional_headers",
        "request_builder_config",
        "response_extractor_config",
        "supported_models",
        "model_capabilities",
    ],
)
async def test_numbers_of_every_document_are_checked(database: str, column: str) -> None:
    async with connected(database) as db:
        with refused("PD003") as caught:
            await insert_provider(db, **{column: {"n": 2**53 + 1}})
    violations = {(v["column"], v["message"]) for v in json.loads(caught.value.detail)}
    assert (column, INEXACT.format(column, 2**53 + 1)) in violations


async def test_optional_columns_may_be_absent(database: str) -> None:
    optional = (
        "description", "api_key_encrypted", "auth_scheme", "auth_header_template", "additional_headers",
        "supported_models", "model_capabilities", "context_window_tokens", "max_output_tokens_limit",
    )  # fmt: skip
    async with connected(database) as db:
        key = await insert_provider(db, **dict.fromkeys(optional))
        row = await db.fetchrow("SELECT * FROM llm_provider_configs WHERE id = $1", key)
    assert [row[column] for column in optional] == [None] * len(optional)
    assert row["http_method"] == "POST"


async def test_names_are_unique(database: str) -> None:
    async with connected(database) as db:
        with pytest.raises(asyncpg.UniqueViolationError):
            await insert_provider(db, "groq")


async def test_times_carry_a_zone(database: str) -> None:
    async with connected(database) as db:
        rows = await db.fetch("""
            SELECT table_name, column_name, data_type FROM information_schema.columns
            WHERE table_name LIKE 'llm_provider_%' AND column_name LIKE '%\\_at'
        """)
    assert len(rows) == 5
    assert {row["data_type"] for row in rows} == {"timestamp with time zone"}
