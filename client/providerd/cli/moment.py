"""Points in time on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment_option(name: str, help_text: str) -> Callable[[F], F]:
    """Returns what adds an option for a time in ISO 8601, or for how long ago that was: 90s, 30m, 2h, 7d, 4w."""
    return click.option(name, metavar="TIME", callback=_moment, help=help_text)


def now() -> str:
    """Returns the time as the program prints it: in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        if ago := re.fullmatch(r"(\d+)\s*([smhdw])(\s+ago)?", value.strip(), re.ASCII):
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        moment = datetime.fromisoformat(value.strip())
    except (ValueError, OverflowError):
        problem = f"{value!r} is neither a time, as 2026-03-01T12:00, nor how long ago, as 2h or 7d"
        raise click.BadParameter(problem, context, parameter) from None
    # As the program prints them.
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
