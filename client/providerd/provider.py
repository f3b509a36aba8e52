"""The values a client hands out: providers, credentials and revisions, all immutable."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from providerd.document import UNSET, from_struct, from_timestamp, plain
from providerd.secret import Secret
from providerd.v1 import provider_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Revision:
    """A point in the history of one store. Numbers of different stores cannot be compared."""

    store_id: str
    number: int

    def __str__(self) -> str:
        return f"{self.store_id}:{self.number}"

    @classmethod
    def from_proto(cls, message: pb.Revision) -> Revision:
        """Reads the message of the API."""
        return cls(message.store_id, message.number)

    def to_proto(self) -> pb.Revision:
        """Returns the message of the API."""
        return pb.Revision(store_id=self.store_id, number=self.number)

    def reaches(self, other: Revision) -> bool:
        """Says whether this is the other revision or a later one of the same store."""
        return self.store_id == other.store_id and self.number >= other.number


@dataclass(frozen=True, slots=True)
class Provider:
    """How to call one LLM provider. The fields are those of the API's Provider message; it never holds a key.

    JSON objects are read-only mappings, JSON arrays tuples, and whole JSON numbers are ints.
    """

    provider_name: str
    display_name: str
    description: str
    auth_scheme: str
    auth_header_template: str
    base_url: str
    endpoint_path_template: str
    http_method: str
    additional_headers: Mapping[str, Any] = field(hash=False, repr=False)
    request_builder_config: Mapping[str, Any] = field(hash=False, repr=False)
    response_extractor_config: Mapping[str, Any] = field(hash=False, repr=False)
    default_model: str
    supported_models: tuple[str, ...]
    model_capabilities: Mapping[str, Any] = field(hash=False, repr=False)
    context_window_tokens: int | None
    max_output_tokens_limit: int | None
    is_active: bool
    is_enabled: bool
    config_version: int
    create_time: datetime | None
    update_time: datetime | None
    updated_by: str
    has_key: bool
    key_fingerprint: str

    @classmethod
    def from_proto(cls, message: pb.Provider) -> Provider:
        """Reads the message of the API."""
        return cls(
            provider_name=message.provider_name,
            display_name=message.display_name,
            description=message.description,
            auth_scheme=message.auth_scheme,
            auth_header_template=message.auth_header_template,
            base_url=message.base_url,
            endpoint_path_template=message.endpoint_path_template,
            http_method=message.http_method or "POST",
            additional_headers=_document(message, "additional_headers"),
            request_builder_config=_document(message, "request_builder_config"),
            response_extractor_config=_document(message, "response_extractor_config"),
            default_model=message.default_model,
            supported_models=tuple(message.supported_models),
            model_capabilities=_document(message, "model_capabilities"),
            context_window_tokens=_optional(message, "context_window_tokens"),
            max_output_tokens_limit=_optional(message, "max_output_tokens_limit"),
            is_active=message.is_active,
            is_enabled=message.is_enabled or not message.HasField("is_enabled"),
            config_version=message.config_version,
            create_time=from_timestamp(message.create_time) if message.HasField("create_time") else None,
            update_time=from_timestamp(message.update_time) if message.HasField("update_time") else None,
            updated_by=message.updated_by,
            has_key=message.has_key,
            key_fingerprint=message.key_fingerprint,
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain JSON values, in the shape that upsert() takes. Unset ones are left out."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: plain(value) for name, value in values.items() if value is not None and value is not UNSET}


class Credential(Secret):
    """A provider's API key. Readable as `api_key`; it never shows itself and cannot be pickled."""

    __slots__ = ()

    @property
    def api_key(self) -> str:
        """The key in clear."""
        return self.reveal()


@dataclass(frozen=True, slots=True)
class ActiveProvider:
    """The active provider and its key as of one revision, so that a key never meets another provider's URL."""

    provider: Provider
    credential: Credential | None
    revision: Revision


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How fresh a daemon's picture of the database was when it answered.

    Attributes:
        age: Seconds since it last verified that the database is at the revision it answered from.
        stale: Whether that is longer than it promises, as when it cannot reach the database.
    """

    age: float
    stale: bool

    @classmethod
    def from_proto(cls, message: pb.SourceStatus) -> SourceStatus:
        """Reads the message of the API."""
        return cls(message.age.ToTimedelta().total_seconds(), message.stale)


def check_usable(message: pb.Provider) -> None:
    """Makes sure that a provider can be called.

    Raises:
        ValueError: A required field of provider.proto is empty; the message names it.
    """
    required = ("provider_name", "display_name", "base_url", "endpoint_path_template", "default_model")
    missing = [name for name in required if not getattr(message, name).strip()]
    structs = ("request_builder_config", "response_extractor_config")
    missing += [name for name in structs if not message.HasField(name)]
    if missing:
        raise ValueError(f"provider {message.provider_name!r} lacks {', '.join(missing)}")


def _document(message: pb.Provider, name: str) -> Mapping[str, Any]:
    return from_struct(getattr(message, name)) if message.HasField(name) else UNSET


def _optional(message: pb.Provider, name: str) -> int | None:
    return getattr(message, name) if message.HasField(name) else None
