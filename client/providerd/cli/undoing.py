"""The commands that take something back: rollback, delete. They show what they do, and ask first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from providerd.cli import output
from providerd.cli.differences import print_diff
from providerd.cli.options import (
    change_options,
    confirm,
    connection_options,
    dry_run_option,
    example,
    expected_config_version_option,
    json_option,
    name_argument,
    yes_option,
)
from providerd.cli.session import Session, pass_session
from providerd.cli.writing import print_outcome
from providerd.differences import DiffKind, ProviderDiff

if TYPE_CHECKING:
    from providerd.results import DeleteResult


@click.command(
    epilog=example("providerd rollback groq 7 --dry-run", 'providerd rollback groq 7 --reason "wrong model"')
)
@name_argument
@click.argument("revision", type=click.IntRange(min=1))
@dry_run_option
@yes_option
@expected_config_version_option
@change_options
@json_option
@connection_options
@pass_session
def rollback(
    session: Session,
    *,
    name: str,
    revision: int,
    dry_run: bool,
    yes: bool,
    expected_config_version: int | None,
    reason: str,
    actor: str,
    as_json: bool,
) -> None:
    """Bring a provider back to what it was.

    It gets the content that it had at REVISION, as a new revision. Its key stays, and so does whether it is active. One
    that was deleted comes back, without a key.
    """
    plan = session.call(
        lambda client: client.rollback(
            name,
            revision,
            expected_config_version=expected_config_version,
            validate_only=True,
            reason=reason,
            actor=actor,
        )
    )
    changed = plan.created or plan.changed
    if dry_run or not changed:
        done = "would roll back" if changed else f"as at revision {revision} already:"
        print_outcome(plan, done, as_json=as_json)
        return
    print_diff(ProviderDiff(name, DiffKind.ADDED if plan.created else DiffKind.CHANGED, plan.changes), err=as_json)
    confirm(f"Roll {name} back to revision {revision}?", yes=yes)
    # A change of content moves the version by one, so this is the version that the plan started from.
    planned_at = 0 if plan.created else plan.provider.config_version - 1
    result = session.call(
        lambda client: client.rollback(name, revision, expected_config_version=planned_at, reason=reason, actor=actor)
    )
    print_outcome(result, "rolled back", as_json=as_json)


@click.command(epilog=example("providerd delete openai", 'providerd delete openai --yes --reason "contract ended"'))
@name_argument
@dry_run_option
@yes_option
@expected_config_version_option
@change_options
@json_option
@connection_options
@pass_session
def delete(
    session: Session,
    *,
    name: str,
    dry_run: bool,
    yes: bool,
    expected_config_version: int | None,
    reason: str,
    actor: str,
    as_json: bool,
) -> None:
    """Delete a provider and its key.

    Its history stays, and `providerd rollback` brings it back, without the key. The active one cannot be deleted.
    """
    plan = session.call(
        lambda client: client.delete(
            name, expected_config_version=expected_config_version, validate_only=True, reason=reason, actor=actor
        )
    )
    if dry_run:
        _print_deletion(plan, as_json=as_json)
        return
    key = " and its key" if plan.provider.has_key else ""
    confirm(f"Delete {output.printable(output.full_name(plan.provider))}{key}?", yes=yes)
    version = plan.provider.config_version
    result = session.call(
        lambda client: client.delete(name, expected_config_version=version, reason=reason, actor=actor)
    )
    _print_deletion(result, as_json=as_json)


def _print_deletion(result: DeleteResult, *, as_json: bool) -> None:
    provider, revision = result.provider, result.revision
    if as_json:
        output.print_json({"provider": output.provider_json(provider), "revision": output.revision_json(revision)})
    elif revision is None:
        click.echo(f"would delete {provider.provider_name}, config version {provider.config_version}")
    else:
        name, number = provider.provider_name, revision.number
        click.echo(
            f"deleted {name}, revision {number}; `providerd rollback {name} {number - 1}` brings it back, without a key"
        )
