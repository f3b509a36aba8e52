"""Bringing all providers to a stated configuration, in one transaction and one revision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from providerd_server.diff import FieldChange, provider_changes
from providerd_server.errors import active_cannot_be, disabled, not_found
from providerd_server.snapshot import Revision, StoredProvider
from providerd_server.store import statements
from providerd_server.store.database import Connection
from providerd_server.store.providers import Merge, check_revision
from providerd_server.store.rows import provider_from_row
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


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is stated.

    Attributes:
        check: Refuses all that is wrong with it, given the providers as they are.
        providers: The content of each provider by name, made from the provider as it is.
        active: Which one is to be active; None leaves that as it is.
        delete_missing: Whether providers that are not stated are deleted.
    """

    check: Callable[[Mapping[str, StoredProvider]], None]
    providers: Mapping[str, Merge]
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
        stated.check(_providers(before))
        await _save_all(connection, stated, before, actor)
        await _switch(connection, stated, actor)
        await _disable_and_delete(connection, stated, before, actor)
        after = await _all(connection)
        return Applied(compare(_providers(before), _providers(after)), base, await current_revision(connection))

    return await transactions.writing(work, reason=reason, actor=actor, dry_run=validate_only)


def compare(before: Mapping[str, StoredProvider], after: Mapping[str, StoredProvider]) -> list[ProviderDiff]:
    """The providers that are different, in order of their names."""
    diffs = [ProviderDiff(name, before.get(name), after.get(name)) for name in sorted({*before, *after})]
    return [diff for diff in diffs if diff.changes]


Rows = dict[str, tuple[StoredProvider, str | None]]


async def _all(connection: Connection) -> Rows:
    """All providers by name, each with its ciphertext."""
    rows = await statements.find_all(connection)
    return {row["provider_name"]: (provider_from_row(row), row["api_key_encrypted"]) for row in rows}


def _providers(rows: Rows) -> dict[str, StoredProvider]:
    return {name: provider for name, (provider, _) in rows.items()}


async def _save_all(connection: Connection, stated: Configuration, before: Rows, actor: str) -> None:
    for name, merge in sorted(stated.providers.items()):
        old, ciphertext = before.get(name, (None, None))
        content = dict(merge(old))
        # The one that is active can only be disabled after the switch to another.
        content["is_enabled"] = content["is_enabled"] or (old is not None and old.is_active)
        await statements.save(connection, name, content, ciphertext, actor, new=old is None)


async def _switch(connection: Connection, stated: Configuration, actor: str) -> None:
    if stated.active is None:
        return
    row = await statements.find(connection, stated.active)
    if row is None:
        raise not_found(stated.active)
    if not row["is_enabled"]:
        raise disabled(stated.active)
    if not row["is_active"]:
        await statements.switch(connection, stated.active, actor)


async def _disable_and_delete(connection: Connection, stated: Configuration, before: Rows, actor: str) -> None:
    now = await _all(connection)
    for name, merge in sorted(stated.providers.items()):
        provider, ciphertext = now[name]
        content = merge(before[name][0] if name in before else None)
        if provider.is_enabled and not content["is_enabled"]:
            if provider.is_active:
                raise active_cannot_be("disabled", name)
            await statements.save(connection, name, content, ciphertext, actor, new=False)
    for name in sorted(now.keys() - stated.providers.keys()) if stated.delete_missing else ():
        if now[name][0].is_active:
            raise active_cannot_be("deleted", name)
        await statements.delete(connection, name)
