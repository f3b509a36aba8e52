"""What PostgreSQL says went wrong, in the daemon's own terms."""

from __future__ import annotations

import json

import asyncpg

from providerd_server.errors import Kind, Refusal, Violation, busy, invalid
from providerd_server.store.database import CONNECTION_ERRORS

# SQLSTATEs that the schema raises; see migrations/README_MIGRATIONS.md.
PROVIDER_NOT_FOUND = "PD001"
PROVIDER_DISABLED = "PD002"
INVALID_CONFIG = "PD003"
NOT_A_CIPHERTEXT = "PD006"

# object_not_in_prerequisite_state: what a database that takes no connections at the moment answers.
NOT_IN_PREREQUISITE_STATE = "55000"

_BY_STATE = {
    PROVIDER_NOT_FOUND: (Kind.NOT_FOUND, "PROVIDER_NOT_FOUND"),
    PROVIDER_DISABLED: (Kind.FAILED_PRECONDITION, "PROVIDER_DISABLED"),
    "PD004": (Kind.FAILED_PRECONDITION, "PROVIDER_ACTIVE"),
    "PD007": (Kind.FAILED_PRECONDITION, "KEY_BOUND_TO_DESTINATION"),
    "PD008": (Kind.FAILED_PRECONDITION, "KEY_OF_ANOTHER_PROVIDER"),
}


def refusal_from(error: Exception, *, committing: bool = False) -> Refusal:
    """The refusal that tells a caller of ``error``.

    Args:
        error: What asyncpg raised.
        committing: Whether COMMIT had been sent, so that a lost connection leaves the outcome open.
    """
    if isinstance(error, CONNECTION_ERRORS):
        return _outcome_unknown() if committing else _unavailable()
    if isinstance(error, asyncpg.exceptions.PostgresError):
        return _from_server(error)
    return Refusal(Kind.INTERNAL, "INTERNAL", "the daemon failed; its log says why")


def _from_server(error: asyncpg.exceptions.PostgresError) -> Refusal:
    state = getattr(error, "sqlstate", None) or ""
    if state in _BY_STATE:
        kind, reason = _BY_STATE[state]
        # The hint is for people at psql. The detail is the provider's name, where there is one.
        name = getattr(error, "detail", None)
        return Refusal(kind, reason, error.args[0], metadata={"provider_name": name} if name else None)
    if state == INVALID_CONFIG:
        # The schema says all it found at once, as JSON.
        found = json.loads(getattr(error, "detail", None) or "[]")
        return invalid([Violation(f"provider.{each['column']}", each["message"]) for each in found])
    if state == NOT_A_CIPHERTEXT:
        return invalid([Violation("new_api_key", error.args[0])])
    if isinstance(error, asyncpg.CheckViolationError | asyncpg.NotNullViolationError | asyncpg.DataError):
        # The server's own text may quote the row, and with it more than the caller may see.
        rule = getattr(error, "constraint_name", None) or state
        return invalid([Violation(_field(error), f"refused by the database ({rule})")])
    if isinstance(error, asyncpg.LockNotAvailableError):
        return busy("another change has held the store for too long; try again")
    if state == NOT_IN_PREREQUISITE_STATE:
        return _unavailable()
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return Refusal(
            Kind.INTERNAL,
            "DATABASE_ERROR",
            "the daemon's database role may not do this; run migrations/004 and then migrations/roles.sql again",
            metadata={"sqlstate": state},
        )
    if isinstance(error, asyncpg.SerializationError | asyncpg.DeadlockDetectedError):
        return busy("the change lost a conflict several times; try again")
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError | asyncpg.InsufficientResourcesError):
        return Refusal(
            Kind.UNAVAILABLE,
            "STORE_UNWRITABLE",
            "the database does not take writes at the moment; try again later",
        )
    return Refusal(
        Kind.INTERNAL, "DATABASE_ERROR", "the database refused the change; the daemon's log says why",
        metadata={"sqlstate": state},
    )  # fmt: skip


def _field(error: asyncpg.exceptions.PostgresError) -> str:
    column = getattr(error, "column_name", None)
    return f"provider.{column}" if column else "provider"


def _unavailable() -> Refusal:
    return Refusal(
        Kind.UNAVAILABLE,
        "STORE_UNREACHABLE",
        "the database cannot be reached, so nothing was changed; reads go on from memory; try again later",
    )


def _outcome_unknown() -> Refusal:
    return Refusal(
        Kind.UNAVAILABLE,
        "OUTCOME_UNKNOWN",
        "the connection to the database broke while the change was being committed; read before trying again",
    )
