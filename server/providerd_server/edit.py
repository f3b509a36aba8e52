"""From an UpsertProvider request to the content it asks for, with every violation found on the way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from providerd.v1 import provider_pb2 as pb
from providerd_server.convert import STRUCT_FIELDS, json_from_struct
from providerd_server.errors import Violation, invalid
from providerd_server.snapshot import StoredProvider
from providerd_server.store.configuration import Configuration, Contents
from providerd_server.validation import (
    NAME_RULE,
    NAME_SHAPE,
    STRICT,
    HostPolicy,
    content_violations,
    name_violations,
    text_violations,
)

_REQUIRED_TEXT = ("display_name", "base_url", "endpoint_path_template", "default_model")
_OPTIONAL_TEXT = ("description", "auth_scheme", "auth_header_template")
_LIMITS = ("context_window_tokens", "max_output_tokens_limit")

EDITABLE = (
    *_REQUIRED_TEXT,
    *_OPTIONAL_TEXT,
    *STRUCT_FIELDS,
    *_LIMITS,
    "http_method",
    "supported_models",
    "is_enabled",
)
_OUTPUT_ONLY = (
    "is_active", "config_version", "create_time", "update_time", "updated_by", "has_key", "key_fingerprint",
)  # fmt: skip

# What a new provider has where the request says nothing; the same as the table's column defaults.
_DEFAULTS: Mapping[str, Any] = {"auth_scheme": "bearer", "http_method": "POST", "is_enabled": True}


class Edit:
    """What one UpsertProvider request asks for.

    Args:
        request: The request.
        root: What the provider is called in the paths of violations.
        hosts: Where keys may be sent.
    """

    def __init__(
        self, request: pb.UpsertProviderRequest, root: str = "provider", *, hosts: HostPolicy = STRICT
    ) -> None:
        violations: list[Violation] = []
        self.provider_name = request.provider.provider_name
        violations += name_violations(self.provider_name, "provider.provider_name")
        self._mask = _mask(request, violations)
        self._given = _given(request.provider, violations)
        violations += _key_violations(request)
        violations += text_violations(request.reason, request.actor)
        if request.HasField("expected_config_version") and request.expected_config_version < 0:
            violations.append(Violation("expected_config_version", "must be 0 (must not exist) or more"))
        self._root = root
        self._hosts = hosts
        self._violations = violations

    def violations(self, before: StoredProvider | None) -> list[Violation]:
        """What is wrong with it as an edit of ``before``; None means that the provider is new."""
        found = [*self._violations, *new_violations(before, self.content(before), self._hosts)]
        # What SQL has named otherwise must stay editable.
        if before is None and not re.fullmatch(NAME_SHAPE, self.provider_name):
            found.append(Violation("provider.provider_name", NAME_RULE))
        return [Violation(re.sub(r"^provider\b", self._root, each.field), each.description) for each in found]

    def merge(self, before: StoredProvider | None) -> Mapping[str, Any]:
        """All content columns after the edit of ``before``; None means that the provider is new.

        Raises:
            Refusal: INVALID_ARGUMENT with every violation at once.
        """
        if violations := self.violations(before):
            raise invalid(violations)
        return self.content(before)

    def content(self, before: StoredProvider | None) -> dict[str, Any]:
        """All content columns after the edit of ``before``, right or wrong."""
        return {
            name: getattr(before, name)
            if before is not None and name not in self._mask
            else self._given.get(name, _DEFAULTS.get(name))
            for name in EDITABLE
        }


def new_violations(
    before: StoredProvider | None, content: Mapping[str, Any], hosts: HostPolicy = STRICT
) -> list[Violation]:
    """The rules that ``content`` breaks, but for those that a column of ``before`` breaks and still has as it was.

    What SQL has stored is held to the schema's rules alone, and must stay editable elsewhere.
    """
    found = content_violations(content, hosts)
    if not found or before is None:
        return found
    stored = {name: getattr(before, name) for name in EDITABLE}
    # By columns, or one private host could be replaced by another: both break the same rule.
    kept = {each for each in content_violations(stored, hosts) if _same(stored, content, each)}
    return [each for each in found if each not in kept]


def check_content(before: StoredProvider | None, content: Mapping[str, Any], hosts: HostPolicy = STRICT) -> None:
    """Refuses content with new violations: INVALID_ARGUMENT with all of them at once."""
    if violations := new_violations(before, content, hosts):
        raise invalid(violations)


def _same(stored: Mapping[str, Any], content: Mapping[str, Any], violation: Violation) -> bool:
    column = re.split(r"[.\[]", violation.field)[1]
    same: bool = stored[column] == content[column]
    return same


def _mask(request: pb.UpsertProviderRequest, violations: list[Violation]) -> frozenset[str]:
    if not request.HasField("update_mask"):
        return frozenset(name for name in EDITABLE if _is_populated(request.provider, name))
    paths = [_snake(path) for path in request.update_mask.paths]
    if "*" in paths:
        if len(paths) > 1:
            violations.append(Violation("update_mask", "'*' stands for all fields and must stand alone"))
        return frozenset(EDITABLE)
    for path in paths:
        if path in _OUTPUT_ONLY:
            hint = "; SwitchProvider changes it" if path == "is_active" else ""
            violations.append(Violation("update_mask", f"{path} is output only{hint}"))
        elif path not in EDITABLE and path != "provider_name":
            violations.append(Violation("update_mask", f"{path[:100]!r} is not a top-level field of Provider"))
    return frozenset(paths)


def _given(provider: pb.Provider, violations: list[Violation]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name in EDITABLE:
        if not _is_populated(provider, name):
            continue
        value = getattr(provider, name)
        if name in STRUCT_FIELDS:
            value = json_from_struct(value, f"provider.{name}", violations)
        elif name == "supported_models":
            value = list(value)
        given[name] = value
    return given


def _is_populated(provider: pb.Provider, name: str) -> bool:
    field = provider.DESCRIPTOR.fields_by_name[name]
    return provider.HasField(name) if field.has_presence else bool(getattr(provider, name))


def _key_violations(request: pb.UpsertProviderRequest) -> list[Violation]:
    change = request.WhichOneof("key_change")
    if change == "clear_api_key" and not request.clear_api_key:
        return [Violation("clear_api_key", "must be true, or left out to keep the key")]
    if change == "new_api_key":
        key = request.new_api_key
        if not key or key != key.strip() or not key.isprintable() or not key.isascii():
            return [Violation("new_api_key", "must be printable ASCII without surrounding white space")]
        if len(key) > 8192:
            return [Violation("new_api_key", "must be at most 8,192 characters")]
    return []


def _snake(path: str) -> str:
    # The JSON form of a FieldMask is camelCase, but some callers send that form in binary messages too.
    return re.sub(r"([A-Z])", lambda match: "_" + match[1].lower(), path)


def configuration_from(request: pb.ApplyConfigurationRequest, hosts: HostPolicy = STRICT) -> Configuration:
    """What an ApplyConfiguration request states, where keys may be sent to ``hosts``.

    Making its contents refuses it with every violation of every provider at once.
    """
    violations = text_violations(request.reason, request.actor)
    edits: dict[str, Edit] = {}
    for index, provider in enumerate(request.providers):
        edit = Edit(
            pb.UpsertProviderRequest(provider=provider, update_mask=FieldMask(paths=["*"])),
            root=f"providers[{index}]",
            hosts=hosts,
        )
        if edit.provider_name in edits:
            violations.append(Violation(f"providers[{index}].provider_name", "is stated twice"))
        edits[edit.provider_name] = edit

    def contents(before: Mapping[str, StoredProvider]) -> Contents:
        found = [each for name, edit in edits.items() for each in edit.violations(before.get(name))]
        if violations or found:
            raise invalid([*violations, *found])
        return {name: edit.content(before.get(name)) for name, edit in edits.items()}

    return Configuration(
        contents=contents,
        active=request.active_provider_name or None,
        delete_missing=request.delete_missing,
    )
