"""What calls that change something bring back. `revision` is None where it was only validated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from providerd.differences import FieldChange, ProviderDiff, changes_from
from providerd.provider import Provider, Revision
from providerd.v1 import provider_pb2 as pb

_Outcome = (
    pb.SwitchProviderResponse
    | pb.UpsertProviderResponse
    | pb.DeleteProviderResponse
    | pb.RollbackProviderResponse
    | pb.ApplyConfigurationResponse
)


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
    revision: Revision | None
    switched: bool
    warnings: tuple[SwitchWarning, ...]

    @classmethod
    def from_proto(cls, message: pb.SwitchProviderResponse) -> SwitchResult:
        """Reads the message of the API."""
        return cls(
            previous=Provider.from_proto(message.previous) if message.HasField("previous") else None,
            active=Provider.from_proto(message.active),
            revision=_revision(message),
            switched=message.switched,
            warnings=tuple(SwitchWarning(each.reason, each.message) for each in message.warnings),
        )


@dataclass(frozen=True, slots=True)
class _ContentResult:
    provider: Provider
    created: bool
    changed: bool
    revision: Revision | None
    changes: tuple[FieldChange, ...]

    @classmethod
    def from_proto(cls, message: pb.UpsertProviderResponse | pb.RollbackProviderResponse) -> Self:
        """Reads the message of the API."""
        return cls(
            provider=Provider.from_proto(message.provider),
            created=message.created,
            changed=message.changed,
            revision=_revision(message),
            changes=changes_from(message.changes),
        )


@dataclass(frozen=True, slots=True)
class UpsertResult(_ContentResult):
    """The outcome of an upsert: the provider after it, whether it is new, and what is different from before."""


@dataclass(frozen=True, slots=True)
class RollbackResult(_ContentResult):
    """The outcome of a rollback: the provider after it, whether it was gone, and what is different from before."""


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """The outcome of a deletion: the provider as it was."""

    provider: Provider
    revision: Revision | None

    @classmethod
    def from_proto(cls, message: pb.DeleteProviderResponse) -> DeleteResult:
        """Reads the message of the API."""
        return cls(Provider.from_proto(message.provider), _revision(message))


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """The outcome of applying a configuration: what is different from before, in order of names.

    `base_revision` is the one that the plan started from.
    """

    diffs: tuple[ProviderDiff, ...]
    base_revision: Revision
    revision: Revision | None

    @classmethod
    def from_proto(cls, message: pb.ApplyConfigurationResponse) -> ApplyResult:
        """Reads the message of the API."""
        return cls(
            diffs=tuple(ProviderDiff.from_proto(each) for each in message.diffs),
            base_revision=Revision.from_proto(message.base_revision),
            revision=_revision(message),
        )


def _revision(message: _Outcome) -> Revision | None:
    return Revision.from_proto(message.revision) if message.HasField("revision") else None
