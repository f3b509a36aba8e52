"""Brings a database's schema up to date from the files ``NNN_name.sql``, and takes it away again.

Each file runs in one transaction together with its line in the ledger, ``public.providerd_migrations``, so it
is either applied and recorded or neither. The files also run by hand with ``psql -f`` and may be run twice: a
database that was set up that way is taken over by running and recording them.
"""

import asyncio
import hashlib
import random
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from asyncpg.exceptions import DeadlockDetectedError, InterfaceError, LockNotAvailableError, PostgresError

from providerd.secret import Secret
from providerd_server.store.database import Connection
from providerd_server.store.tls import STRICT, Trust, check_tls, open_connection

# One migrator at a time: the bytes of "provider" as a bigint. Held per transaction, not per session, because
# behind a transaction pooler the session that unlocks may be another than the one that locked.
LOCK_KEY = int.from_bytes(b"provider", "big")
LOCK_TIMEOUT = "60s"
CONNECT_TIMEOUT = 10.0
COMMAND_TIMEOUT = 600.0
ROLLBACK_VERSION = 999

# A migration takes more locks than any write, so among writers PostgreSQL may choose it to end a deadlock.
_ATTEMPTS = 10

_FILE_NAME = re.compile(r"(\d{3})_\w+\.sql")
# For psql alone; the runner has a transaction of its own. An empty line keeps the line numbers.
_TRANSACTION_LINES = re.compile(r"^(?:BEGIN|COMMIT);$", re.MULTILINE)

_CREATE_LEDGER = """
CREATE TABLE IF NOT EXISTS public.providerd_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE public.providerd_migrations ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON public.providerd_migrations FROM PUBLIC;
DO $$
DECLARE
    role_name name;
BEGIN
    FOR role_name IN SELECT rolname FROM pg_catalog.pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
        EXECUTE format('REVOKE ALL ON public.providerd_migrations FROM %I', role_name);
    END LOOP;
END
$$;
"""

_RECORD = """
INSERT INTO public.providerd_migrations (version, name, checksum) VALUES ($1, $2, $3) RETURNING applied_at
"""


class MigrationError(Exception):
    """The schema cannot be migrated; the message is one line: the reason and what to do."""


class DatabaseUnreachableError(MigrationError):
    """The database takes no connection, so nothing was changed."""


@dataclass(frozen=True)
class Migration:
    """One migration file.

    Attributes:
        version: the number its name starts with.
        name: the name of the file.
        checksum: the SHA-256 of the file, in hex.
        applied_at: when it was applied to the database asked about, None when it was not.
    """

    version: int
    name: str
    checksum: str
    sql: str = field(repr=False)
    applied_at: datetime | None = None


async def up(target: Connection | str, trust: Trust = STRICT) -> list[Migration]:
    """Apply what is missing, in order, and return that; nothing is missing the second time.

    Args:
        target: a connection, or the connection URL of a database.
        trust: whom to trust on the way to that URL.

    Raises:
        ConfigurationError: a connection to that URL could not be secured as it must be.
        MigrationError: the database is out of reach, an applied file was edited or removed, or a file fails;
            files before that one stay applied, that one leaves no trace.
    """
    files = migration_files()
    async with _connection(target, trust) as connection:
        async with _exclusive(connection):
            await connection.execute(_CREATE_LEDGER)
        tried = [await _apply_missing(connection, files, migration) for migration in files]
    return [migration for migration in tried if migration is not None]


async def status(target: Connection | str, trust: Trust = STRICT) -> list[Migration]:
    """Return all migrations in order, with ``applied_at`` set for those that the database has.

    Raises:
        MigrationError: the database is out of reach, or an applied file was edited or removed.
    """
    files = migration_files()
    async with _connection(target, trust) as connection:
        ledger: Mapping[int, Migration] = {}
        if await connection.fetchval("SELECT to_regclass('public.providerd_migrations') IS NOT NULL"):
            ledger = await _read_ledger(connection)
    _compare(files, ledger)
    return [
        replace(file, applied_at=ledger[file.version].applied_at) if file.version in ledger else file for file in files
    ]


async def rollback(target: Connection | str, trust: Trust = STRICT) -> None:
    """Drop everything the migrations made, the data and the ledger included. There is no way back.

    Raises:
        MigrationError: the database is out of reach, or the rollback file fails, and nothing was dropped.
    """
    migration = _read_files()[ROLLBACK_VERSION]
    async with _connection(target, trust) as connection, _exclusive(connection):
        await _execute(connection, migration)
        await connection.execute("DROP TABLE IF EXISTS public.providerd_migrations")


def migration_files() -> list[Migration]:
    """Return the migrations in order, without the rollback.

    Raises:
        MigrationError: there are none, or two have one number.
    """
    return [migration for version, migration in sorted(_read_files().items()) if version != ROLLBACK_VERSION]


def migration_directory() -> Traversable:
    """Return where the files are: inside the package when it comes from a wheel, beside it in a checkout."""
    packaged = resources.files("providerd_server") / "migrations"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "migrations"


def _read_files() -> dict[int, Migration]:
    directory = migration_directory()
    files: dict[int, Migration] = {}
    for entry in directory.iterdir() if directory.is_dir() else ():
        if match := _FILE_NAME.fullmatch(entry.name):
            version, content = int(match[1]), entry.read_bytes()
            if version in files:
                raise MigrationError(f"{files[version].name} and {entry.name} have one number: renumber the newer")
            files[version] = Migration(version, entry.name, hashlib.sha256(content).hexdigest(), sql=content.decode())
    if not files.keys() - {ROLLBACK_VERSION} or ROLLBACK_VERSION not in files:
        raise MigrationError(f"the migration files are not in {directory}: install providerd again")
    return files


@asynccontextmanager
async def _connection(target: Connection | str, trust: Trust) -> AsyncIterator[Connection]:
    """Yield ``target`` or a connection to it, and turn the failures of both into MigrationError."""
    connection = await _connect(Secret(target), trust) if isinstance(target, str) else target
    try:
        try:
            yield connection
        finally:
            if connection is not target:
                await connection.close(timeout=CONNECT_TIMEOUT)
    except LockNotAvailableError:
        raise MigrationError(
            f"waited {LOCK_TIMEOUT} for another migration or a long transaction: try again when it has ended"
        ) from None
    except (OSError, PostgresError, InterfaceError) as error:
        raise MigrationError(f"the database failed: {_one_line(error)}") from error


async def _connect(url: Secret, trust: Trust) -> Connection:
    check_tls(url, trust)
    try:
        # Behind a transaction pooler a prepared statement may not be found again.
        return await open_connection(
            url, trust, timeout=CONNECT_TIMEOUT, command_timeout=COMMAND_TIMEOUT, statement_cache_size=0
        )
    except ValueError:
        # Its text may quote a part of the password, as when that holds an unquoted "@" or "/".
        raise MigrationError(
            "the connection URL cannot be read: write special characters in its password as %XX"
        ) from None
    except (OSError, PostgresError, InterfaceError) as error:
        raise DatabaseUnreachableError(f"cannot connect to the database: {_one_line(error)}") from None


@asynccontextmanager
async def _exclusive(connection: Connection) -> AsyncIterator[None]:
    """Run a transaction that no other migrator runs at the same time."""
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        await connection.execute(f"SELECT pg_advisory_xact_lock({LOCK_KEY})")
        yield


async def _read_ledger(connection: Connection) -> dict[int, Migration]:
    rows = await connection.fetch("SELECT version, name, checksum, applied_at FROM public.providerd_migrations")
    return {row["version"]: Migration(**row, sql="") for row in rows}


def _compare(files: list[Migration], ledger: Mapping[int, Migration]) -> None:
    """Refuse to go on when a file that was applied is not what it was."""
    present = {migration.version: migration for migration in files}
    for version, applied in sorted(ledger.items()):
        if version not in present:
            raise MigrationError(
                f"{applied.name} was applied to this database but is missing here: "
                "use a release of providerd at least as new as the one that applied it"
            )
        if present[version].checksum != applied.checksum:
            raise MigrationError(
                f"{present[version].name} was edited after it was applied "
                f"(checksum {present[version].checksum[:12]}, applied as {applied.checksum[:12]}): "
                "restore it, and put the change into a new file"
            )


async def _apply_missing(connection: Connection, files: list[Migration], migration: Migration) -> Migration | None:
    """Apply one unless it is applied already; again when it lost a deadlock, which leaves no trace of it."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            async with _exclusive(connection):
                ledger = await _read_ledger(connection)
                _compare(files, ledger)
                return None if migration.version in ledger else await _apply(connection, migration)
        except DeadlockDetectedError as error:
            if attempt == _ATTEMPTS:
                raise MigrationError(f"{migration.name} failed and was undone: {_one_line(error)}") from error
            await asyncio.sleep(random.uniform(0, 0.2))  # noqa: S311 - spreads attempts, protects nothing
    raise AssertionError("unreachable: the last attempt returns or raises")


async def _apply(connection: Connection, migration: Migration) -> Migration:
    await _execute(connection, migration)
    applied_at = await connection.fetchval(
        _RECORD,
        *(migration.version, migration.name, migration.checksum),
    )
    return replace(migration, applied_at=applied_at)


async def _execute(connection: Connection, migration: Migration) -> None:
    try:
        await connection.execute(_TRANSACTION_LINES.sub("", migration.sql))
    except (LockNotAvailableError, DeadlockDetectedError):
        raise
    except PostgresError as error:
        raise MigrationError(f"{migration.name} failed and was undone: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    # The detail of a PostgreSQL error may quote a row, and a row may hold a key.
    message = str(error).partition("\nDETAIL:")[0]
    return " ".join(message.split()) or type(error).__name__
