"""JSON as the API carries it: read-only values out of messages, and plain ones that are fit for them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from providerd.errors import FieldViolation, InvalidArgumentError

if TYPE_CHECKING:
    from google.protobuf.struct_pb2 import Struct, Value
    from google.protobuf.timestamp_pb2 import Timestamp

# The largest number up to which a JSON number (a double) holds every integer.
MAX_SAFE_INTEGER = 2**53 - 1

# What a document that nobody set reads as. It equals every empty document, and is told from them by identity.
UNSET: Final[Mapping[str, Any]] = MappingProxyType({})

# json_format refuses deeper JSON, and so does the daemon's parser.
_MAX_DEPTH = 100


def from_struct(struct: Struct) -> Mapping[str, Any]:
    """Returns a JSON object as a read-only mapping."""
    return MappingProxyType({name: from_value(value) for name, value in struct.fields.items()})


def from_value(value: Value) -> Any:
    """Returns a JSON value: objects as read-only mappings, arrays as tuples, whole numbers as ints."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return from_struct(value.struct_value)
    if kind == "list_value":
        return tuple(from_value(item) for item in value.list_value.values)
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= MAX_SAFE_INTEGER else number
    return None if kind in (None, "null_value") else getattr(value, kind)


def from_timestamp(timestamp: Timestamp) -> datetime:
    """Returns a time, in UTC."""
    return timestamp.ToDatetime(tzinfo=UTC)


def plain(value: Any) -> Any:
    """Returns a value as json.dumps() takes it: dicts, lists, and times as text in UTC."""
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


def checked(value: Any, path: str, depth: int = 0) -> Any:
    """Returns a value as plain JSON.

    Raises:
        InvalidArgumentError: It is not JSON, or a double or JSON itself would change it silently.
    """
    if depth > _MAX_DEPTH:
        raise invalid(path, f"nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise invalid(path, "a key is not a string")
        return {key: checked(item, f"{path}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [checked(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
    if isinstance(value, int) and abs(value) > MAX_SAFE_INTEGER:
        raise invalid(path, "an integer beyond 2**53 - 1 loses digits in JSON: write it as a string")
    if isinstance(value, float) and not math.isfinite(value):
        raise invalid(path, f"JSON has no number {value}")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise invalid(path, f"a {type(value).__name__} is not a JSON value")


def invalid(field: str, description: str) -> InvalidArgumentError:
    """Returns the error for one field at fault. The description never holds the value: it may be a key."""
    return InvalidArgumentError("the request is not valid", violations=[FieldViolation(field, description)])
