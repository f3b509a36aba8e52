"""Changes of providers, each one short transaction that is numbered by the schema's triggers."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg
from pydantic import SecretStr

from providerd_server.errors import Kind, Refusal, not_found
from providerd_server.snapshot import Revision, StoredProvider
from providerd_server.store.database import CONNECTION_ERRORS, Connection, Database, Pool, acquired
from providerd_server.store.failures import refusal_from
from providerd_server.store.keys import Keys
from providerd_server.store.rows import CONTENT_COLUMNS, JSON_COLUMNS, SELECT_LIST, provider_from_row

T = TypeVar("T")

# serialization_failure and deadlock_detected are worth another try in a new transaction:
# https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html
_RETRIED = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
_ATTEMPTS = 3

_SETTINGS = (
    "SELECT set_config('lock_timeout', $1, true), set_config('providerd.actor', $2, true),"
    " set_config('providerd.reason', $3, true)"
)
_LOCK = "SELECT store_id::text, revision FROM lock_provider_store()"
_ONE = (
    f"SELECT {SELECT_LIST}, s.store_id::text, s.revision"  # noqa: S608 - constants only
    " FROM llm_provider_configs p, llm_provider_store s WHERE p.provider_name = $1"
)
_ONE_AND_ACTIVE = f"SELECT {SELECT_LIST} FROM llm_provider_configs p WHERE p.is_active OR p.provider_name = $1"  # noqa: S608
_REVISION = "SELECT store_id::text, revision FROM llm_provider_store"
_SWITCH = "SELECT switch_active_provider($1, $2)"


@dataclass(frozen=True, slots=True)
class Switched:
    """The outcome of a switch; ``previous`` and ``active`` are the same when nothing happened."""

    previous: StoredProvider | None
    active: StoredProvider
    revision: Revision


@dataclass(frozen=True, slots=True)
class Upserted:
    """The outcome of an upsert; ``before`` is None when the provider is new."""

    before: StoredProvider | None
    after: StoredProvider
    revision: Revision

    @property
    def changed(self) -> bool:
        """Whether anything is different from before."""
        return self.before is None or self.before.config_version != self.after.config_version


class _DryRun(Exception):
    def __init__(self, outcome: Upserted) -> None:
        self.outcome = outcome


class Store:
    """Writes to the database. All methods raise ``Refusal`` and nothing else of the database's making."""

    def __init__(self, database: Database, pool: Pool, keys: Keys) -> None:
        self._database = database
        self._pool = pool
        self._keys = keys

    async def switch(
        self, provider_name: str, *, expected_revision: Revision | None, reason: str, actor: str
    ) -> Switched:
        """Makes a provider the active one; does nothing when it already is."""

        async def work(connection: Connection, revision: Revision) -> Switched:
            if expected_revision is not None and expected_revision != revision:
                raise _revision_mismatch(expected_revision, revision)
            found = [provider_from_row(row) for row in await connection.fetch(_ONE_AND_ACTIVE, provider_name)]
            previous = next((provider for provider in found if provider.is_active), None)
            target = next((provider for provider in found if provider.provider_name == provider_name), None)
            if target is None:
                raise not_found(provider_name)
            if not target.is_enabled:
                raise _disabled(provider_name)
            if target.is_active:
                return Switched(previous=target, active=target, revision=revision)
            await connection.execute(_SWITCH, provider_name, actor or None)
            row = await connection.fetchrow(_ONE, provider_name)
            return Switched(previous=previous, active=provider_from_row(row), revision=_revision(row))

        return await self._write(work, reason=reason, actor=actor)

    async def upsert(
        self,
        provider_name: str,
        merge: Callable[[StoredProvider | None], Mapping[str, Any]],
        *,
        new_api_key: SecretStr | None = None,
        clear_api_key: bool = False,
        expected_config_version: int | None = None,
        validate_only: bool = False,
        reason: str,
        actor: str,
    ) -> Upserted:
        """Creates a provider or changes it.

        Args:
            provider_name: Which one.
            merge: Makes all content columns from the provider as it is (None: there is none of that name); may
                raise ``Refusal``.
            new_api_key: Replaces the key, unless it is the one already stored.
            clear_api_key: Removes the key.
            expected_config_version: Refuse unless this is the current one; 0 means there is none of that name.
            validate_only: Have the database check everything, then roll back.
            reason: For the history.
            actor: For the history.
        """
        sealed = await self._seal(new_api_key)

        async def work(connection: Connection, _: Revision) -> Upserted:
            row = await connection.fetchrow(_ONE, provider_name)
            before = provider_from_row(row) if row else None
            _check_config_version(provider_name, before, expected_config_version)
            stored = row["api_key_encrypted"] if row else None
            ciphertext = None if clear_api_key else stored
            if sealed is not None and self._keys.of(stored) != new_api_key:
                ciphertext = sealed
            after = await _save(connection, provider_name, merge(before), ciphertext, actor or None, new=row is None)
            revision = _revision(await connection.fetchrow(_REVISION))
            outcome = Upserted(before, provider_from_row(after), revision)
            if validate_only:
                raise _DryRun(outcome)
            return outcome

        try:
            return await self._write(work, reason=reason, actor=actor)
        except _DryRun as dry_run:
            return dry_run.outcome

    async def _seal(self, api_key: SecretStr | None) -> str | None:
        """Encrypts in a statement of its own, so that no lock is held meanwhile and no slow write logs the key."""
        if api_key is None:
            return None
        try:
            async with self._acquired() as connection:
                return await self._keys.encrypt(connection, api_key)
        except (*CONNECTION_ERRORS, asyncpg.exceptions.PostgresError) as error:
            raise refusal_from(error) from error

    async def _write(self, work: Callable[[Connection, Revision], Awaitable[T]], *, reason: str, actor: str) -> T:
        for attempt in range(1, _ATTEMPTS + 1):
            committing = False
            try:
                async with self._acquired() as connection:
                    async with connection.transaction():
                        lock_timeout = f"{int(self._database.lock_timeout * 1000)}ms"
                        await connection.execute(_SETTINGS, lock_timeout, actor, reason)
                        locked = await connection.fetchrow(_LOCK)
                        outcome = await work(connection, _revision(locked))
                        committing = True
                    return outcome
            except _RETRIED as error:
                if attempt == _ATTEMPTS:
                    raise refusal_from(error) from error
                await asyncio.sleep(random.uniform(0, 0.05))  # noqa: S311 - spreads retries, protects nothing
            except (*CONNECTION_ERRORS, asyncpg.exceptions.PostgresError) as error:
                raise refusal_from(error, committing=committing) from error
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _acquired(self) -> Any:
        return acquired(self._pool, wait=self._database.acquire_timeout, limit=self._database.write_timeout)


async def _save(
    connection: Connection,
    provider_name: str,
    content: Mapping[str, Any],
    ciphertext: str | None,
    actor: str | None,
    *,
    new: bool,
) -> Any:
    values = [_to_sql(column, content[column]) for column in CONTENT_COLUMNS]
    return await connection.fetchrow(_INSERT if new else _UPDATE, provider_name, ciphertext, actor, *values)


def _to_sql(column: str, value: Any) -> Any:
    return json.dumps(value) if column in JSON_COLUMNS and value is not None else value


def _statement(template: str) -> str:
    columns = ("provider_name", "api_key_encrypted", "updated_by", *CONTENT_COLUMNS)
    places = [f"${i}::jsonb" if column in JSON_COLUMNS else f"${i}" for i, column in enumerate(columns, start=1)]
    pairs = [f"{column} = {place}" for column, place in zip(columns, places, strict=True)][1:]
    return template.format(
        columns=", ".join(columns), places=", ".join(places), pairs=", ".join(pairs), row=SELECT_LIST
    )


_INSERT = _statement("INSERT INTO llm_provider_configs AS p ({columns}) VALUES ({places}) RETURNING {row}")
_UPDATE = _statement("UPDATE llm_provider_configs AS p SET {pairs} WHERE p.provider_name = $1 RETURNING {row}")


def _revision(row: Any) -> Revision:
    return Revision(store_id=row["store_id"], number=row["revision"])


def _revision_mismatch(expected: Revision, current: Revision) -> Refusal:
    return Refusal(
        Kind.ABORTED,
        "REVISION_MISMATCH",
        f"the store is at revision {current.number}, not at {expected.number}; read again and decide anew",
        metadata={
            "expected_revision": str(expected.number),
            "current_revision": str(current.number),
            "current_store_id": current.store_id,
        },
    )


def _disabled(provider_name: str) -> Refusal:
    return Refusal(
        Kind.FAILED_PRECONDITION,
        "PROVIDER_DISABLED",
        f"Provider {provider_name} is disabled; enable it before switching to it",
        metadata={"provider_name": provider_name},
    )


def _check_config_version(provider_name: str, before: StoredProvider | None, expected: int | None) -> None:
    current = before.config_version if before else 0
    if expected is None or expected == current:
        return
    raise Refusal(
        Kind.ABORTED,
        "CONFIG_VERSION_MISMATCH",
        f"provider {provider_name!r} is at config_version {current}, not at {expected}; read it again and decide anew",
        metadata={
            "provider_name": provider_name,
            "expected_config_version": str(expected),
            "current_config_version": str(current),
        },
    )
