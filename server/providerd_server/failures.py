"""What a command says when something goes wrong: one line, and an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from providerd.cli.failures import ExitCode, Failure
from providerd_server import migrate
from providerd_server.databases import UNREADABLE_URL
from providerd_server.errors import ConfigurationError, Kind, Refusal
from providerd_server.source.schema import SchemaError

_EXIT_CODES = {
    Kind.NOT_FOUND: ExitCode.NOT_FOUND,
    Kind.FAILED_PRECONDITION: ExitCode.REFUSED,
    Kind.INVALID_ARGUMENT: ExitCode.INVALID,
    Kind.ABORTED: ExitCode.CONFLICT,
    Kind.UNAVAILABLE: ExitCode.UNAVAILABLE,
    Kind.PERMISSION_DENIED: ExitCode.DENIED,
}

_INSUFFICIENT_PRIVILEGE = "42501"


@contextmanager
def told_in_one_line(what: Path | str = "a provider") -> Iterator[None]:
    """Turns what goes wrong inside into a ``Failure``. ``what`` is at fault where the database finds a violation."""
    try:
        yield
    except ConfigurationError as error:
        raise Failure(str(error), ExitCode.USAGE) from None
    except migrate.DatabaseUnreachableError as error:
        raise Failure(str(error), ExitCode.UNAVAILABLE) from None
    except (migrate.MigrationError, SchemaError) as error:
        raise Failure(str(error), ExitCode.REFUSED) from None
    except Refusal as refusal:
        raise _failure(refusal, what) from None


def _failure(refusal: Refusal, what: Path | str) -> Failure:
    cause = refusal.__cause__
    if refusal.reason == "STORE_UNREACHABLE":
        return _cannot_connect(cause)
    if refusal.reason == "DATABASE_ERROR":
        denied = refusal.metadata.get("sqlstate") == _INSUFFICIENT_PRIVILEGE
        return Failure(
            f"the database refused: {_first_line(cause)}; connect as the owner of its tables",
            ExitCode.DENIED if denied else ExitCode.UNEXPECTED,
        )
    if refusal.violations:
        found = "; ".join(f"{_plain(each.field)} {each.description}" for each in refusal.violations)
        return Failure(f"{what} is refused: {found}; correct it there, or the provider first", ExitCode.INVALID)
    return Failure(refusal.message, _EXIT_CODES.get(refusal.kind, ExitCode.UNEXPECTED))


def _cannot_connect(cause: BaseException | None) -> Failure:
    if isinstance(cause, ValueError):
        # Its text may quote a part of the password.
        return Failure(UNREADABLE_URL, ExitCode.USAGE)
    return Failure(
        f"cannot connect to the database: {_first_line(cause)};"
        " check SUPABASE_DB_URL, or SUPABASE_DB_HOST and its like, in the environment and in .env",
        ExitCode.UNAVAILABLE,
    )


def _plain(field: str) -> str:
    return "the API key" if field == "new_api_key" else field.removeprefix("provider.")


def _first_line(cause: BaseException | None) -> str:
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    # What follows in a PostgreSQL error may quote a row.
    return (str(cause).splitlines() or [type(cause).__name__])[0]
