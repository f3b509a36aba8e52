"""What the daemon refuses, in terms that do not depend on how a request came in."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from providerd_server.snapshot import Revision


class Kind(enum.Enum):
    """The canonical error space; each name is that of a gRPC status code.

    Source: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
    """

    INVALID_ARGUMENT = enum.auto()
    NOT_FOUND = enum.auto()
    FAILED_PRECONDITION = enum.auto()
    ABORTED = enum.auto()
    OUT_OF_RANGE = enum.auto()
    PERMISSION_DENIED = enum.auto()
    UNAUTHENTICATED = enum.auto()
    RESOURCE_EXHAUSTED = enum.auto()
    UNAVAILABLE = enum.auto()
    UNIMPLEMENTED = enum.auto()
    INTERNAL = enum.auto()


@dataclass(frozen=True, slots=True)
class Violation:
    """One field of a request that is not as it must be.

    Attributes:
        field: Path from the request's root, for example ``provider.base_url``.
        description: What is wrong and what would be right, without the value itself where it may be secret.
    """

    field: str
    description: str


class Refusal(Exception):
    """A request that cannot be carried out, said so that people and programs can act on it.

    Args:
        kind: The canonical error kind.
        reason: A stable UPPER_SNAKE identifier.
        message: One sentence for people: what is wrong and what to do.
        metadata: Every dynamic value of the message, by name.
        violations: The offending fields, for ``INVALID_ARGUMENT``.
    """

    def __init__(
        self,
        kind: Kind,
        reason: str,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)


class ConfigurationError(Exception):
    """The daemon cannot start as it is configured; the message is one line that says what to do."""


def invalid(violations: Sequence[Violation]) -> Refusal:
    """The refusal of a request with these violations."""
    names = list(dict.fromkeys(v.field for v in violations))
    # All of them are among the violations; a status message is a header, and those are bounded.
    fields = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return Refusal(
        Kind.INVALID_ARGUMENT,
        "INVALID_FIELDS",
        f"invalid {fields}: {violations[0].description}" if len(violations) == 1 else f"invalid fields: {fields}",
        metadata={"fields": fields},
        violations=violations,
    )


def not_found(provider_name: str) -> Refusal:
    """The refusal of a name that no provider has."""
    return Refusal(
        Kind.NOT_FOUND,
        "PROVIDER_NOT_FOUND",
        f"provider {provider_name!r} not found; list the providers to see the names",
        metadata={"provider_name": provider_name},
    )


def not_ready() -> Refusal:
    """The refusal of reads before the first snapshot."""
    return Refusal(
        Kind.UNAVAILABLE,
        "NOT_READY",
        "the daemon has nothing to answer from yet; try again, and if this lasts see its log",
    )


def busy(message: str) -> Refusal:
    """The refusal of a call for which others leave no room."""
    return Refusal(Kind.UNAVAILABLE, "STORE_BUSY", message)


def disabled(provider_name: str) -> Refusal:
    """The refusal to switch to a disabled provider."""
    return Refusal(
        Kind.FAILED_PRECONDITION,
        "PROVIDER_DISABLED",
        f"Provider {provider_name} is disabled; enable it before switching to it",
        metadata={"provider_name": provider_name},
    )


def active_cannot_be(what: str, provider_name: str) -> Refusal:
    """The refusal to have the active provider "disabled" or "deleted"."""
    return Refusal(
        Kind.FAILED_PRECONDITION,
        "PROVIDER_ACTIVE",
        f"provider {provider_name!r} is the active one and cannot be {what}; switch to another first",
        metadata={"provider_name": provider_name},
    )


def revision_mismatch(expected: Revision, current: Revision) -> Refusal:
    """The refusal of a change that was decided on at another revision."""
    return Refusal(
        Kind.ABORTED,
        "REVISION_MISMATCH",
        f"the store is at revision {current.number}, not at {expected.number}; read again and decide anew",
        metadata={
            "expected_revision": str(expected.number),
            "current_revision": str(current.number),
            "current_store_id": current.store_id,
        },
    )


def version_mismatch(provider_name: str, expected: int, current: int) -> Refusal:
    """The refusal of a change that was decided on at another config_version; 0 stands for not being there."""
    return Refusal(
        Kind.ABORTED,
        "CONFIG_VERSION_MISMATCH",
        f"provider {provider_name!r} is at config_version {current}, not at {expected}; read it again and decide anew",
        metadata={
            "provider_name": provider_name,
            "expected_config_version": str(expected),
            "current_config_version": str(current),
        },
    )
