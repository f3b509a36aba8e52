"""The command that stays and tells of every change."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from providerd.cache import State
from providerd.changes import Change
from providerd.cli import output
from providerd.cli.moment import now
from providerd.cli.options import connection_options, example, json_option
from providerd.cli.session import Session, pass_session
from providerd.errors import NotReadyError, UnauthenticatedError

if TYPE_CHECKING:
    from providerd.client import Client
    from providerd.errors import ProviderdError


@click.command(epilog=example("providerd watch", "providerd watch --json | jq -r .provider.provider_name"))
@json_option
@connection_options
@pass_session
def watch(session: Session, *, as_json: bool) -> None:
    """Print the active provider, then every change of it.

    It fails when the first answer does not come within --timeout. From then on it goes on through every outage, of
    which it tells, until Ctrl-C.
    """
    session.call(lambda client: _follow(client, session.timeout, as_json=as_json), watch=True)


async def _follow(client: Client, timeout: float, *, as_json: bool) -> None:
    # It cannot grow: printing happens in the same event loop that fills it, and blocks it.
    events: asyncio.Queue[tuple[Change | State, ProviderdError | None]] = asyncio.Queue()

    def note(event: Change | State) -> None:
        events.put_nowait((event, client.error))

    client.on_change(note)
    client.on_state(note)
    await client.start()
    try:
        await client.wait_ready(timeout)
    except NotReadyError:
        # A client whose token comes from a file would go on trying; a person wants to know.
        if isinstance(client.error, UnauthenticatedError):
            raise client.error from None
        raise
    while True:
        event, error = await events.get()
        if isinstance(event, Change):
            _print_change(event, as_json=as_json)
        else:
            _print_state(event, error, as_json=as_json)
            if event is State.FATAL and error is not None:
                raise error


def _print_change(change: Change, *, as_json: bool) -> None:
    provider = change.provider
    if as_json:
        output.print_json_line(
            {
                "time": now(),
                "event": "change",
                "cause": change.cause.value,
                "provider": provider and output.provider_json(provider),
                "previous_provider_name": change.previous and change.previous.provider_name,
                "revision": output.revision_json(change.revision),
            }
        )
        return
    what = f"{provider.provider_name}  {provider.default_model}" if provider else "no active provider"
    _print_line(change.cause.value, f"{what}  revision {change.revision.number}")


def _print_state(state: State, error: ProviderdError | None, *, as_json: bool) -> None:
    if as_json:
        message = None if error is None else error.message
        output.print_json_line({"time": now(), "event": "state", "state": state.value, "error": message})
        return
    _print_line(state.value, "" if error is None else error.message)


def _print_line(word: str, rest: str) -> None:
    click.echo(output.printable(f"{now()}  {word:<11}  {rest}".rstrip()))
