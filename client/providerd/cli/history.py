"""The commands that tell what was: history, diff."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from providerd.cli import output
from providerd.cli.differences import changes_json, diff_json, print_changes, print_diff, print_diffs
from providerd.cli.moment import moment_option
from providerd.cli.options import connection_options, example, json_option, optional_name_argument
from providerd.cli.session import Session, pass_session
from providerd.document import plain
from providerd.history import HistoryAction, HistoryEntry

if TYPE_CHECKING:
    from datetime import datetime

    from providerd.client import Client

_COLUMNS = ("revision", "time", "action", "provider", "actor", "reason")


@click.command(
    epilog=example("providerd history groq --changes", "providerd history --since 7d --action activated --json")
)
@optional_name_argument
@click.option("--action", type=click.Choice([each.value for each in HistoryAction]), help="Only changes of this kind.")
@click.option("--actor", metavar="NAME", default="", help="Only changes by this actor.")
@moment_option(
    "--since", "Only since then: 2026-03-01T12:00, in UTC unless it says otherwise, or how long ago: 2h, 7d."
)
@moment_option("--until", "Only before then.")
@click.option("--from-revision", type=click.IntRange(min=1), default=None, metavar="N", help="Only from this one on.")
@click.option("--to-revision", type=click.IntRange(min=1), default=None, metavar="N", help="Only up to this one.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most this many.")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option("--changes", is_flag=True, help="Show which fields changed, from what to what.")
@json_option
@connection_options
@pass_session
def history(
    session: Session,
    *,
    name: str | None,
    action: str | None,
    actor: str,
    since: datetime | None,
    until: datetime | None,
    from_revision: int | None,
    to_revision: int | None,
    limit: int,
    everything: bool,
    changes: bool,
    as_json: bool,
) -> None:
    """Tell who changed what, and when.

    The newest comes first. Times are UTC.
    """

    async def ask(client: Client) -> list[HistoryEntry]:
        entries = client.history(
            provider_name=name or "",
            action=None if action is None else HistoryAction(action),
            actor=actor,
            start_time=since,
            end_time=until,
            first_revision=from_revision or 0,
            last_revision=to_revision or 0,
            # One more than is shown tells whether there is more.
            limit=None if everything else limit + 1,
        )
        return [entry async for entry in entries]

    found = session.call(ask)
    shown = found if everything else found[:limit]
    if as_json:
        output.print_json([_entry_json(entry) for entry in shown])
        return
    if changes:
        _print_with_changes(shown)
    else:
        output.print_table(_COLUMNS, map(_row, shown))
    if len(shown) < len(found):
        click.echo(f"only the newest {limit}; --all shows the rest", err=True)


@click.command(epilog=example("providerd diff 7", "providerd diff 7 9 groq", "providerd diff 7 groq --json"))
@click.argument("from_", metavar="FROM", type=click.IntRange(min=1))
@click.argument("to", metavar="[TO]", required=False)
@optional_name_argument
@json_option
@connection_options
@pass_session
def diff(session: Session, *, from_: int, to: str | None, name: str | None, as_json: bool) -> None:
    """Show what is different between two revisions.

    TO is the newest one unless given. A provider that is new has a +, one that is gone a -, one that changed a ~, and
    = tells which one is active.
    """
    if to is not None and name is None and not to.isdecimal():
        to, name = None, to
    if to is not None and not to.isdecimal():
        raise click.UsageError(f"TO must be the number of a revision, not {to!r}")
    found = session.call(lambda client: client.diff(from_, int(to or 0), name or ""))
    if as_json:
        output.print_json(
            {
                "from_revision": output.revision_json(found.from_revision),
                "to_revision": output.revision_json(found.to_revision),
                "diffs": [diff_json(each) for each in found.diffs],
            }
        )
        return
    where = f"revision {found.from_revision.number} and revision {found.to_revision.number}"
    if not found.diffs:
        click.echo(f"no difference between {where}")
        return
    click.echo(f"between {where}:")
    if name is None:
        print_diffs(found.diffs)
    for each in found.diffs if name is not None else ():
        print_diff(each)


def _row(entry: HistoryEntry) -> tuple[str, ...]:
    time = plain(entry.change_time.replace(microsecond=0))
    number = str(entry.revision.number)
    return (number, time, entry.action.value, entry.provider_name, entry.actor, entry.reason)


def _print_with_changes(entries: list[HistoryEntry]) -> None:
    for entry in entries:
        number, time, action, name, actor, reason = map(output.printable, _row(entry))
        why = f": {reason}" if reason else ""
        click.echo(f"revision {number}  {time}  {action} {name} by {actor}{why}")
        print_changes(entry.changes)


def _entry_json(entry: HistoryEntry) -> dict[str, Any]:
    return {
        "entry_id": entry.entry_id,
        "revision": output.revision_json(entry.revision),
        "provider_name": entry.provider_name,
        "action": entry.action.value,
        "actor": entry.actor,
        "database_user": entry.database_user,
        "change_time": plain(entry.change_time),
        "reason": entry.reason,
        "changes": changes_json(entry.changes),
    }
