"""What the program prints: JSON for programs, aligned text for people."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.console import RenderableType
    from rich.text import Text

    from providerd.provider import Provider, Revision

# So wide that no line is ever cut or wrapped where no person looks.
_UNBOUNDED = 100_000

_STYLES = {
    "active": "bold green", "disabled": "dim", "stale": "yellow", "no": "yellow", "none": "yellow",
    "ok": "green", "warning": "yellow", "problem": "bold red", "skipped": "dim",
}  # fmt: skip


def print_json(value: Any) -> None:
    """Prints a value as JSON. ASCII only, so that no locale can break it."""
    click.echo(json.dumps(value, indent=2))


def print_json_line(value: Any) -> None:
    """Prints a value as JSON on a line of its own, and flushes."""
    click.echo(json.dumps(value))


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Prints names and values, a pair a line. Values that are too long for the terminal go on below themselves."""
    _print(_grid(pairs))


@contextmanager
def screen() -> Iterator[Callable[[Iterable[tuple[str, str]]], None]]:
    """Gives what shows names and values: on a terminal in the place of those before, elsewhere each time below them."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    if console.is_terminal and not console.is_dumb_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda pairs: live.update(_grid(pairs), refresh=True)
        return

    def show(pairs: Iterable[tuple[str, str]]) -> None:
        print_pairs(pairs)
        click.echo()

    yield show


def counted(number: int, thing: str) -> str:
    """Returns a number of things in words: "1 change", "2 changes"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def print_grid(rows: Iterable[Sequence[str]]) -> None:
    """Prints aligned rows without a heading. What is too long for the terminal goes on below itself, in its column."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    for row in rows:
        while len(grid.columns) < len(row):
            grid.add_column(overflow="fold")
        grid.add_row(*map(_cell, row))
    _print(grid)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table, a row a line. On a terminal that is too narrow, long cells end in an ellipsis."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="ellipsis")
    for row in rows:
        table.add_row(*map(_cell, row))
    _print(table)


def print_lines(lines: Iterable[Text], *, err: bool = False) -> None:
    """Prints lines of text, on standard error where asked."""
    from rich.console import Group

    _print(Group(*lines), err=err)


def columns(*, err: bool = False) -> int | None:
    """Returns the width of the terminal, or None when the output goes elsewhere."""
    from rich.console import Console

    console = Console(stderr=err)
    return console.width if console.is_terminal else None


def printable(text: str) -> str:
    """Returns the text with control characters escaped: names and messages come from elsewhere."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def full_name(provider: Provider) -> str:
    """Returns both names of a provider: the one for programs and the one for people."""
    return f"{provider.provider_name} ({provider.display_name})"


def state(provider: Provider) -> str:
    """Returns whether a provider is active, enabled or disabled."""
    if provider.is_active:
        return "active"
    return "enabled" if provider.is_enabled else "disabled"


def provider_json(provider: Provider) -> dict[str, Any]:
    """Returns the fields of a provider in the order of the API, the documents among them sorted by key.

    Unset fields are left out: upserting the result changes nothing.
    """
    return {name: sorted_json(value) for name, value in provider.to_dict().items()}


def revision_json(revision: Revision | None) -> dict[str, Any] | None:
    """Returns a revision as the API has it in JSON; its number as a JSON number."""
    return None if revision is None else {"store_id": revision.store_id, "number": revision.number}


def sorted_json(value: Any) -> Any:
    """Returns JSON with sorted keys: they arrive in an order that is another each time."""
    if isinstance(value, dict):
        return {key: sorted_json(value[key]) for key in sorted(value)}
    return [sorted_json(item) for item in value] if isinstance(value, list) else value


def _grid(pairs: Iterable[tuple[str, str]]) -> RenderableType:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        grid.add_row(name, _cell(value))
    return grid


def _cell(value: str) -> RenderableType:
    from rich.text import Text

    return Text(printable(value), style=_STYLES.get(value, ""))


def _print(renderable: RenderableType, *, err: bool = False) -> None:
    from rich.console import Console

    console = Console(stderr=err)
    if not console.is_terminal:
        console = Console(stderr=err, width=_UNBOUNDED)
    with console.capture() as capture:
        console.print(renderable)
    # Through click, which flushes and so notices at once when nobody reads any more.
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()), err=err, color=console.is_terminal)
