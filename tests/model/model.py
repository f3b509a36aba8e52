"""What providerd should be, small: providers by name, a revision that counts changes, and what the schema refuses."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from google.protobuf.json_format import ParseDict

from providerd.v1 import provider_pb2 as pb

REQUIRED = (
    "display_name",
    "base_url",
    "endpoint_path_template",
    "default_model",
    "request_builder_config",
    "response_extractor_config",
)
COLUMNS = (
    *REQUIRED,
    "description",
    "auth_scheme",
    "auth_header_template",
    "http_method",
    "additional_headers",
    "supported_models",
    "model_capabilities",
    "context_window_tokens",
    "max_output_tokens_limit",
    "is_enabled",
)
DEFAULTS: Mapping[str, Any] = {"auth_scheme": "bearer", "http_method": "POST", "is_enabled": True}

_UNPREDICTED = ("create_time", "update_time", "updated_by", "key_fingerprint")

_identities = itertools.count(1)
_seals = itertools.count(1)


class Refused(Exception):
    """An RPC is refused with this status code and reason; ``fields`` are among the violations."""

    def __init__(self, code: str, reason: str, *fields: str) -> None:
        super().__init__(code, reason, *fields)
        self.code = code
        self.reason = reason
        self.fields = set(fields)


class Broken(Exception):
    """A statement is refused by the database with this SQLSTATE."""


@dataclass(frozen=True)
class Key:
    """A stored key. The same text encrypted anew is another ciphertext, and so another key."""

    text: str
    seal: int = field(default_factory=lambda: next(_seals))


@dataclass(frozen=True)
class Provider:
    """One row. ``identity`` tells it from an earlier one of the same name; ``content`` has every content column."""

    name: str
    content: Mapping[str, Any]
    is_active: bool = False
    key: Key | None = None
    version: int = 1
    identity: int = field(default_factory=lambda: next(_identities))

    @property
    def enabled(self) -> bool:
        return bool(self.content["is_enabled"])

    @cached_property
    def message(self) -> pb.Provider:
        """It as the API shows it, but for what the model does not predict."""
        populated = {column: value for column, value in self.content.items() if value is not None}
        return ParseDict(
            {
                **populated,
                "provider_name": self.name,
                "is_active": self.is_active,
                "config_version": self.version,
                "has_key": self.key is not None,
            },
            pb.Provider(),
        )

    def may_become(self, content: Mapping[str, Any], key: Key | None) -> bool:
        """Whether its key stays where it is. Here each URL is another scheme, host or port."""
        return self.key is None or self.key != key or self.content["base_url"] == content["base_url"]

    def looks_like(self, other: Provider) -> bool:
        """Whether nothing is different that people can see."""
        return self.is_active == other.is_active and self.has_content_of(other)

    def has_content_of(self, other: Provider) -> bool:
        # Compared as JSON: Python takes true and 1 for equal.
        return self.key == other.key and json.dumps(self.content, sort_keys=True) == json.dumps(
            other.content, sort_keys=True
        )


@dataclass(frozen=True)
class State:
    """The whole configuration at one revision."""

    revision: int
    providers: Mapping[str, Provider]

    @property
    def active(self) -> Provider | None:
        return next((provider for provider in self.providers.values() if provider.is_active), None)


def predicted(provider: pb.Provider) -> pb.Provider:
    """What a message says of a provider, but for what the model does not predict."""
    rest = pb.Provider()
    rest.CopyFrom(provider)
    for name in _UNPREDICTED:
        rest.ClearField(name)
    return rest


class Table:
    """``llm_provider_configs`` in one transaction, as its triggers and constraints keep it."""

    def __init__(self, state: State) -> None:
        self.providers = dict(state.providers)
        self._revision = state.revision
        self._touched = False

    @property
    def active(self) -> Provider | None:
        return next((provider for provider in self.providers.values() if provider.is_active), None)

    def committed(self) -> State:
        """The state after the transaction: one revision for all its changes, and none for no change."""
        return State(self._revision + self._touched, dict(self.providers))

    def insert(
        self,
        name: str,
        content: Mapping[str, Any],
        *,
        is_active: bool = False,
        key: Key | None = None,
        or_nothing: bool = False,
    ) -> None:
        row = Provider(name, dict(content), is_active, key)
        _check(row)
        _check_active(row)
        if name not in self.providers:
            self._put(row)
        elif not or_nothing:
            raise Broken("23505")

    def update(self, name: str, **columns: Any) -> None:
        """Sets content columns, ``is_active`` and ``key``. Does nothing when no row has the name."""
        if (old := self.providers.get(name)) is None:
            return
        is_active, key = columns.pop("is_active", old.is_active), columns.pop("key", old.key)
        new = replace(old, content={**old.content, **columns}, is_active=is_active, key=key)
        if new.looks_like(old):
            return
        if not new.has_content_of(old):
            new = replace(new, version=old.version + 1)
        _check(new)
        if not old.may_become(new.content, new.key):
            raise Broken("PD007")
        _check_active(new)
        self._put(new)

    def delete(self, name: str) -> None:
        if (old := self.providers.get(name)) is None:
            return
        if old.is_active:
            raise Broken("PD004")
        del self.providers[name]
        self._touched = True

    def _put(self, row: Provider) -> None:
        if row.is_active:
            for other in self.providers.values():
                if other.is_active and other.name != row.name:
                    self.providers[other.name] = replace(other, is_active=False)
        self.providers[row.name] = row
        self._touched = True


def violations(content: Mapping[str, Any]) -> Iterator[str]:
    """The columns that break one of the rules that the tests break, but for those that only the daemon knows."""
    yield from (column for column in REQUIRED if not str(content[column] or "").strip())
    if content["http_method"] not in ("GET", "POST", "PUT", "PATCH"):
        yield "http_method"
    for column in ("context_window_tokens", "max_output_tokens_limit"):
        if content[column] is not None and content[column] <= 0:
            yield column


def _check(row: Provider) -> None:
    if any(violations(row.content)):
        raise Broken("PD003")


def _check_active(row: Provider) -> None:
    if row.is_active and not row.enabled:
        raise Broken("23514")
