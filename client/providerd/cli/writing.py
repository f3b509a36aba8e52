"""The commands that change providers: switch, upsert, enable, disable."""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING, Any

import click

from providerd.cli import output
from providerd.cli.failures import ExitCode, Failure, warn
from providerd.cli.options import change_options, connection_options, example, json_option, name_argument
from providerd.cli.session import Session, pass_session

if TYPE_CHECKING:
    from providerd.client import Client
    from providerd.provider import Revision
    from providerd.requests import SwitchResult, UpsertResult

_KEY_FIELDS = frozenset({"api_key", "apiKey", "new_api_key", "newApiKey", "credential"})


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
@change_options
@json_option
@connection_options
@pass_session
def switch(
    session: Session, *, name: str, expected_revision: int | None, reason: str, actor: str, as_json: bool
) -> None:
    """Make a provider the active one."""

    async def ask(client: Client) -> SwitchResult:
        expected = None if expected_revision is None else await _revision(client, expected_revision, session.timeout)
        return await client.switch(name, reason=reason, actor=actor, expected_revision=expected)

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
        origin = f" from {result.previous.provider_name}" if result.previous else ""
        model, number = result.active.default_model, result.revision.number
        click.echo(f"switched{origin} to {name}, model {output.printable(model)}, revision {number}")
    else:
        click.echo(f"{name} is active already, revision {result.revision.number}")


@click.command(epilog=example("providerd show groq --json | jq '.default_model = \"x\"' | providerd upsert -f -"))
@click.option(
    "-f",
    "--file",
    type=click.File(encoding="utf-8"),
    required=True,
    help="The provider as a JSON object, in snake_case or camelCase; - reads standard input.",
)
@click.option("--update-mask", metavar="FIELD[,FIELD]", help="Take only these fields; '*' takes all.")
@click.option(
    "--expected-config-version",
    type=click.IntRange(min=0),
    metavar="N",
    help="Only if this is still its config_version; 0: only if it does not exist.",
)
@click.option("--validate-only", is_flag=True, help="Check everything, change nothing.")
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
    validate_only: bool,
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
            validate_only=validate_only,
            reason=reason,
            actor=actor,
        )
    )
    verb = "create" if result.created else "change"
    if validate_only:
        done, same = f"valid: would {verb}", "valid: would not change"
    else:
        done, same = f"{verb}d", "unchanged:"
    print_outcome(result, done if result.created or result.changed else same, as_json=as_json)


@click.command(epilog=example("providerd enable openai"))
@name_argument
@change_options
@json_option
@connection_options
@pass_session
def enable(session: Session, *, name: str, reason: str, actor: str, as_json: bool) -> None:
    """Allow switching to a provider."""
    result = _set_enabled(session, name, enabled=True, reason=reason, actor=actor)
    print_outcome(result, "enabled" if result.changed else "enabled already:", as_json=as_json)


@click.command(epilog=example('providerd disable openai --reason "contract ended"'))
@name_argument
@change_options
@json_option
@connection_options
@pass_session
def disable(session: Session, *, name: str, reason: str, actor: str, as_json: bool) -> None:
    """Forbid switching to a provider. The active one cannot be disabled."""
    result = _set_enabled(session, name, enabled=False, reason=reason, actor=actor)
    print_outcome(result, "disabled" if result.changed else "disabled already:", as_json=as_json)


def print_outcome(result: UpsertResult, done: str, *, as_json: bool) -> None:
    """Prints what a change of a provider's content came to; `done` goes before its name."""
    if as_json:
        output.print_json(
            {
                "provider": output.provider_json(result.provider),
                "created": result.created,
                "changed": result.changed,
                "revision": output.revision_json(result.revision),
            }
        )
        return
    line = f"{done} {result.provider.provider_name}, config version {result.provider.config_version}"
    click.echo(f"{line}, revision {result.revision.number}" if result.revision else line)


async def _revision(client: Client, number: int, timeout: float) -> Revision:
    """Returns the revision of this number in the store that the daemon serves now."""
    from providerd.provider import Revision

    await client.start()
    await client.wait_ready(timeout)
    return Revision(client.revision.store_id if client.revision else "", number)


def _set_enabled(session: Session, name: str, *, enabled: bool, reason: str, actor: str) -> UpsertResult:
    async def ask(client: Client) -> UpsertResult:
        # An upsert would take an unknown name for a new provider, and complain about its missing fields.
        await client.get(name)
        content = {"provider_name": name, "is_enabled": enabled}
        return await client.upsert(content, update_mask=["is_enabled"], reason=reason, actor=actor)

    return session.call(ask)


def _provider(file: IO[str]) -> dict[str, Any]:
    try:
        content = json.load(file)
    except (ValueError, RecursionError) as error:
        # Not the text itself: it may hold what should not be on a screen.
        where = f" in line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else ""
        raise Failure(f"{file.name} is not JSON{where}", ExitCode.INVALID) from None
    if not isinstance(content, dict):
        raise Failure(f"{file.name} must hold one JSON object, the provider", ExitCode.INVALID)
    if keys := sorted(_KEY_FIELDS & content.keys()):
        raise Failure(
            f"{file.name} holds {', '.join(keys)}, but keys do not belong in files: remove it, "
            "and set the key with `providerd set-key`",
            ExitCode.INVALID,
        )
    return content
