"""The provider in the database that the settings are for."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from providerd.v1 import provider_pb2 as pb
from providerd_server.admin_settings.document import AdminSettings
from providerd_server.edit import Edit
from providerd_server.errors import Kind, Refusal
from providerd_server.snapshot import Revision, StoredProvider
from providerd_server.store import Keys, Store, Transactions
from providerd_server.store.database import Connection
from providerd_server.store.keyring import Keyring
from providerd_server.store.providers import Saved
from providerd_server.store.rows import provider_from_row
from providerd_server.store.statements import find_all
from providerd_server.store.transaction import current_revision
from providerd_server.validation.hosts import HostPolicy

_HAS_PGCRYPTO = "SELECT to_regprocedure('pgp_sym_encrypt(text,text,text)') IS NOT NULL"
# As migration 001 does it: Supabase keeps extensions in a schema of their own.
_HAS_EXTENSIONS_SCHEMA = "SELECT to_regnamespace('extensions') IS NOT NULL"


@dataclass(frozen=True, slots=True)
class State:
    """What the database holds.

    Attributes:
        provider: The provider the settings are for, with its key where that can be decrypted.
        providers: All of them, the active one first.
        revision: The newest one.
    """

    provider: StoredProvider
    providers: Sequence[StoredProvider]
    revision: Revision


class Target:
    """One provider. All methods raise ``Refusal`` for what the database refuses.

    Args:
        transactions: How to reach the database.
        ring: What keys are encrypted with.
        provider_name: Which provider.
        reason: For the history.
        actor: For the history.
        hosts: Where keys may be sent.
    """

    def __init__(
        self,
        transactions: Transactions,
        ring: Keyring,
        provider_name: str,
        *,
        reason: str,
        actor: str,
        hosts: HostPolicy,
    ) -> None:
        self._transactions = transactions
        self._keys = Keys(ring)
        self._store = Store(transactions, self._keys)
        self._provider_name = provider_name
        self._reason = reason
        self._actor = actor
        self._hosts = hosts

    async def enable_pgcrypto(self, *, dry_run: bool) -> bool:
        """Creates the extension pgcrypto if it is missing; returns whether it is there, which a dry run may leave open.

        It is a trusted extension, so that the owner of the database may create it:
        https://www.postgresql.org/docs/current/pgcrypto.html
        """
        async with self._transactions.connection() as connection:
            if await connection.fetchval(_HAS_PGCRYPTO):
                return True
        try:
            await self._transactions.writing(_create_pgcrypto, reason=self._reason, actor=self._actor, dry_run=dry_run)
        except Refusal as refusal:
            if refusal.kind is not Kind.INTERNAL:
                raise
            raise _no_pgcrypto() from refusal.__cause__
        return not dry_run

    async def state(self, *, decrypt: bool = True) -> State:
        """Reads everything; without ``decrypt`` all but the key."""
        async with self._transactions.connection() as connection:
            rows = await find_all(connection)
            revision = await current_revision(connection)
            found = [row for row in rows if row["provider_name"] == self._provider_name]
            if decrypt:
                await self._keys.learn(connection, found)
        if not found:
            raise self._not_found()
        providers = sorted((provider_from_row(row) for row in rows), key=lambda each: not each.is_active)
        provider = provider_from_row(found[0], self._keys.of(found[0]))
        return State(provider, providers, revision)

    def changes(self, before: StoredProvider, wanted: AdminSettings) -> list[str]:
        """The columns that would change; the key goes by ``api_key``. Refuses what would not be valid."""
        content = self._edit(wanted).merge(before)
        key = [] if has_key(before, wanted) else ["api_key"]
        return key + [column for column in wanted.fields if content[column] != getattr(before, column)]

    async def save(self, wanted: AdminSettings) -> Saved:
        """Encrypts the key and stores everything in one transaction: one revision, one entry of the history."""
        edit = self._edit(wanted)

        def merge(before: StoredProvider | None) -> Mapping[str, Any]:
            if before is None:
                raise self._not_found()
            return edit.merge(before)

        return await self._store.upsert(
            self._provider_name, merge, new_api_key=wanted.api_key, reason=self._reason, actor=self._actor
        )

    def _edit(self, wanted: AdminSettings) -> Edit:
        # The same request as anybody's, so that the same rules hold.
        content: dict[str, Any] = {"provider_name": self._provider_name, **wanted.fields}
        return Edit(
            pb.UpsertProviderRequest(
                provider=pb.Provider(**content),
                update_mask=FieldMask(paths=list(wanted.fields)),
                new_api_key=wanted.api_key.reveal(),
                reason=self._reason,
                actor=self._actor,
            ),
            hosts=self._hosts,
        )

    def _not_found(self) -> Refusal:
        return Refusal(
            Kind.NOT_FOUND,
            "PROVIDER_NOT_FOUND",
            f"provider {self._provider_name!r} not found: run migration 002 first, with `providerd migrate up`"
            " or psql -f migrations/002_seed_initial_providers.sql",
        )


def has_key(provider: StoredProvider, wanted: AdminSettings) -> bool:
    """Whether what is stored decrypts to the wanted key."""
    if provider.api_key is None:
        return False
    stored, key = provider.api_key.reveal(), wanted.api_key.reveal()
    return hmac.compare_digest(stored.encode(), key.encode())


async def _create_pgcrypto(connection: Connection, _: Revision) -> None:
    where = " WITH SCHEMA extensions" if await connection.fetchval(_HAS_EXTENSIONS_SCHEMA) else ""
    await connection.execute(f"CREATE EXTENSION IF NOT EXISTS pgcrypto{where}")
    if not await connection.fetchval(_HAS_PGCRYPTO):
        raise Refusal(
            Kind.FAILED_PRECONDITION,
            "PGCRYPTO_NOT_FOUND",
            "pgcrypto is in a schema outside the search_path: add it with ALTER ROLE … SET search_path",
        )


def _no_pgcrypto() -> Refusal:
    return Refusal(
        Kind.FAILED_PRECONDITION,
        "PGCRYPTO_MISSING",
        "pgcrypto is missing and cannot be created here: have the owner of the database run CREATE EXTENSION pgcrypto",
    )
