"""What really happened, read from the history of the database after the fact."""

from dataclasses import dataclass, field
from typing import NamedTuple

import asyncpg

_STORE = "SELECT store_id::text, revision FROM llm_provider_store"
_HISTORY = """
SELECT revision, action, provider_name, config_snapshot ->> 'id' AS row, config_snapshot ->> 'description' AS text,
    (config_snapshot ->> 'is_active')::boolean AS active, (config_snapshot ->> 'config_version')::integer AS version,
    extract(epoch FROM changed_at)::float8 AS at
FROM llm_provider_config_history ORDER BY revision, id
"""


class Content(NamedTuple):
    """What tells the active provider of one revision from that of another."""

    name: str
    text: str
    version: int


class Entry(NamedTuple):
    """One line of the history."""

    action: str
    name: str
    text: str


@dataclass
class Truth:
    """One store's past.

    Attributes:
        store_id: Which store.
        newest: Its newest revision.
        active: The active provider at each revision.
        entries: What each revision did.
        committed_at: When each was, in seconds since the epoch.
        doubled: Revisions at which more than one provider was active.
    """

    store_id: str
    newest: int
    active: dict[int, Content | None] = field(default_factory=dict)
    entries: dict[int, list[Entry]] = field(default_factory=dict)
    committed_at: dict[int, float] = field(default_factory=dict)
    doubled: list[int] = field(default_factory=list)

    @classmethod
    async def read(cls, connection: asyncpg.Connection) -> "Truth":
        """Reads it all, as of one moment."""
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            store_id, newest = await connection.fetchrow(_STORE)
            rows = await connection.fetch(_HISTORY)
        return cls.replay(store_id, newest, rows)

    @classmethod
    def replay(cls, store_id: str, newest: int, rows: list[asyncpg.Record]) -> "Truth":
        """Makes it from the lines of a history, oldest first."""
        truth = cls(store_id, newest)
        active: dict[str, Content] = {}
        for row in rows:
            revision = row["revision"]
            if row["active"] and row["action"] != "deleted":
                active[row["row"]] = Content(row["provider_name"], row["text"] or "", row["version"])
            else:
                active.pop(row["row"], None)
            truth.entries.setdefault(revision, []).append(Entry(row["action"], row["provider_name"], row["text"] or ""))
            truth.committed_at[revision] = row["at"]
            # The last line of a revision leaves what the revision comes to.
            truth.active[revision] = next(iter(active.values()), None)
            if len(active) > 1:
                truth.doubled.append(revision)
            elif revision in truth.doubled:
                truth.doubled.remove(revision)
        return truth
