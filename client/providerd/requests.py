"""Building requests from plain Python values, and the results of those that change something."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf import json_format
from google.protobuf.field_mask_pb2 import FieldMask

from providerd.errors import FieldViolation, InvalidArgumentError
from providerd.provider import MAX_SAFE_INTEGER, Provider, Revision
from providerd.v1 import provider_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from google.protobuf.message import Message

M = TypeVar("M", bound="Message")

# json_format refuses deeper JSON, and so does the daemon's parser.
_MAX_DEPTH = 100

_FIELDS = pb.Provider.DESCRIPTOR.fields
_SNAKE_CASE = {field.json_name: field.name for field in _FIELDS}
_STRUCTS = {field.name for field in _FIELDS if field.message_type and field.message_type.name == "Struct"}


@dataclass(frozen=True, slots=True)
class SwitchWarning:
    """Something to know about a switch that was made all the same."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class SwitchResult:
    """The outcome of a switch. `switched` is False when the provider was active already."""

    previous: Provider | None
    active: Provider
    revision: Revision
    switched: bool
    warnings: tuple[SwitchWarning, ...]

    @classmethod
    def from_proto(cls, message: pb.SwitchProviderResponse) -> SwitchResult:
        """Reads the message of the API."""
        return cls(
            previous=Provider.from_proto(message.previous) if message.HasField("previous") else None,
            active=Provider.from_proto(message.active),
            revision=Revision.from_proto(message.revision),
            switched=message.switched,
            warnings=tuple(SwitchWarning(each.reason, each.message) for each in message.warnings),
        )


@dataclass(frozen=True, slots=True)
class UpsertResult:
    """The outcome of an upsert. `revision` is None when it was only validated."""

    provider: Provider
    created: bool
    changed: bool
    revision: Revision | None

    @classmethod
    def from_proto(cls, message: pb.UpsertProviderResponse) -> UpsertResult:
        """Reads the message of the API."""
        return cls(
            provider=Provider.from_proto(message.provider),
            created=message.created,
            changed=message.changed,
            revision=Revision.from_proto(message.revision) if message.HasField("revision") else None,
        )


def switch_request(
    provider_name: str, *, reason: str, actor: str, expected_revision: Revision | None
) -> pb.SwitchProviderRequest:
    """Returns the request to switch to a provider."""
    return build(
        pb.SwitchProviderRequest,
        provider_name=provider_name,
        expected_revision=None if expected_revision is None else expected_revision.to_proto(),
        reason=reason,
        actor=actor,
    )


def upsert_request(
    provider: Mapping[str, Any],
    *,
    update_mask: Sequence[str] | None,
    api_key: str | None,
    clear_api_key: bool,
    expected_config_version: int | None,
    validate_only: bool,
    reason: str,
    actor: str,
) -> pb.UpsertProviderRequest:
    """Returns the request to create or change a provider.

    Raises:
        InvalidArgumentError: A field is unknown, has the wrong type, or holds a number JSON cannot carry exactly.
    """
    if api_key is not None and clear_api_key:
        raise _invalid("api_key", "give a new key or clear it, not both")
    key: dict[str, Any] = {"clear_api_key": True} if clear_api_key else {"new_api_key": api_key}
    mask = None if update_mask is None else FieldMask(paths=[_SNAKE_CASE.get(path, path) for path in update_mask])
    return build(
        pb.UpsertProviderRequest,
        provider=_provider(provider),
        update_mask=mask,
        expected_config_version=expected_config_version,
        validate_only=validate_only,
        reason=reason,
        actor=actor,
        **key,
    )


def build(message: Callable[..., M], **fields: Any) -> M:
    """Returns a message with these fields; None leaves one unset.

    Raises:
        InvalidArgumentError: A value does not fit its field.
    """
    try:
        return message(**{name: value for name, value in fields.items() if value is not None})
    except (TypeError, ValueError):
        pass
    # Found one by one, and described without the value: it may be a key.
    for name, value in fields.items():
        try:
            message(**{name: value})
        except (TypeError, ValueError):
            raise _invalid(name, f"a {type(value).__name__} of this value does not fit") from None
    raise _invalid("request", "its fields do not fit together")


def _provider(provider: Mapping[str, Any]) -> pb.Provider:
    values = {}
    for key, value in provider.items():
        name = _SNAKE_CASE.get(key, key)
        values[name] = _json(value, name) if name in _STRUCTS else _listed(value)
    try:
        return json_format.ParseDict(values, pb.Provider())
    except json_format.ParseError as error:
        raise InvalidArgumentError(f"the provider is not valid: {error}") from None


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _json(value: Any, path: str, depth: int = 0) -> Any:
    """Returns a value as plain JSON, refusing what a double or JSON itself would change silently."""
    if depth > _MAX_DEPTH:
        raise _invalid(path, f"nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise _invalid(path, "a key is not a string")
        return {key: _json(item, f"{path}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
    if isinstance(value, int) and abs(value) > MAX_SAFE_INTEGER:
        raise _invalid(path, "an integer beyond 2**53 loses digits in JSON: write it as a string")
    if isinstance(value, float) and not math.isfinite(value):
        raise _invalid(path, f"JSON has no number {value}")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise _invalid(path, f"a {type(value).__name__} is not a JSON value")


def _invalid(field: str, description: str) -> InvalidArgumentError:
    return InvalidArgumentError("the request is not valid", violations=[FieldViolation(field, description)])
