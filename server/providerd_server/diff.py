"""What is different between two states of a provider, field by field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from providerd_server.snapshot import StoredProvider


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()

# These move along with every change and say nothing about what it was; the id never changes.
_NOT_CONTENT = frozenset({"id", "config_version", "created_at", "updated_at", "updated_by", "api_key"})


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that is different; ``old`` or ``new`` is ``ABSENT`` where there is none.

    ``field`` is a path, such as ``request_builder_config.payload_structure.model``. Lists are compared whole.
    """

    field: str
    old: Any
    new: Any


def provider_changes(old: StoredProvider | None, new: StoredProvider | None) -> list[FieldChange]:
    """The fields in which two states of a provider differ; None is the state of not being there.

    A key is seen by its fingerprint only.
    """
    return list(_changes("", _content(old), _content(new)))


def _content(provider: StoredProvider | None) -> dict[str, Any]:
    if provider is None:
        return {}
    values = {name: getattr(provider, name) for name in StoredProvider.__slots__ if name not in _NOT_CONTENT}
    return {name: value for name, value in values.items() if value is not None}


def _changes(path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[FieldChange]:
    for name in [*old, *(name for name in new if name not in old)]:
        before, after = old.get(name, ABSENT), new.get(name, ABSENT)
        field = _join(path, name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _changes(field, before, after)
        elif before != after or isinstance(before, bool) is not isinstance(after, bool):
            yield FieldChange(field, before, after)


def _join(path: str, name: str) -> str:
    # As JMESPath has it, so that a name with a dot in it is not taken for two.
    part = name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name) else json.dumps(name)
    return f"{path}.{part}" if path else part
