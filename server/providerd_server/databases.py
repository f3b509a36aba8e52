"""Which database a command works on, the configured one or the embedded one, and the way to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from providerd.secret import Secret
from providerd_server.errors import ConfigurationError
from providerd_server.settings import Settings
from providerd_server.source.schema import check_schema
from providerd_server.store import Database, Transactions
from providerd_server.store.tls import STRICT, Trust

if TYPE_CHECKING:
    from providerd_server.embedded import EmbeddedPostgres

UNREADABLE_URL = "SUPABASE_DB_URL cannot be read: check its parts, and write special characters in its password as %XX"

data_dir_option = click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Where the embedded database lives."
)


@contextmanager
def database(settings: Settings, *, create: bool = True) -> Iterator[Secret]:
    """The URL of the configured database, or of the embedded one, which runs at least as long as the block.

    Args:
        settings: Say which one.
        create: Whether an embedded one may come into being here.

    Raises:
        ConfigurationError: There is none, or the embedded one does not start.
    """
    if settings.database_url is not None:
        yield settings.database_url
        return
    with embedded(settings, create=create) as postgres:
        yield Secret(postgres.dsn())


@contextmanager
def embedded(settings: Settings, *, share: bool = True, create: bool = True) -> Iterator[EmbeddedPostgres]:
    """The embedded PostgreSQL: started for the block, or with ``share`` the one a running daemon has.

    Raises:
        ConfigurationError: It is not installed, does not start, or is not there and not to be created.
    """
    try:
        from providerd_server.embedded import EmbeddedError, EmbeddedPostgres, default_data_dir, holds_cluster
    except ImportError:
        raise ConfigurationError(
            "no database is configured: set SUPABASE_DB_URL, or pip install 'providerd[embedded]' to have one included"
        ) from None
    try:
        data_dir = settings.data_dir or default_data_dir()
        if not create and not holds_cluster(data_dir):
            raise ConfigurationError(
                f"no database is configured, and there is no embedded one in {data_dir}:"
                " set SUPABASE_DB_URL, or run `providerd migrate up` first"
            )
        postgres = EmbeddedPostgres.attach(data_dir) if share else None
        if postgres is None:
            postgres = EmbeddedPostgres(data_dir)
            postgres.start()
    except EmbeddedError as error:
        raise ConfigurationError(str(error)) from None
    try:
        yield postgres
    finally:
        postgres.stop()


@asynccontextmanager
async def connected(url: Secret, trust: Trust = STRICT) -> AsyncIterator[Transactions]:
    """Transactions on a database that answers and has the schema, as patient as a person is.

    Raises:
        ConfigurationError: The URL cannot be read, or connections could not be secured as they must be.
        Refusal: The database cannot be reached.
        SchemaError: The schema is not there or not whole.
    """
    patience = {"connect_timeout": 10, "command_timeout": 10, "acquire_timeout": 10, "lock_timeout": 8}
    database = Database(url, trust, **patience, write_timeout=15, pool_size=1)
    async with AsyncExitStack() as stack:
        try:
            pool = await database.create_pool()
            stack.callback(pool.terminate)
            transactions = Transactions(database, pool)
            async with transactions.connection() as connection:
                await check_schema(connection)
        except ValueError:
            # Its text may quote a part of the password.
            raise ConfigurationError(UNREADABLE_URL) from None
        yield transactions
