"""The options and arguments that several commands share."""

from __future__ import annotations

import getpass
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from providerd.cli import security
from providerd.cli.failures import ExitCode, Failure
from providerd.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

# Seconds that a TAB may take; a shell that hangs is worse than one that does not know.
_COMPLETION_TIMEOUT = 0.5


def connection_options(command: F) -> F:
    """Adds --server, --timeout and those of TLS and tokens, which are good before and behind the name of a command.

    The help of the program shows all of them, and that of each command the first two: it is about the command.
    """
    return _connection_options(command, hidden=True)


def program_options(command: F) -> F:
    """Adds the same to the program itself."""
    return _connection_options(command, hidden=False)


def _connection_options(command: F, *, hidden: bool) -> F:
    # From the last one to the first: each goes before those that are there.
    command = click.option("--token", hidden=True, expose_value=False, is_eager=True, callback=_refuse_token)(command)
    for setting in reversed(security.SETTINGS):
        command = click.option(
            setting.option,
            setting.name,
            is_flag=setting.is_flag,
            metavar=None if setting.is_flag else setting.option.rpartition("-")[2].upper(),
            hidden=hidden,
            expose_value=False,
            callback=_remember_security,
            help=f"{setting.help} [default: ${setting.variable}]",
        )(command)
    command = click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        expose_value=False,
        callback=_remember,
        help="How long an answer may take. [default: 5]",
    )(command)
    return click.option(
        "--server",
        metavar="ADDRESS[,ADDRESS]",
        expose_value=False,
        callback=_remember,
        help="The daemon: host:port or unix:///path. [default: $PROVIDERD_SERVER, else localhost:50051]",
    )(command)


def json_option(command: F) -> F:
    """Adds --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def change_options(command: F) -> F:
    """Adds --reason and --actor, which go into the history."""
    command = click.option("--actor", metavar="NAME", default=_user, help="Who, for the history. [default: you]")(
        command
    )
    return click.option("--reason", metavar="TEXT", default="", help="Why, for the history.")(command)


def dry_run_option(command: F) -> F:
    """Adds --dry-run."""
    return click.option("--dry-run", is_flag=True, help="Check everything, say what would happen, change nothing.")(
        command
    )


def yes_option(command: F) -> F:
    """Adds --yes."""
    return click.option("--yes", is_flag=True, help="Do not ask, as scripts need it.")(command)


def expected_config_version_option(command: F) -> F:
    """Adds --expected-config-version."""
    return click.option(
        "--expected-config-version",
        type=click.IntRange(min=0),
        metavar="N",
        help="Only if this is still its config_version; 0: only if it does not exist.",
    )(command)


def name_argument(command: F) -> F:
    """Adds the name of a provider, which the shell can complete."""
    return click.argument("name", shell_complete=_names)(command)


def optional_name_argument(command: F) -> F:
    """Adds the name of a provider that may be left out."""
    return click.argument("name", required=False, shell_complete=_names)(command)


def at_option(command: F) -> F:
    """Adds --at, which looks at the past."""
    return click.option("--at", type=click.IntRange(min=1), metavar="REVISION", help="As it was at this revision.")(
        command
    )


def confirm(question: str, *, yes: bool) -> None:
    """Asks before something that is hard to undo.

    Raises:
        Failure: There is nobody to ask.
        click.Abort: The answer was not yes.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise Failure(f"{question} There is no terminal to ask at: --yes answers in advance", ExitCode.USAGE)
    click.confirm(question, abort=True, err=True)


def example(*lines: str) -> str:
    """Returns the epilog of a command's help that shows how it is used."""
    # The backspace is click's mark for a paragraph that is not to be filled.
    return "\n".join(["\b", "Example:", *(f"  {line}" for line in lines)])


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is not None and parameter.name is not None:
        setattr(context.ensure_object(Session), parameter.name, value)


def _remember_security(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value and parameter.name is not None:
        context.ensure_object(Session).security[parameter.name] = value


def _refuse_token(context: click.Context, parameter: click.Parameter, value: Any) -> None:  # noqa: ARG001 - click's
    if value is not None:
        # Said without repeating it.
        raise click.UsageError(
            "a token is no argument: other users of this machine may have seen it there by now; "
            "give --token-file, or set PROVIDERD_TOKEN"
        )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in many containers
        return f"uid {os.getuid()}"


def _names(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    session = replace(context.ensure_object(Session), timeout=_COMPLETION_TIMEOUT)
    try:
        providers = session.call(lambda client: client.list())
    except Exception:  # there is nobody to tell: the person is typing
        return []
    return [each.provider_name for each in providers if each.provider_name.startswith(incomplete)]
