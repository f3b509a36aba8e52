"""How differences look: a heading for each provider with + - ~, and below it a line for each field."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from providerd.cli import output
from providerd.differences import ABSENT, DiffKind
from providerd.document import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence, Set

    from rich.text import Text

    from providerd.differences import FieldChange, ProviderDiff

_SIGNS = {DiffKind.ADDED: "+", DiffKind.REMOVED: "-", DiffKind.CHANGED: "~"}
_STYLES = {"+": "green", "-": "red", "~": "yellow", "=": "bold"}

# The fewest characters of a value that are shown, however narrow the terminal.
_SHORTEST = 16


def print_diffs(diffs: Iterable[ProviderDiff], *, err: bool = False) -> None:
    """Prints all differences between two configurations; which provider is active gets a line of its own."""
    found, room = list(diffs), _room(err)
    output.print_lines([*_diff_lines(found, room, besides={"is_active"}), *_switch_lines(found)], err=err)


def print_diff(diff: ProviderDiff, *, err: bool = False) -> None:
    """Prints the difference of one provider."""
    output.print_lines(_diff_lines([diff], _room(err)), err=err)


def print_changes(changes: Iterable[FieldChange]) -> None:
    """Prints the fields that are different, a line each."""
    output.print_lines(_change_lines(changes, _room(False)))


def diff_json(diff: ProviderDiff) -> dict[str, Any]:
    """Returns the difference of one provider as JSON."""
    return {"provider_name": diff.provider_name, "kind": diff.kind.value, "changes": changes_json(diff.changes)}


def changes_json(changes: Iterable[FieldChange]) -> list[dict[str, Any]]:
    """Returns changes as JSON. "old" is left out where there was no value, "new" where there is none any more."""
    return [
        {
            "field": change.field,
            **{
                name: output.sorted_json(plain(value))
                for name, value in (("old", change.old), ("new", change.new))
                if value is not ABSENT
            },
        }
        for change in changes
    ]


def _diff_lines(diffs: Iterable[ProviderDiff], room: int | None, besides: Set[str] = frozenset()) -> Iterator[Text]:
    for diff in diffs:
        hidden = besides if diff.kind is DiffKind.CHANGED else {"provider_name", "is_active"}
        changes = [change for change in diff.changes if change.field not in hidden]
        if changes or diff.kind is not DiffKind.CHANGED:
            yield _line(_SIGNS[diff.kind], diff.provider_name)
        # Of one that is gone the name says it all.
        if diff.kind is not DiffKind.REMOVED:
            yield from _change_lines(changes, room)


def _switch_lines(diffs: Sequence[ProviderDiff]) -> Iterator[Text]:
    before = [diff.provider_name for diff in diffs if _has(diff, "old")]
    after = [diff.provider_name for diff in diffs if _has(diff, "new")]
    if before or after:
        yield _line("=", f"active: {_name(before)} → {_name(after)}")


def _has(diff: ProviderDiff, side: str) -> bool:
    return any(change.field == "is_active" and getattr(change, side) is True for change in diff.changes)


def _name(names: list[str]) -> str:
    return names[0] if names else "none"


def _change_lines(changes: Iterable[FieldChange], room: int | None) -> Iterator[Text]:
    for change in changes:
        if change.old is ABSENT:
            yield _line("+", f"{change.field}: {_value(change.new, room)}", indent="  ")
        elif change.new is ABSENT:
            yield _line("-", f"{change.field}: {_value(change.old, room)}", indent="  ")
        else:
            half = None if room is None else max((room - len(change.field)) // 2, _SHORTEST)
            yield _line("~", f"{change.field}: {_value(change.old, half)} → {_value(change.new, half)}", indent="  ")


def _value(value: Any, room: int | None) -> str:
    text = json.dumps(plain(value), ensure_ascii=False, sort_keys=True)
    return text if room is None or len(text) <= room else f"{text[: room - 1]}…"


def _room(err: bool) -> int | None:
    """Returns how many characters a line has for a field and its values; None where nobody looks."""
    columns = output.columns(err=err)
    return None if columns is None else columns - len("  ~ :  → ")


def _line(sign: str, rest: str, indent: str = "") -> Text:
    from rich.text import Text

    return Text(f"{indent}{sign} {output.printable(rest)}", style=_STYLES[sign], no_wrap=True, overflow="ellipsis")
