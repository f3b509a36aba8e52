"""Changes of one provider, each one short transaction that is numbered by the schema's triggers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from providerd.secret import Secret
from providerd_server.diff import FieldChange, provider_changes
from providerd_server.errors import active_cannot_be, disabled, not_found, revision_mismatch, version_mismatch
from providerd_server.snapshot import Revision, StoredProvider
from providerd_server.store import statements
from providerd_server.store.database import Connection
from providerd_server.store.history import state_at
from providerd_server.store.keys import Keys, stand_in
from providerd_server.store.rows import CONTENT_COLUMNS, provider_from_row
from providerd_server.store.sealed import SealedKey
from providerd_server.store.transaction import Transactions, current_revision

# Makes all content columns from the provider as it is (None: there is none of that name); may raise ``Refusal``, and is
# asked again whenever the provider may have changed.
Merge = Callable[[StoredProvider | None], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Switched:
    """The outcome of a switch; ``previous`` and ``active`` are the same when nothing happened.

    ``key_unreadable`` says that the active one has a key that is known not to decrypt.
    """

    previous: StoredProvider | None
    active: StoredProvider
    revision: Revision
    key_unreadable: bool

    @property
    def changed(self) -> bool:
        """Whether another provider is active than before."""
        return self.previous is None or self.previous.id != self.active.id


@dataclass(frozen=True, slots=True)
class Saved:
    """The outcome of a change of content; ``before`` is None when the provider is new."""

    before: StoredProvider | None
    after: StoredProvider
    revision: Revision

    @property
    def changes(self) -> list[FieldChange]:
        """What is different from before."""
        return provider_changes(self.before, self.after)

    @property
    def changed(self) -> bool:
        """Whether anything is different from before."""
        return self.before is None or self.before.config_version != self.after.config_version


@dataclass(frozen=True, slots=True)
class Deleted:
    """The outcome of a deletion: the provider as it was."""

    provider: StoredProvider
    revision: Revision

    @property
    def changed(self) -> bool:
        """Always: without a provider there is nothing to delete."""
        return True


class Store:
    """Writes to the database. All methods raise ``Refusal`` and nothing else of the database's making.

    ``reason`` and ``actor`` are for the history. With ``validate_only`` the database checks everything and nothing is
    changed. ``expected_config_version`` refuses the change unless it is the current one; 0 means that there is none
    of that name.
    """

    def __init__(self, transactions: Transactions, keys: Keys) -> None:
        self._transactions = transactions
        self._keys = keys

    async def switch(
        self,
        provider_name: str,
        *,
        expected_revision: Revision | None = None,
        validate_only: bool = False,
        reason: str,
        actor: str,
    ) -> Switched:
        """Makes a provider the active one; does nothing when it already is."""

        async def work(connection: Connection, revision: Revision) -> Switched:
            check_revision(revision, expected_revision)
            rows = await statements.find_with_active(connection, provider_name)
            found = [provider_from_row(row) for row in rows]
            previous = next((provider for provider in found if provider.is_active), None)
            target = next((provider for provider in found if provider.provider_name == provider_name), None)
            if target is None:
                raise not_found(provider_name)
            if not target.is_enabled:
                raise disabled(provider_name)
            row = next(row for row in rows if row["provider_name"] == provider_name)
            unreadable = self._keys.is_unreadable(row)
            if target.is_active:
                return Switched(target, target, revision, unreadable)
            await statements.switch(connection, provider_name, actor)
            row = await statements.find(connection, provider_name)
            return Switched(previous, provider_from_row(row), await current_revision(connection), unreadable)

        return await self._transactions.writing(work, reason=reason, actor=actor, dry_run=validate_only)

    async def upsert(
        self,
        provider_name: str,
        merge: Merge,
        *,
        new_api_key: Secret | None = None,
        clear_api_key: bool = False,
        expected_config_version: int | None = None,
        validate_only: bool = False,
        reason: str,
        actor: str,
    ) -> Saved:
        """Creates a provider or changes it, and its key unless that is stored already for the same destination."""

        def edited(row: Any) -> tuple[StoredProvider | None, Mapping[str, Any]]:
            before = provider_from_row(row) if row else None
            check_config_version(provider_name, before, expected_config_version)
            return before, merge(before)

        ciphertext = None
        if new_api_key is not None:
            ciphertext = stand_in() if validate_only else await self._encrypted(new_api_key, provider_name, edited)

        async def work(connection: Connection, _: Revision) -> Saved:
            row = await statements.find(connection, provider_name)
            before, content = edited(row)
            key = SealedKey.in_row(row) if row and not clear_api_key else None
            if ciphertext is not None:
                fresh = SealedKey.bind(self._keys.ring.current, provider_name, content, ciphertext)
                if key is None or key.destination != fresh.destination or self._keys.of(row) != new_api_key:
                    key = fresh
            return await _save(connection, provider_name, before, content, key, actor)

        return await self._transactions.writing(work, reason=reason, actor=actor, dry_run=validate_only)

    async def rollback(
        self,
        provider_name: str,
        revision_number: int,
        *,
        check: Callable[[StoredProvider | None, Mapping[str, Any]], None],
        expected_config_version: int | None = None,
        validate_only: bool = False,
        reason: str,
        actor: str,
    ) -> Saved:
        """Brings a provider's content back to what it was at a revision; its key and being active stay as they are.

        ``check`` may refuse that content, given the provider as it is.
        """

        async def work(connection: Connection, _: Revision) -> Saved:
            row = await statements.find(connection, provider_name)
            before = provider_from_row(row) if row else None
            check_config_version(provider_name, before, expected_config_version)
            then = await state_at(connection, revision_number, provider_name, before.id if before else None)
            content = {column: getattr(then, column) for column in CONTENT_COLUMNS}
            check(before, content)
            key = SealedKey.in_row(row) if row else None
            return await _save(connection, provider_name, before, content, key, actor)

        why = f"rollback to revision {revision_number}" + (f": {reason}" if reason else "")
        return await self._transactions.writing(work, reason=why, actor=actor, dry_run=validate_only)

    async def delete(
        self,
        provider_name: str,
        *,
        expected_config_version: int | None = None,
        validate_only: bool = False,
        reason: str,
        actor: str,
    ) -> Deleted:
        """Deletes a provider and its key."""

        async def work(connection: Connection, _: Revision) -> Deleted:
            row = await statements.find(connection, provider_name)
            if row is None:
                raise not_found(provider_name)
            provider = provider_from_row(row)
            check_config_version(provider_name, provider, expected_config_version)
            if provider.is_active:
                raise active_cannot_be("deleted", provider_name)
            await statements.delete(connection, provider_name)
            return Deleted(provider, await current_revision(connection))

        return await self._transactions.writing(work, reason=reason, actor=actor, dry_run=validate_only)

    async def _encrypted(self, api_key: Secret, provider_name: str, check: Callable[[Any], object]) -> str:
        """Encrypts in a statement of its own, so that no lock is held meanwhile and no slow write logs the key.

        That takes its time, so ``check`` may refuse before, given the row as it is (None: there is none).
        """
        async with self._transactions.connection() as connection:
            check(await statements.find(connection, provider_name))
            return await self._keys.encrypt(connection, api_key)


def check_revision(current: Revision, expected: Revision | None) -> None:
    """Refuses unless ``expected`` is the newest revision, or None."""
    if expected is not None and expected != current:
        raise revision_mismatch(expected, current)


def check_config_version(provider_name: str, before: StoredProvider | None, expected: int | None) -> None:
    """Refuses unless ``expected`` is the provider's config_version, 0 for one that does not exist, or None."""
    current = before.config_version if before else 0
    if expected is not None and expected != current:
        raise version_mismatch(provider_name, expected, current)


async def _save(
    connection: Connection,
    provider_name: str,
    before: StoredProvider | None,
    content: Mapping[str, Any],
    key: SealedKey | None,
    actor: str,
) -> Saved:
    if before is not None and before.is_active and not content["is_enabled"]:
        raise active_cannot_be("disabled", provider_name)
    row = await statements.save(connection, provider_name, content, key, actor, new=before is None)
    return Saved(before, provider_from_row(row), await current_revision(connection))
