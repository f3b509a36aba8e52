"""A provider as plain Python values, made into the message of the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor

from providerd.document import checked, invalid
from providerd.errors import FieldViolation, InvalidArgumentError
from providerd.v1 import provider_pb2 as pb

_FIELDS = pb.Provider.DESCRIPTOR.fields_by_name
_SNAKE_CASE = {field.json_name: name for name, field in _FIELDS.items()}
_STRUCTS = {name for name, field in _FIELDS.items() if field.message_type and field.message_type.name == "Struct"}
_REPEATED = {"supported_models"}

_RULES = {
    FieldDescriptor.TYPE_STRING: "must be text",
    FieldDescriptor.TYPE_INT32: "must be a whole number of at most 2**31 - 1",
    FieldDescriptor.TYPE_BOOL: "must be true or false",
    FieldDescriptor.TYPE_MESSAGE: "must be a time as 2026-03-01T12:00:00Z",
}


def provider_message(provider: Mapping[str, Any], path: str = "") -> pb.Provider:
    """Returns the message of a provider.

    Args:
        provider: The content by field name, in snake_case or camelCase; None leaves a field unset.
        path: What goes before the names of fields at fault, as "providers[0].".

    Raises:
        InvalidArgumentError: Fields are unknown, have the wrong type, or hold a number JSON cannot carry exactly;
            `violations` names each, and shows no value.
    """
    if not isinstance(provider, Mapping):
        raise invalid(path.rstrip(".") or "provider", "must be a mapping of field names to values")
    message = pb.Provider()
    violations: list[FieldViolation] = []
    for name, value in {snake_case(key): value for key, value in provider.items()}.items():
        try:
            _set(message, name, value, f"{path}{name}")
        except InvalidArgumentError as error:
            violations += error.violations
    if violations:
        raise InvalidArgumentError("the provider is not valid", violations=violations)
    return message


def snake_case(name: str) -> str:
    """Returns the name of a field of a provider in snake_case; other names stay as they are."""
    return _SNAKE_CASE.get(name, name)


def _set(message: pb.Provider, name: str, value: Any, path: str) -> None:
    if name not in _FIELDS:
        raise invalid(path, "is not a field of a provider")
    if name in _STRUCTS and not isinstance(value, Mapping | None):
        raise invalid(path, "must be a JSON object")
    fit = checked(value, path) if name in _STRUCTS else _listed(value)
    try:
        json_format.ParseDict({name: fit}, message)
    except (json_format.ParseError, TypeError, ValueError):
        rule = "must be a list of texts" if name in _REPEATED else _RULES[_FIELDS[name].type]
        # Not with what the parser says, which repeats the value: it may be a key in the wrong place.
        raise invalid(path, rule) from None


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
