"""Bringing all providers to a stated configuration, in one transaction and one revision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from providerd_server.diff import FieldChange, provider_changes
from providerd_server.errors import active_cannot_be, disabled, not_found
from providerd_server.snapshot import Revision, StoredProvider
from providerd_server.store import statements
from providerd_server.store.database import Connection
from providerd_server.store.providers import check_revision
from providerd_server.store.rows import provider_from_row
from providerd_server.store.sealed import SealedKey
from providerd_server.store.transaction import Transactions, current_revision


@dataclass(frozen=True, slots=True)
class ProviderDiff:
    """The difference of one provider; ``before`` is None for one that is new, ``after`` for one that is gone."""

    provider_name: str
    before: StoredProvider | None
    after: StoredProvider | None

    @property
    def changes(self) -> list[FieldChange]:
        """The fields that are different."""
        return provider_changes(self.before, self.after)


@dataclass(frozen=True, slots=True)
class Applied:
    """The outcome of applying a configuration: the differences, and the revisions before and after."""

    diffs: list[ProviderDiff]
    base: Revision
    revision: Revision

    @property
    def changed(self) -> bool:
        """Whether anything is different from before."""
        return self.revision != self.base


# All content columns of each provider, by name.
Contents = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is stated.

    Attributes:
        contents: Makes the content of each stated provider by name from the providers as they are; refuses all that
            is wrong with it.
        active: Which one is to be active; None leaves that as it is.
        delete_missing: Whether providers that are not stated are deleted.
    """

    contents: Callable[[Mapping[str, StoredProvider]], Contents]
    active: str | None
    delete_missing: bool


async def apply(
    transactions: Transactions,
    stated: Configuration,
    *,
    expected_revision: Revision | None,
    validate_only: bool,
    reason: str,
    actor: str,
) -> Applied:
    """Makes what is stated true. Keys are kept.

    Raises:
        Refusal: Whatever any single one of the changes would be refused with; then nothing is changed.
    """

    async def work(connection: Connection, base: Revision) -> Applied:
        check_revision(base, expected_revision)
        before = await _all(connection)
        contents = stated.contents(_providers(before))
        await _save_all(connection, contents, before, actor)
        await _switch(connection, stated.active, actor)
        await _disable(connection, contents, actor)
        if stated.delete_missing:
            await _delete_all_but(connection, contents)
        after = await _all(connection)
        return Applied(compare(_providers(before), _providers(after)), base, await current_revision(connection))

    return await transactions.writing(work, reason=reason, actor=actor, dry_run=validate_only)


def compare(before: Mapping[str, StoredProvider], after: Mapping[str, StoredProvider]) -> list[ProviderDiff]:
    """The providers that are different, in order of their names."""
    diffs = [ProviderDiff(name, before.get(name), after.get(name)) for name in sorted({*before, *after})]
    return [diff for diff in diffs if diff.changes]


Rows = dict[str, tuple[StoredProvider, SealedKey | None]]


async def _all(connection: Connection) -> Rows:
    """All providers by name, each with its key."""
    rows = await statements.find_all(connection)
    return {row["provider_name"]: (provider_from_row(row), SealedKey.in_row(row)) for row in rows}


def _providers(rows: Rows) -> dict[str, StoredProvider]:
    return {name: provider for name, (provider, _) in rows.items()}


async def _save_all(connection: Connection, contents: Contents, before: Rows, actor: str) -> None:
    for name, content in sorted(contents.items()):
        old, key = before.get(name, (None, None))
        # The one that is active can only be disabled after the switch to another.
        enabled = content["is_enabled"] or (old is not None and old.is_active)
        await statements.save(connection, name, {**content, "is_enabled": enabled}, key, actor, new=old is None)


async def _switch(connection: Connection, active: str | None, actor: str) -> None:
    if active is None:
        return
    row = await statements.find(connection, active)
    if row is None:
        raise not_found(active)
    if not row["is_enabled"]:
        raise disabled(active)
    if not row["is_active"]:
        await statements.switch(connection, active, actor)


async def _disable(connection: Connection, contents: Contents, actor: str) -> None:
    now = await _all(connection)
    for name, content in sorted(contents.items()):
        provider, key = now[name]
        if provider.is_enabled and not content["is_enabled"]:
            if provider.is_active:
                raise active_cannot_be("disabled", name)
            await statements.save(connection, name, content, key, actor, new=False)


async def _delete_all_but(connection: Connection, contents: Contents) -> None:
    now = await _all(connection)
    for name in sorted(now.keys() - contents.keys()):
        if now[name][0].is_active:
            raise active_cannot_be("deleted", name)
        await statements.delete(connection, name)
