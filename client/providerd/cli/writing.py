"""The commands that change providers: switch, upsert, enable, disable."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import click

from providerd.cli import output
from providerd.cli.differences import changes_json, print_changes
from providerd.cli.failures import ExitCode, Failure, warn
from providerd.cli.files import parse_json, read_text, refuse_keys
from providerd.cli.options import (
    change_options,
    connection_options,
    dry_run_option,
    example,
    expected_config_version_option,
    json_option,
    name_argument,
)
from providerd.cli.session import Session, pass_session

if TYPE_CHECKING:
    from providerd.client import Client
    from providerd.provider import Revision
    from providerd.results import RollbackResult, SwitchResult, UpsertResult


@click.command(
    epilog=example('providerd switch openai --reason "groq is slow"', "providerd switch openai --expected-revision 7")
)
@name_argument
@click.option(
    "--expected-revision",
    type=click.IntRange(min=0),
    metavar="N",
    help="Only if this is still the newest revision, as `providerd get` showed it.",
)
@dry_run_option
@change_options
@json_option
@connection_options
@pass_session
def switch(
    session: Session,
    *,
    name: str,
    expected_revision: int | None,
    dry_run: bool,
    reason: str,
    actor: str,
    as_json: bool,
) -> None:
    """Make a provider the active one."""

    async def ask(client: Client) -> SwitchResult:
        expected = None if expected_revision is None else await _revision(client, expected_revision, session.timeout)
        return await client.switch(name, reason=reason, actor=actor, expected_revision=expected, validate_only=dry_run)

    # Only a watch tells which store numbers the revisions, also while no provider is active.
    result = session.call(ask, watch=expected_revision is not None)
    for each in result.warnings:
        warn(each.message, each.reason)
    if as_json:
        output.print_json(
            {
                "previous": result.previous and output.provider_json(result.previous),
                "active": output.provider_json(result.active),
                "revision": output.revision_json(result.revision),
                "switched": result.switched,
                "warnings": [{"reason": each.reason, "message": each.message} for each in result.warnings],
            }
        )
    elif result.switched:
        done = "would switch" if dry_run else "switched"
        origin = f" from {result.previous.provider_name}" if result.previous else ""
        model = output.printable(result.active.default_model)
        click.echo(f"{done}{origin} to {name}, model {model}{_revision_text(result.revision)}")
    else:
        click.echo(f"{name} is active already{_revision_text(result.revision)}")


@click.command(epilog=example("providerd show groq --json | jq '.default_model = \"x\"' | providerd upsert -f -"))
@click.option(
    "-f",
    "--file",
    type=click.File(encoding="utf-8"),
    required=True,
    help="The provider as a JSON object, in snake_case or camelCase; - reads standard input.",
)
@click.option("--update-mask", metavar="FIELD[,FIELD]", help="Take only these fields; '*' takes all.")
@expected_config_version_option
@dry_run_option
@click.option("--validate-only", "dry_run", is_flag=True, help="The same as --dry-run.")
@change_options
@json_option
@connection_options
@pass_session
def upsert(
    session: Session,
    *,
    file: IO[str],
    update_mask: str | None,
    expected_config_version: int | None,
    dry_run: bool,
    reason: str,
    actor: str,
    as_json: bool,
) -> None:
    """Create a provider, or change one.

    Fields that are not in the file stay as they are, unless --update-mask names them. Keys have a command of their
    own: set-key.
    """
    provider = _provider(file)
    mask = None if update_mask is None else [path.strip() for path in update_mask.split(",")]
    result = session.call(
        lambda client: client.upsert(
            provider,
            update_mask=mask,
            expected_config_version=expected_config_version,
            validate_only=dry_run,
            reason=reason,
            actor=actor,
        )
    )
    verb = "create" if result.created else "change"
    if dry_run:
        done, same = f"valid: would {verb}", "valid: would not change"
    else:
        done, same = f"{verb}d", "unchanged:"
    print_outcome(result, done if result.created or result.changed else same, as_json=as_json)


@click.command(epilog=example("providerd enable openai"))
@name_argument
@dry_run_option
@change_options
@json_option
@connection_options
@pass_session
def enable(session: Session, *, name: str, dry_run: bool, reason: str, actor: str, as_json: bool) -> None:
    """Allow switching to a provider."""
    result = _set_enabled(session, name, enabled=True, dry_run=dry_run, reason=reason, actor=actor)
    done = "would enable" if dry_run else "enabled"
    print_outcome(result, done if result.changed else "enabled already:", as_json=as_json)


@click.command(epilog=example('providerd disable openai --reason "contract ended"'))
@name_argument
@dry_run_option
@change_options
@json_option
@connection_options
@pass_session
def disable(session: Session, *, name: str, dry_run: bool, reason: str, actor: str, as_json: bool) -> None:
    """Forbid switching to a provider. The active one cannot be disabled."""
    result = _set_enabled(session, name, enabled=False, dry_run=dry_run, reason=reason, actor=actor)
    done = "would disable" if dry_run else "disabled"
    print_outcome(result, done if result.changed else "disabled already:", as_json=as_json)


def print_outcome(result: UpsertResult | RollbackResult, done: str, *, as_json: bool) -> None:
    """Prints what a change of a provider's content came to; `done` goes before its name.

    Where it was only tried, the fields that would change follow.
    """
    if as_json:
        output.print_json(
            {
                "provider": output.provider_json(result.provider),
                "created": result.created,
                "changed": result.changed,
                "changes": changes_json(result.changes),
                "revision": output.revision_json(result.revision),
            }
        )
        return
    version = result.provider.config_version
    click.echo(f"{done} {result.provider.provider_name}, config version {version}{_revision_text(result.revision)}")
    if result.revision is None and result.changes:
        print_changes(result.changes)


async def _revision(client: Client, number: int, timeout: float) -> Revision:
    """Returns the revision of this number in the store that the daemon serves now."""
    from providerd.provider import Revision

    await client.start()
    await client.wait_ready(timeout)
    return Revision(client.revision.store_id if client.revision else "", number)


def _revision_text(revision: Revision | None) -> str:
    return "" if revision is None else f", revision {revision.number}"


def _set_enabled(session: Session, name: str, *, enabled: bool, dry_run: bool, reason: str, actor: str) -> UpsertResult:
    async def ask(client: Client) -> UpsertResult:
        # An upsert would take an unknown name for a new provider, and complain about its missing fields.
        await client.get(name)
        content = {"provider_name": name, "is_enabled": enabled}
        return await client.upsert(
            content, update_mask=["is_enabled"], validate_only=dry_run, reason=reason, actor=actor
        )

    return session.call(ask)


def _provider(file: IO[str]) -> dict[str, Any]:
    content = parse_json(read_text(file), file.name)
    if not isinstance(content, dict):
        raise Failure(f"{file.name} must hold one JSON object, the provider", ExitCode.INVALID)
    refuse_keys(content, file.name)
    return content
