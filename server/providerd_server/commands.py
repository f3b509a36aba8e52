"""The commands of the ``providerd`` program that run on the server's side: serve, migrate and psql."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import click

from providerd.cli.output import print_json, print_table
from providerd.secret import Secret
from providerd_server import migrate as migrations
from providerd_server.databases import data_dir_option, database, embedded
from providerd_server.errors import ConfigurationError
from providerd_server.failures import told_in_one_line
from providerd_server.security import Security
from providerd_server.settings import Settings, load
from providerd_server.starting import (
    insecure_option,
    log_format_option,
    log_level_option,
    metrics_listen_option,
    print_config_option,
    print_settings,
    run,
    start_logging,
)
from providerd_server.store.tls import Trust


@click.command()
@click.option("--listen", metavar="ADDRESS[,ADDRESS]", help="host:port or unix:///path. [default: 127.0.0.1:50051]")
@data_dir_option
@click.option("--migrate/--no-migrate", default=None, help="Migrate the database first; default: only the embedded.")
@click.option("--dev", is_flag=True, default=None, help="For development: warn of weak passphrases, and allow http://.")
@insecure_option
@metrics_listen_option
@log_level_option
@log_format_option
@print_config_option
def serve(print_config: bool, **flags: Any) -> None:
    """Run the daemon.

    Without SUPABASE_DB_URL or SUPABASE_DB_HOST, in the environment or in .env, it runs on an embedded PostgreSQL of
    its own, which it migrates and fills with the initial providers.

    Everything else is a setting of the environment or of .env in the working directory: --print-config shows them.
    """
    with told_in_one_line():
        settings = load(**flags)
        if print_config:
            print_settings(settings, flags)
            return
        start_logging(settings)
        security = Security.of(settings)
        if settings.database_url is not None:
            _serve(settings, settings.database_url, security, migrate_first=bool(settings.migrate))
            return
        with embedded(settings, share=False) as postgres:
            _serve(settings, Secret(postgres.dsn()), security, migrate_first=settings.migrate is not False)


@click.group()
def migrate() -> None:
    """Bring the database's schema up to date, or take it away.

    The database is the one that `providerd serve` would use.
    """


@migrate.command()
@data_dir_option
def up(**flags: Any) -> None:
    """Apply what is missing."""
    with told_in_one_line(), database(settings := load(**flags)) as url:
        applied = run(migrations.up(url.reveal(), Trust.of(settings)))
    for migration in applied:
        click.echo(f"applied {migration.name}")
    if not applied:
        click.echo("nothing to do: the schema is up to date")


@migrate.command()
@data_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool, **flags: Any) -> None:
    """Show what is applied; exit code 1 when something is missing."""
    with told_in_one_line(), database(settings := load(**flags)) as url:
        listed = run(migrations.status(url.reveal(), Trust.of(settings)))
    if as_json:
        print_json([_as_json(migration) for migration in listed])
    else:
        print_table(("migration", "checksum", "applied"), [_as_row(migration) for migration in listed])
    if any(migration.applied_at is None for migration in listed):
        raise SystemExit(1)


@migrate.command()
@data_dir_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def rollback(yes: bool, **flags: Any) -> None:
    """Drop all tables of providerd with everything in them. There is no way back."""
    with told_in_one_line(), database(settings := load(**flags)) as url:
        if not yes:
            click.confirm("This deletes all providers, their keys and their history. Go on?", abort=True)
        run(migrations.rollback(url.reveal(), Trust.of(settings)))
    click.echo("rolled back: the schema is gone")


@click.command(context_settings={"ignore_unknown_options": True})
@data_dir_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(data_dir: Path | None, arguments: tuple[str, ...]) -> None:
    """Open psql on the embedded database, also while the daemon runs.

    ARGUMENTS go to psql as they are: `providerd psql -- -c "SELECT * FROM get_active_provider()"`.
    """
    with told_in_one_line():
        settings = load(data_dir=data_dir)
        if settings.database_url is not None:
            raise ConfigurationError("the database is not the embedded one; connect to it with a psql of your own")
        with embedded(settings) as postgres:
            done = subprocess.run(  # noqa: S603 - the bundled psql, and what the caller wants of it
                [postgres.binaries / "psql", "-d", postgres.dsn(), *arguments],
                env={**postgres.environment, "TERM": os.environ.get("TERM", "dumb"), "HOME": str(Path.home())},
                check=False,
            )
    raise SystemExit(done.returncode)


def _serve(settings: Settings, url: Secret, security: Security, *, migrate_first: bool) -> None:
    # The daemon is most of the program, and nothing to the other commands of this module.
    from providerd_server import app

    if migrate_first:
        run(migrations.up(url.reveal(), Trust.of(settings)))
    run(app.serve(settings, url, security))


def _as_row(migration: migrations.Migration) -> tuple[str, str, str]:
    when = migration.applied_at.isoformat(timespec="seconds") if migration.applied_at else "pending"
    return migration.name, migration.checksum[:12], when


def _as_json(migration: migrations.Migration) -> dict[str, Any]:
    return {
        "name": migration.name,
        "checksum": migration.checksum,
        "applied_at": migration.applied_at.isoformat() if migration.applied_at else None,
    }
