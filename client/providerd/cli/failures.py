"""What the program says when something fails, and the exit code that scripts can rely on."""

from __future__ import annotations

import enum
import traceback

import click
from grpc import StatusCode

from providerd.cli.output import printable
from providerd.errors import NoActiveProviderError, ProviderdError


class ExitCode(enum.IntEnum):
    """How the program ends. 130 is what shells make of Ctrl-C: 128 and the number of the signal."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    INVALID = 5
    CONFLICT = 6
    UNAVAILABLE = 7
    DENIED = 8
    INTERRUPTED = 130


EXIT_CODES = """\b
Exit codes:
  0  done
  1  something unexpected failed; doctor: a problem was found
  2  wrong usage
  3  not found: no such provider or revision, no active provider, no key
  4  refused: the state of things forbids it
  5  invalid: the fields at fault are listed
  6  conflict: it changed since you looked
  7  unavailable, or no answer in time; status: stale
  8  denied
  130  interrupted by Ctrl-C"""

_BY_STATUS = {
    StatusCode.NOT_FOUND: ExitCode.NOT_FOUND,
    StatusCode.OUT_OF_RANGE: ExitCode.NOT_FOUND,
    StatusCode.FAILED_PRECONDITION: ExitCode.REFUSED,
    StatusCode.INVALID_ARGUMENT: ExitCode.INVALID,
    StatusCode.ABORTED: ExitCode.CONFLICT,
    StatusCode.UNAVAILABLE: ExitCode.UNAVAILABLE,
    StatusCode.DEADLINE_EXCEEDED: ExitCode.UNAVAILABLE,
    StatusCode.PERMISSION_DENIED: ExitCode.DENIED,
    StatusCode.UNAUTHENTICATED: ExitCode.DENIED,
}


class Failure(click.ClickException):
    """A failure that the program itself found: one line, and the exit code that goes with it."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.code = code


def report(error: Exception, *, debug: bool) -> int:
    """Says on standard error what failed, in one line and one more per field at fault; returns the exit code."""
    if debug:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    if isinstance(error, ProviderdError):
        return _report_providerd(error)
    if isinstance(error, _NO_ARGUMENTS):
        # The message is the whole help.
        click.echo(error.format_message(), err=True)
        return ExitCode.USAGE
    if isinstance(error, click.UsageError):
        where = error.ctx.command_path if error.ctx else "providerd"
        return _say(f"{error.format_message()} (see: {where} --help)", ExitCode.USAGE)
    if isinstance(error, Failure):
        return _say(error.message, error.code)
    if isinstance(error, click.ClickException):
        return _say(error.format_message(), error.exit_code)
    if isinstance(error, click.Abort):
        interrupted = isinstance(error.__context__, KeyboardInterrupt)
        return _say("aborted", ExitCode.INTERRUPTED if interrupted else ExitCode.UNEXPECTED)
    hint = "" if debug else " (run with --debug for the traceback)"
    return _say(f"{type(error).__name__}: {error}{hint}", ExitCode.UNEXPECTED)


def warn(message: str, reason: str) -> None:
    """Says on standard error what the caller should know about something that was done all the same."""
    click.echo(f"warning: {printable(message)} [{reason}]", err=True)


# Since click 8.2 a group without a command is an error of its own; before, it just printed its help.
_NO_ARGUMENTS: tuple[type[click.UsageError], ...] = tuple(
    kind for kind in [getattr(click.exceptions, "NoArgsIsHelpError", None)] if kind is not None
)


def _report_providerd(error: ProviderdError) -> int:
    message = error.message
    if error.code is StatusCode.UNAVAILABLE and not error.reason:
        message += "; is it running there? --server or PROVIDERD_SERVER names another address"
    if error.code is StatusCode.UNAUTHENTICATED:
        message += "; --token-file or PROVIDERD_TOKEN_FILE names the file of your token"
    name = error.code.name if error.code else ""
    _say(f"{message} [{error.reason or name}]" if error.reason or name else message, ExitCode.UNEXPECTED)
    for violation in error.violations:
        click.echo(f"  {printable(violation.field)}: {printable(violation.description)}", err=True)
    if error.code is not None:
        return _BY_STATUS.get(error.code, ExitCode.UNEXPECTED)
    return ExitCode.NOT_FOUND if isinstance(error, NoActiveProviderError) else ExitCode.UNAVAILABLE


def _say(message: str, code: int) -> int:
    click.echo(f"error: {printable(' '.join(message.split()))}", err=True)
    return code
