"""The RPCs that tell what was. They read the database: history is not kept in memory."""

from __future__ import annotations

import datetime

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from providerd.v1 import provider_pb2 as pb
from providerd_server import convert
from providerd_server.errors import Violation, invalid
from providerd_server.rpc import Context, Handler, unary
from providerd_server.service.paging import fitting, make_token, page_size, read_token, wrong_token
from providerd_server.store import History
from providerd_server.store.configuration import compare
from providerd_server.store.history import Filter

_MOST_ENTRIES_OF_A_REVISION = 1000


class HistoryReads:
    """ListHistory, GetRevision and DiffRevisions."""

    def __init__(self, history: History) -> None:
        self._history = history

    def handlers(self) -> list[tuple[str, Handler]]:
        """The names and gRPC handlers of these RPCs."""
        return [
            unary(pb.ListHistoryRequest, self.list_history),
            unary(pb.GetRevisionRequest, self.get_revision),
            unary(pb.DiffRevisionsRequest, self.diff_revisions),
        ]

    async def list_history(self, request: pb.ListHistoryRequest, _: Context) -> Message:
        """A page of the history, newest first."""
        page = await self._history.entries(
            _filter(request), before_id=_entry_id(request.page_token), limit=page_size(request.page_size)
        )
        entries = [convert.entry_message(entry, page.revision.store_id) for entry in page.entries]
        fits = fitting(entries)
        more = page.more or fits < len(entries)
        return pb.ListHistoryResponse(
            entries=entries[:fits],
            next_page_token=make_token(str(entries[fits - 1].entry_id)) if more else "",
            revision=convert.revision_message(page.revision),
            oldest_revision=page.oldest_revision,
        )

    async def get_revision(self, request: pb.GetRevisionRequest, _: Context) -> Message:
        """The whole configuration as of a revision."""
        if request.number < 0:
            raise invalid([Violation("number", "must not be negative")])
        then = await self._history.at(request.number)
        only = Filter(first_revision=then.revision.number, last_revision=then.revision.number)
        page = await self._history.entries(only, before_id=None, limit=_MOST_ENTRIES_OF_A_REVISION)
        active = next((name for name, provider in then.providers.items() if provider.is_active), "")
        return pb.GetRevisionResponse(
            revision=convert.revision_message(then.revision),
            providers=[convert.provider_message(provider) for provider in then.providers.values()],
            active_provider_name=active,
            entries=[convert.entry_message(entry, then.revision.store_id) for entry in page.entries],
        )

    async def diff_revisions(self, request: pb.DiffRevisionsRequest, _: Context) -> Message:
        """What is different between two revisions."""
        violations = []
        if request.from_revision <= 0:
            violations.append(Violation("from_revision", "must be the number of a revision: 1 or more"))
        if request.to_revision < 0:
            violations.append(Violation("to_revision", "must not be negative"))
        if violations:
            raise invalid(violations)
        before = await self._history.at(request.from_revision)
        after = await self._history.at(request.to_revision)
        diffs = compare(before.providers, after.providers)
        if request.provider_name:
            diffs = [diff for diff in diffs if diff.provider_name == request.provider_name]
        return pb.DiffRevisionsResponse(
            from_revision=convert.revision_message(before.revision),
            to_revision=convert.revision_message(after.revision),
            diffs=convert.diff_messages(diffs),
        )


def _filter(request: pb.ListHistoryRequest) -> Filter:
    violations = [
        Violation(field, "must not be negative")
        for field in ("first_revision", "last_revision")
        if getattr(request, field) < 0
    ]
    if request.action and request.action not in pb.HistoryAction.values():
        violations.append(Violation("action", "must be one of HistoryAction"))
    if "\0" in request.provider_name + request.actor:
        violations.append(Violation("provider_name" if "\0" in request.provider_name else "actor", "must hold no NUL"))
    times = {field: _time(request, field, violations) for field in ("start_time", "end_time")}
    if violations:
        raise invalid(violations)
    action = pb.HistoryAction.Name(request.action).removeprefix("HISTORY_ACTION_").lower() if request.action else None
    return Filter(
        first_revision=request.first_revision,
        last_revision=request.last_revision or None,
        provider_name=request.provider_name or None,
        action=action,
        actor=request.actor or None,
        **times,
    )


def _time(request: pb.ListHistoryRequest, field: str, violations: list[Violation]) -> datetime.datetime | None:
    if not request.HasField(field):
        return None
    stamp: Timestamp = getattr(request, field)
    try:
        return stamp.ToDatetime(datetime.UTC)
    except (ValueError, OverflowError):
        violations.append(Violation(field, "must be a time between the years 1 and 9999"))
        return None


def _entry_id(page_token: str) -> int | None:
    if not page_token:
        return None
    key = read_token(page_token)
    if not key.isdecimal() or not key.isascii() or int(key) >= 2**63:
        raise wrong_token()
    return int(key)
