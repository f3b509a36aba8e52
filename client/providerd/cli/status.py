"""The command that tells whether the daemon is well."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from providerd.cache import State
from providerd.cli import output
from providerd.cli.condition import Condition
from providerd.cli.failures import ExitCode, report
from providerd.cli.moment import now
from providerd.cli.options import connection_options, example, json_option
from providerd.cli.security import identity
from providerd.cli.session import Session, pass_session
from providerd.errors import (
    FailedPreconditionError,
    NoActiveProviderError,
    ProviderdError,
    UnimplementedError,
)

if TYPE_CHECKING:
    from providerd.client import Client


@click.command(
    epilog=example("providerd status", "providerd status --json | jq .age", "providerd status --watch --interval 1")
)
@click.option("--watch", "watching", is_flag=True, help="Go on telling until Ctrl-C, also while nothing answers.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1, max=3600),
    default=2.0,
    metavar="SECONDS",
    help="With --watch, between two looks. [default: 2]",
)
@json_option
@connection_options
@click.pass_context
@pass_session
def status(session: Session, context: click.Context, *, watching: bool, interval: float, as_json: bool) -> None:
    """Tell whether the daemon answers, how fresh, and how it is.

    Exit code 0 means fresh answers; 7 means none, or answers from memory because the database is away.
    """
    if watching:
        session.call(lambda client: _follow(client, session, interval, as_json=as_json), watch=True)
    found = session.call(lambda client: ask(client, session.server, session.timeout), watch=True)
    if as_json:
        output.print_json(found.as_json())
    else:
        output.print_pairs(found.pairs())
    if found.error is not None:
        context.exit(report(found.error, debug=session.debug))
    if found.stale:
        context.exit(ExitCode.UNAVAILABLE)


async def _follow(client: Client, session: Session, interval: float, *, as_json: bool) -> None:
    """Shows how the daemon is, again and again, until it is cancelled."""
    with output.screen() as show:
        while True:
            found = await ask(client, session.server, session.timeout)
            if as_json:
                error = found.error and found.error.message
                output.print_json_line({"time": now(), **found.as_json(), "error": error})
            else:
                problem = [("error", found.error.message)] if found.error else []
                show([("time", now()), *found.pairs(), *problem])
            await asyncio.sleep(interval)


async def ask(client: Client, server: str, timeout: float) -> Condition:
    """Finds out what can be said of a daemon.

    Args:
        client: Of that daemon, and not started yet.
        server: What people call it.
        timeout: Seconds that its first state may take.
    """
    found = Condition(server, client.options.transport, identity(client.options))
    try:
        await _ask_for_details(client, found)
        await _count_providers(client, found)
        await client.start()
        await client.wait_ready(timeout)
    except ProviderdError as error:
        # Only who is there gives reasons, if only by its certificate; gRPC has none for those it cannot reach.
        found.error, found.reachable = error, bool(error.reason)
        return found
    found.reachable = found.serving = True
    found.stale = client.state is not State.READY
    found.age = round(client.age, 3)
    found.revision = output.revision_json(client.revision)
    try:
        found.active_provider = client.active.provider_name
    except NoActiveProviderError:
        found.active_provider = None
    return found


async def _ask_for_details(client: Client, found: Condition) -> None:
    """Fills in what the daemon says of itself, if it is new enough to do so."""
    try:
        found.daemon = await client.get_status()
    except UnimplementedError:
        found.daemon = None


async def _count_providers(client: Client, found: Condition) -> None:
    """Fills in how many there are, or who knows it."""
    try:
        found.providers = len(await client.list())
    except FailedPreconditionError as sidecar:
        if "upstream" not in sidecar.metadata:
            raise
        found.upstream = sidecar.metadata["upstream"]
