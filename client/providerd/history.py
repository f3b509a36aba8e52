"""The audit history: its entries, and the configuration as of a revision."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from providerd.differences import FieldChange, changes_from
from providerd.document import from_timestamp
from providerd.provider import Provider, Revision
from providerd.v1 import provider_pb2 as pb

if TYPE_CHECKING:
    from datetime import datetime


class HistoryAction(enum.Enum):
    """What a history entry tells of."""

    CREATED = "created"
    UPDATED = "updated"
    ACTIVATED = "activated"
    DEACTIVATED = "deactivated"
    ENABLED = "enabled"
    DISABLED = "disabled"
    KEY_CHANGED = "key_changed"
    DELETED = "deleted"

    @classmethod
    def from_proto(cls, action: pb.HistoryAction) -> HistoryAction:
        """Reads the enum of the API. An action that only newer daemons know is an update."""
        return _ACTIONS.get(action, cls.UPDATED)

    def to_proto(self) -> pb.HistoryAction:
        """Returns the enum of the API."""
        return _MESSAGES[self]


_ACTIONS: dict[pb.HistoryAction, HistoryAction] = {
    pb.HISTORY_ACTION_CREATED: HistoryAction.CREATED,
    pb.HISTORY_ACTION_UPDATED: HistoryAction.UPDATED,
    pb.HISTORY_ACTION_ACTIVATED: HistoryAction.ACTIVATED,
    pb.HISTORY_ACTION_DEACTIVATED: HistoryAction.DEACTIVATED,
    pb.HISTORY_ACTION_ENABLED: HistoryAction.ENABLED,
    pb.HISTORY_ACTION_DISABLED: HistoryAction.DISABLED,
    pb.HISTORY_ACTION_KEY_CHANGED: HistoryAction.KEY_CHANGED,
    pb.HISTORY_ACTION_DELETED: HistoryAction.DELETED,
}
_MESSAGES = {action: message for message, action in _ACTIONS.items()}


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One change of one provider. A switch makes two, of one revision.

    Attributes:
        entry_id: Orders the entries of a store.
        actor: Who did it, as the change said.
        database_user: Who did it, as the database knows them.
        changes: What is different from the provider's entry before.
    """

    entry_id: int
    revision: Revision
    provider_name: str
    action: HistoryAction
    actor: str
    database_user: str
    change_time: datetime
    reason: str
    changes: tuple[FieldChange, ...]

    @classmethod
    def from_proto(cls, message: pb.HistoryEntry) -> HistoryEntry:
        """Reads the message of the API."""
        return cls(
            entry_id=message.entry_id,
            revision=Revision.from_proto(message.revision),
            provider_name=message.provider_name,
            action=HistoryAction.from_proto(message.action),
            actor=message.actor,
            database_user=message.database_user,
            change_time=from_timestamp(message.change_time),
            reason=message.reason,
            changes=changes_from(message.changes),
        )


@dataclass(frozen=True, slots=True)
class ConfigurationAt:
    """The whole configuration as of a revision.

    Attributes:
        providers: All of them, in order of their names.
        active_provider_name: None when nobody was active.
        entries: What this revision changed.
    """

    revision: Revision
    providers: tuple[Provider, ...]
    active_provider_name: str | None
    entries: tuple[HistoryEntry, ...]

    @classmethod
    def from_proto(cls, message: pb.GetRevisionResponse) -> ConfigurationAt:
        """Reads the message of the API."""
        return cls(
            revision=Revision.from_proto(message.revision),
            providers=tuple(Provider.from_proto(each) for each in message.providers),
            active_provider_name=message.active_provider_name or None,
            entries=tuple(HistoryEntry.from_proto(each) for each in message.entries),
        )
