"""Between the daemon's terms and the messages of the API."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import ListValue, Struct, Value

from providerd.v1 import provider_pb2 as pb
from providerd_server.diff import ABSENT, FieldChange
from providerd_server.errors import Violation
from providerd_server.snapshot import Revision, StoredProvider
from providerd_server.store.configuration import ProviderDiff
from providerd_server.store.history import Entry

# Above this not every whole number has a double of its own, so what arrives may not be what was written.
# https://protobuf.dev/reference/protobuf/google.protobuf/#value
LARGEST_EXACT_INTEGER = 2**53 - 1

_TEXT_FIELDS = (
    "provider_name",
    "display_name",
    "description",
    "auth_scheme",
    "auth_header_template",
    "base_url",
    "endpoint_path_template",
    "http_method",
    "default_model",
    "updated_by",
    "key_fingerprint",
)
STRUCT_FIELDS = (
    "additional_headers",
    "request_builder_config",
    "response_extractor_config",
    "model_capabilities",
)


def revision_message(revision: Revision) -> pb.Revision:
    """The message of a revision."""
    return pb.Revision(store_id=revision.store_id, number=revision.number)


def revision_from(message: pb.Revision) -> Revision:
    """The revision in a message."""
    return Revision(store_id=message.store_id, number=message.number)


def source_status(age: float, *, stale: bool) -> pb.SourceStatus:
    """How fresh the daemon's picture is; an age without end is said as the longest a Duration can be sure to hold."""
    seconds = min(age, 10.0 * 365 * 86400)
    duration = Duration()
    duration.FromMilliseconds(int(seconds * 1000))
    return pb.SourceStatus(age=duration, stale=stale)


def provider_message(provider: StoredProvider) -> pb.Provider:
    """The message of a provider. It never holds a key."""
    message = pb.Provider(
        supported_models=provider.supported_models or (),
        is_active=provider.is_active,
        is_enabled=provider.is_enabled,
        config_version=provider.config_version,
        has_key=provider.has_key,
    )
    for name in _TEXT_FIELDS:
        setattr(message, name, getattr(provider, name) or "")
    for name in STRUCT_FIELDS:
        value = getattr(provider, name)
        if value is not None:
            document = getattr(message, name)
            # An empty document is there all the same, which updating it with nothing would not say.
            document.SetInParent()
            document.update(value)
    for name in ("context_window_tokens", "max_output_tokens_limit"):
        if (limit := getattr(provider, name)) is not None:
            setattr(message, name, limit)
    for name, time in (("create_time", provider.created_at), ("update_time", provider.updated_at)):
        if time is not None:
            getattr(message, name).FromDatetime(time)
    return message


def credential_message(provider: StoredProvider) -> pb.Credential | None:
    """The message of a provider's key; None when it has none, or none that can be read."""
    return pb.Credential(api_key=provider.api_key.reveal()) if provider.api_key else None


def json_from_struct(struct: Struct, path: str, violations: list[Violation]) -> dict[str, Any]:
    """The plain JSON of a Struct. Numbers that a double cannot hold exactly are added to ``violations``."""
    return {key: _json_from_value(value, f"{path}.{key}", violations) for key, value in struct.fields.items()}


def _json_from_value(value: Value, path: str, violations: list[Violation]) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return json_from_struct(value.struct_value, path, violations)
    if kind == "list_value":
        return _json_from_list(value.list_value, path, violations)
    if kind == "number_value":
        return _json_from_number(value.number_value, path, violations)
    return None if kind in (None, "null_value") else getattr(value, kind)


def _json_from_list(values: ListValue, path: str, violations: list[Violation]) -> list[Any]:
    return [_json_from_value(value, f"{path}[{index}]", violations) for index, value in enumerate(values.values)]


def _json_from_number(number: float, path: str, violations: list[Violation]) -> float | int | None:
    if not math.isfinite(number):
        violations.append(Violation(path, "must be a finite number"))
        return None
    if abs(number) > LARGEST_EXACT_INTEGER:
        violations.append(
            Violation(
                path,
                "is 2^53 or beyond, where a double does not hold every number exactly; write it as a string",
            )
        )
    return int(number) if number.is_integer() else number


def change_messages(changes: Iterable[FieldChange]) -> list[pb.FieldChange]:
    """The messages of the fields that are different."""
    messages = []
    for change in changes:
        message = pb.FieldChange(field=change.field)
        if change.old is not ABSENT:
            message.old_value.CopyFrom(_value_message(change.old))
        if change.new is not ABSENT:
            message.new_value.CopyFrom(_value_message(change.new))
        messages.append(message)
    return messages


def diff_messages(diffs: Iterable[ProviderDiff]) -> list[pb.ProviderDiff]:
    """The messages of the providers that are different."""
    return [
        pb.ProviderDiff(
            provider_name=diff.provider_name,
            kind=f"DIFF_KIND_{'ADDED' if diff.before is None else 'REMOVED' if diff.after is None else 'CHANGED'}",
            changes=change_messages(diff.changes),
        )
        for diff in diffs
    ]


def entry_message(entry: Entry, store_id: str) -> pb.HistoryEntry:
    """The message of an entry of the history."""
    message = pb.HistoryEntry(
        entry_id=entry.id,
        revision=pb.Revision(store_id=store_id, number=entry.revision),
        provider_name=entry.provider_name,
        action=f"HISTORY_ACTION_{entry.action.upper()}",
        actor=entry.actor or "",
        database_user=entry.database_user or "",
        reason=entry.reason or "",
        changes=change_messages(entry.changes),
    )
    message.change_time.FromDatetime(entry.time)
    return message


def _value_message(value: Any) -> Value:
    # Struct is what knows how to take plain JSON.
    holder = Struct()
    holder.update({"value": value})
    return holder.fields["value"]
