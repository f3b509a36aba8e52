"""The calls of a client that undo, audit, and state the configuration as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from providerd.calls import Calls
from providerd.differences import RevisionDiff
from providerd.history import ConfigurationAt, HistoryAction, HistoryEntry
from providerd.requests import apply_request, build, history_request
from providerd.results import ApplyResult, DeleteResult, RollbackResult
from providerd.v1 import provider_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import datetime

    from providerd.provider import Revision

# Entries hold whole documents, before and after: a page of more could outgrow a message.
_PAGE = 100


class Admin(Calls):
    """What an operator does beyond changing one provider."""

    async def delete(
        self,
        provider_name: str,
        *,
        expected_config_version: int | None = None,
        validate_only: bool = False,
        reason: str = "",
        actor: str = "",
    ) -> DeleteResult:
        """Deletes a provider and its key; its history stays.

        Args:
            provider_name: Which one.
            expected_config_version: Delete it only if this is still its version.
            validate_only: Check everything and change nothing.
            reason: Why, for the audit history; at most 1,000 characters.
            actor: Who, for the audit history; at most 255 characters.

        Raises:
            NotFoundError: There is none of that name.
            FailedPreconditionError: It is the active one.
            AbortedError: `expected_config_version` is not its version any more.
            RpcError: The call failed.
        """
        request = build(
            pb.DeleteProviderRequest,
            provider_name=provider_name,
            expected_config_version=expected_config_version,
            validate_only=validate_only,
            reason=reason,
            actor=actor,
        )
        return DeleteResult.from_proto(await self._connection.call("DeleteProvider", request))

    async def rollback(
        self,
        provider_name: str,
        revision_number: int,
        *,
        expected_config_version: int | None = None,
        validate_only: bool = False,
        reason: str = "",
        actor: str = "",
    ) -> RollbackResult:
        """Brings a provider's content back to what it was at a revision, as a new revision.

        Its key and whether it is active stay as they are. One that was deleted comes back, without a key.

        Args:
            provider_name: Which one.
            revision_number: The revision whose content it gets.
            expected_config_version: Change only if this is still its version; 0 means it must not exist.
            validate_only: Check everything and change nothing.
            reason: Why, for the audit history; at most 1,000 characters.
            actor: Who, for the audit history; at most 255 characters.

        Raises:
            NotFoundError: It did not exist at that revision.
            OutOfRangeError: The revision is yet to come, or pruned.
            AbortedError: `expected_config_version` is not its version any more.
            RpcError: The call failed.
        """
        request = build(
            pb.RollbackProviderRequest,
            provider_name=provider_name,
            revision_number=revision_number,
            expected_config_version=expected_config_version,
            validate_only=validate_only,
            reason=reason,
            actor=actor,
        )
        result = RollbackResult.from_proto(await self._connection.call("RollbackProvider", request))
        if result.revision is not None and result.provider.is_active:
            await self._shown(result.provider, result.revision)
        return result

    async def apply(
        self,
        providers: Sequence[Mapping[str, Any]],
        *,
        active: str | None = None,
        delete_missing: bool = False,
        expected_revision: Revision | None = None,
        validate_only: bool = False,
        reason: str = "",
        actor: str = "",
    ) -> ApplyResult:
        """Brings all providers to a stated configuration, in one transaction and one revision. Keys are kept.

        Args:
            providers: The whole content of each, as for upsert(); what is not populated is cleared.
            active: Which one is to be active; None leaves that as it is.
            delete_missing: Whether providers that are not stated are deleted.
            expected_revision: Apply only if this is still the newest revision.
            validate_only: Bring the plan and change nothing.
            reason: Why, for the audit history; at most 1,000 characters.
            actor: Who, for the audit history; at most 255 characters.

        Raises:
            InvalidArgumentError: A field is not acceptable; `violations` names each of every provider.
            NotFoundError: There would be none of the name `active`.
            FailedPreconditionError: The active one would be disabled or deleted.
            AbortedError: `expected_revision` is not the newest any more.
            RpcError: The call failed.
        """
        request = apply_request(
            providers,
            active=active,
            delete_missing=delete_missing,
            expected_revision=expected_revision,
            validate_only=validate_only,
            reason=reason,
            actor=actor,
        )
        result = ApplyResult.from_proto(await self._connection.call("ApplyConfiguration", request))
        if result.revision is not None and self._is_about_active(result):
            await self._shown(None, result.revision)
        return result

    def history(
        self,
        *,
        provider_name: str = "",
        action: HistoryAction | None = None,
        actor: str = "",
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        first_revision: int = 0,
        last_revision: int = 0,
        limit: int | None = None,
    ) -> AsyncIterator[HistoryEntry]:
        """Returns an async iterator over the audit history, newest first. It asks for a page when it needs one.

        Args:
            provider_name: Only changes of this provider.
            action: Only changes of this kind.
            actor: Only changes by this actor.
            start_time: Only changes at this time or later.
            end_time: Only changes before this time.
            first_revision: Only revisions with this number or a higher one.
            last_revision: Only revisions with this number or a lower one; 0 means no bound.
            limit: At most this many; None means all.

        Raises:
            InvalidArgumentError: A condition makes no sense, such as a time without a zone.
            RpcError: A call failed; raised while iterating.
        """
        request = history_request(
            provider_name=provider_name,
            action=action,
            actor=actor,
            start_time=start_time,
            end_time=end_time,
            first_revision=first_revision,
            last_revision=last_revision,
        )
        return self._entries(request, limit)

    async def revision_at(self, number: int = 0) -> ConfigurationAt:
        """Asks for the whole configuration as of a revision; 0 means the newest.

        Raises:
            OutOfRangeError: The revision is yet to come, or pruned.
            RpcError: The call failed.
        """
        request = build(pb.GetRevisionRequest, number=number)
        return ConfigurationAt.from_proto(await self._connection.call("GetRevision", request))

    async def diff(self, from_revision: int, to_revision: int = 0, provider_name: str = "") -> RevisionDiff:
        """Asks what is different between two revisions.

        Args:
            from_revision: The number of the one.
            to_revision: The number of the other; 0 means the newest.
            provider_name: Look at this provider only.

        Raises:
            OutOfRangeError: A revision is yet to come, or pruned.
            RpcError: The call failed.
        """
        request = build(
            pb.DiffRevisionsRequest,
            from_revision=from_revision,
            to_revision=to_revision,
            provider_name=provider_name,
        )
        return RevisionDiff.from_proto(await self._connection.call("DiffRevisions", request))

    async def _entries(self, request: pb.ListHistoryRequest, limit: int | None) -> AsyncIterator[HistoryEntry]:
        left = limit
        while left is None or left > 0:
            request.page_size = _PAGE if left is None else min(left, _PAGE)
            page = await self._connection.call("ListHistory", request)
            for entry in page.entries:
                yield HistoryEntry.from_proto(entry)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
            left = None if left is None else left - len(page.entries)

    def _is_about_active(self, result: ApplyResult) -> bool:
        """Says whether the watch has something to tell of it."""
        known = self._cache.provider
        return any(
            (known is not None and diff.provider_name == known.provider_name)
            or any(change.field == "is_active" for change in diff.changes)
            for diff in result.diffs
        )
