"""What was: the audit history, and the configuration as of a revision."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from providerd_server.diff import FieldChange, provider_changes
from providerd_server.errors import Kind, Refusal
from providerd_server.snapshot import Revision, StoredProvider
from providerd_server.store.database import Connection
from providerd_server.store.rows import COLUMNS
from providerd_server.store.transaction import Transactions, revision_of

_STORE = "SELECT store_id::text, revision, oldest_revision FROM llm_provider_store"

# The newest entry of each provider up to a revision; a provider is known by the id in its snapshot.
_STATES = (
    "SELECT DISTINCT ON ((h.config_snapshot ->> 'id')::integer) h.provider_name, h.action, h.config_snapshot"
    " FROM llm_provider_config_history h WHERE h.revision <= $1"
    " ORDER BY (h.config_snapshot ->> 'id')::integer, h.id DESC"
)

_ENTRIES = """
SELECT h.id, h.revision, h.provider_name, h.action, h.changed_by, h.db_user, h.changed_at, h.reason,
       h.config_snapshot, previous.config_snapshot AS previous_snapshot
FROM llm_provider_store s, llm_provider_config_history h
LEFT JOIN LATERAL (
    SELECT p.config_snapshot FROM llm_provider_config_history p
    WHERE (p.config_snapshot ->> 'id')::integer = (h.config_snapshot ->> 'id')::integer AND p.id < h.id
    ORDER BY p.id DESC LIMIT 1
) previous ON true
WHERE h.revision >= greatest(s.oldest_revision, $1)
  AND ($2::bigint IS NULL OR h.revision <= $2)
  AND ($3::text IS NULL OR h.provider_name = $3)
  AND ($4::text IS NULL OR h.action = $4)
  AND ($5::text IS NULL OR h.changed_by = $5)
  AND ($6::timestamptz IS NULL OR h.changed_at >= $6)
  AND ($7::timestamptz IS NULL OR h.changed_at < $7)
  AND ($8::bigint IS NULL OR h.id < $8)
ORDER BY h.id DESC LIMIT $9
"""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries to return; None means any."""

    first_revision: int = 0
    last_revision: int | None = None
    provider_name: str | None = None
    action: str | None = None
    actor: str | None = None
    start_time: datetime.datetime | None = None
    end_time: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One change of one provider."""

    id: int
    revision: int
    provider_name: str
    action: str
    actor: str | None
    database_user: str | None
    time: datetime.datetime
    reason: str | None
    changes: list[FieldChange]


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries, newest first; ``more`` says whether older ones match as well."""

    entries: list[Entry]
    more: bool
    revision: Revision
    oldest_revision: int


@dataclass(frozen=True, slots=True)
class Then:
    """All providers as of a revision, by name."""

    revision: Revision
    providers: dict[str, StoredProvider]


class History:
    """Reads of the history. All methods raise ``Refusal`` and nothing else of the database's making."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def entries(self, wanted: Filter, *, before_id: int | None, limit: int) -> Page:
        """The newest ``limit`` entries that match, of those below ``before_id``."""
        async with self._transactions.connection() as connection, connection.transaction(readonly=True):
            store = await connection.fetchrow(_STORE)
            rows = await connection.fetch(
                _ENTRIES,
                wanted.first_revision,
                wanted.last_revision,
                wanted.provider_name,
                wanted.action,
                wanted.actor,
                wanted.start_time,
                wanted.end_time,
                before_id,
                limit + 1,
            )
        entries = [_entry(row) for row in rows[:limit]]
        return Page(entries, len(rows) > limit, revision_of(store), store["oldest_revision"])

    async def at(self, number: int) -> Then:
        """All providers as of a revision; 0 means the newest.

        Raises:
            Refusal: OUT_OF_RANGE for a revision that is yet to come, or pruned.
        """
        async with (
            self._transactions.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            newest, number = await _checked(connection, number)
            return Then(
                Revision(newest.store_id, number),
                {state.provider_name: state for state in await _states(connection, number)},
            )


async def state_at(connection: Connection, number: int, provider_name: str, provider_id: int | None) -> StoredProvider:
    """One provider as of a revision: the one with this id, or with None the one that then had this name.

    Raises:
        Refusal: OUT_OF_RANGE for a revision that is yet to come, or pruned; NOT_FOUND when it did not exist then.
    """
    await _checked(connection, number)
    for state in await _states(connection, number):
        if state.id == provider_id or (provider_id is None and state.provider_name == provider_name):
            return state
    raise Refusal(
        Kind.NOT_FOUND,
        "PROVIDER_NOT_FOUND",
        f"provider {provider_name!r} did not exist at revision {number}; its history says when it did",
        metadata={"provider_name": provider_name, "revision": str(number)},
    )


async def _checked(connection: Connection, number: int) -> tuple[Revision, int]:
    """The newest revision, and ``number`` with 0 made into the newest."""
    store = await connection.fetchrow(_STORE)
    newest, oldest = revision_of(store), store["oldest_revision"]
    number = number or newest.number
    if number > newest.number:
        raise _out_of_range("REVISION_UNKNOWN", f"revision {number} is yet to come", newest.number, oldest)
    if number < oldest:
        raise _out_of_range("REVISION_PRUNED", f"revision {number} is pruned", newest.number, oldest)
    return newest, number


async def _states(connection: Connection, number: int) -> list[StoredProvider]:
    rows = await connection.fetch(_STATES, number)
    states = [provider_from_snapshot(row["config_snapshot"]) for row in rows if row["action"] != "deleted"]
    return sorted(states, key=lambda state: state.provider_name)


def provider_from_snapshot(snapshot: str) -> StoredProvider:
    """The provider in a ``config_snapshot``. It has no key, only its fingerprint."""
    found: Mapping[str, Any] = json.loads(snapshot)
    values = {column: found.get(column) for column in COLUMNS}
    for column in ("created_at", "updated_at"):
        values[column] = datetime.datetime.fromisoformat(str(values[column]))
    return StoredProvider(**values, key_fingerprint=found.get("key_fingerprint"))  # type: ignore[arg-type]


def _entry(row: Any) -> Entry:
    before, after = row["previous_snapshot"], row["config_snapshot"]
    old = provider_from_snapshot(before) if before is not None and row["action"] != "created" else None
    new = provider_from_snapshot(after)
    return Entry(
        id=row["id"],
        revision=row["revision"],
        provider_name=row["provider_name"],
        action=row["action"],
        actor=row["changed_by"],
        database_user=row["db_user"],
        time=row["changed_at"],
        reason=row["reason"],
        changes=provider_changes(new, None) if row["action"] == "deleted" else provider_changes(old, new),
    )


def _out_of_range(reason: str, what: str, newest: int, oldest: int) -> Refusal:
    return Refusal(
        Kind.OUT_OF_RANGE,
        reason,
        f"{what}; ask for one of {oldest} to {newest}",
        metadata={"oldest_revision": str(oldest), "newest_revision": str(newest)},
    )
