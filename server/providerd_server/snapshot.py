"""The daemon's picture of the database at one revision. Everything here is immutable."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from providerd.secret import Secret


@dataclass(frozen=True, slots=True)
class Revision:
    """A point in the history of one store.

    Attributes:
        store_id: The UUID of the database's own choosing, in canonical text form.
        number: Counts committed changes, without gaps; only comparable within one store.
    """

    store_id: str
    number: int

    def skipped_since(self, known: Revision) -> int:
        """How many revisions lie between; none where the two cannot be compared."""
        return max(0, self.number - known.number - 1) if known.store_id == self.store_id else 0


@dataclass(frozen=True, slots=True)
class StoredProvider:
    """One row of ``llm_provider_configs``, under the names of its columns.

    The JSON columns hold plain parsed JSON that nobody may change. ``key_fingerprint`` identifies the stored
    ciphertext; ``api_key`` is its plaintext, or None where there is no key or it could not be decrypted.
    """

    id: int
    provider_name: str
    display_name: str
    description: str | None
    auth_scheme: str | None
    auth_header_template: str | None
    base_url: str
    endpoint_path_template: str
    http_method: str | None
    additional_headers: Mapping[str, Any] | None
    request_builder_config: Mapping[str, Any]
    response_extractor_config: Mapping[str, Any]
    default_model: str
    supported_models: list[str] | None
    model_capabilities: Mapping[str, Any] | None
    context_window_tokens: int | None
    max_output_tokens_limit: int | None
    is_active: bool
    is_enabled: bool
    config_version: int
    created_at: datetime.datetime | None
    updated_at: datetime.datetime | None
    updated_by: str | None
    key_fingerprint: str | None
    api_key: Secret | None = field(default=None, compare=False)

    @property
    def has_key(self) -> bool:
        """Whether a key is stored, readable or not."""
        return self.key_fingerprint is not None


@dataclass(frozen=True)
class Snapshot:
    """What a source knows of its providers at one revision, in order of their names.

    Attributes:
        revision: The revision.
        providers: All of them, or at least the active one, where the source knows no other.
        epoch: Moves when the source was told that revisions from before mean nothing any more.
    """

    revision: Revision
    providers: Mapping[str, StoredProvider]
    epoch: int = 0

    @cached_property
    def active(self) -> StoredProvider | None:
        """The one active provider, if there is one."""
        return next((p for p in self.providers.values() if p.is_active), None)
