"""What is different between two states of a provider, and between two configurations."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from providerd.document import from_value
from providerd.provider import Revision
from providerd.v1 import provider_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable


class Absent(enum.Enum):
    """The type of ABSENT."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent.ABSENT
"""Stands for no value at all; None is the JSON value null."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that is different. `old` is ABSENT where there was none, `new` where there is none any more.

    The field is a path, as "request_builder_config.payload_structure.model". A key is seen by its fingerprint only.
    """

    field: str
    old: Any
    new: Any

    @classmethod
    def from_proto(cls, message: pb.FieldChange) -> FieldChange:
        """Reads the message of the API."""
        return cls(
            message.field,
            from_value(message.old_value) if message.HasField("old_value") else ABSENT,
            from_value(message.new_value) if message.HasField("new_value") else ABSENT,
        )


class DiffKind(enum.Enum):
    """What happens to one provider between two configurations."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"

    @classmethod
    def from_proto(cls, kind: pb.DiffKind) -> DiffKind:
        """Reads the enum of the API. A kind that only newer daemons know is a change."""
        return _KINDS.get(kind, cls.CHANGED)


_KINDS: dict[pb.DiffKind, DiffKind] = {
    pb.DIFF_KIND_ADDED: DiffKind.ADDED,
    pb.DIFF_KIND_REMOVED: DiffKind.REMOVED,
    pb.DIFF_KIND_CHANGED: DiffKind.CHANGED,
}


@dataclass(frozen=True, slots=True)
class ProviderDiff:
    """The difference of one provider between two configurations."""

    provider_name: str
    kind: DiffKind
    changes: tuple[FieldChange, ...]

    @classmethod
    def from_proto(cls, message: pb.ProviderDiff) -> ProviderDiff:
        """Reads the message of the API."""
        return cls(message.provider_name, DiffKind.from_proto(message.kind), changes_from(message.changes))


@dataclass(frozen=True, slots=True)
class RevisionDiff:
    """The difference between two revisions: a ProviderDiff for each provider that is not the same, by name."""

    from_revision: Revision
    to_revision: Revision
    diffs: tuple[ProviderDiff, ...]

    @classmethod
    def from_proto(cls, message: pb.DiffRevisionsResponse) -> RevisionDiff:
        """Reads the message of the API."""
        return cls(
            Revision.from_proto(message.from_revision),
            Revision.from_proto(message.to_revision),
            tuple(ProviderDiff.from_proto(each) for each in message.diffs),
        )


def changes_from(messages: Iterable[pb.FieldChange]) -> tuple[FieldChange, ...]:
    """Reads messages of the API."""
    return tuple(FieldChange.from_proto(each) for each in messages)
