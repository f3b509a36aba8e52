"""From rows of ``llm_provider_configs`` to providers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from providerd.secret import Secret
from providerd_server.snapshot import StoredProvider

JSON_COLUMNS = (
    "additional_headers",
    "request_builder_config",
    "response_extractor_config",
    "supported_models",
    "model_capabilities",
)

# What UpsertProvider may set, in the order of the table's columns.
CONTENT_COLUMNS = (
    "display_name",
    "description",
    "auth_scheme",
    "auth_header_template",
    "base_url",
    "endpoint_path_template",
    "http_method",
    "additional_headers",
    "request_builder_config",
    "response_extractor_config",
    "default_model",
    "supported_models",
    "model_capabilities",
    "context_window_tokens",
    "max_output_tokens_limit",
    "is_enabled",
)

STATUS_COLUMNS = ("is_active", "config_version", "created_at", "updated_at", "updated_by")

COLUMNS = ("id", "provider_name", *CONTENT_COLUMNS, *STATUS_COLUMNS)

# As the schema has it: protobuf refuses to carry much more.
DEEPEST = 32

# How a row holds the key, as ``SealedKey`` has it.
KEY_COLUMNS = ("api_key_encrypted", "api_key_id", "api_key_mac")

# For SELECT lists; the ciphertext rides along to be fingerprinted and decrypted.
SELECT_LIST = ", ".join(f"p.{column}" for column in (*COLUMNS, *KEY_COLUMNS))


def provider_from_row(row: Mapping[str, Any], api_key: Secret | None = None) -> StoredProvider:
    """The provider in ``row``, which has at least the columns of ``SELECT_LIST``."""
    values = {column: row[column] for column in COLUMNS}
    for column in JSON_COLUMNS:
        text = values[column]
        values[column] = None if text is None else read_json(text)
    return StoredProvider(**values, key_fingerprint=fingerprint(row["api_key_encrypted"]), api_key=api_key)


# Most documents of a new revision are those of the one before; what is parsed is never changed, so it can be shared.
@lru_cache(maxsize=256)
def read_json(text: str) -> Any:
    """The document in a JSON column, which nobody may change.

    Raises:
        ValueError: It is deeper than the schema allows.
    """
    document = json.loads(text)
    if _depth(document) > DEEPEST:
        raise ValueError(f"a document is nested deeper than {DEEPEST} levels")
    return document


def _depth(document: Any) -> int:
    """How deep a document is nested; counts no further than one beyond what is allowed."""
    level, depth = [document], 0
    while level and depth <= DEEPEST:
        inner = [value for value in level if isinstance(value, dict | list)]
        level = [item for value in inner for item in (value.values() if isinstance(value, dict) else value)]
        depth += bool(inner)
    return depth


def fingerprint(ciphertext: str | None) -> str | None:
    """Identifies a stored ciphertext (hex): the first 16 hex digits of the SHA-256 of its bytes, as the schema does."""
    if not ciphertext:
        return None
    try:
        content = bytes.fromhex(ciphertext)
    except ValueError:
        # Only possible where the schema's triggers were bypassed; it must still be told from "no key".
        content = ciphertext.encode()
    return hashlib.sha256(content).hexdigest()[:16]
