"""The command that tells whether the daemon is well."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import click
from grpc import StatusCode

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
    NotFoundError,
    ProviderdError,
    UnimplementedError,
)

if TYPE_CHECKING:
    from providerd.client import Client


_DENIED = (StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED)


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
    """Shows how the daemon is, again and again, until it is cancelled or refused: that will not pass by itself."""
    with output.screen() as show:
        while True:
            found = await ask(client, session.server, session.timeout)
            if as_json:
                error = found.error and found.error.message
                output.print_json_line({"time": now(), **found.as_json(), "error": error})
            else:
                problem = [("error", found.error.message)] if found.error else []
                show([("time", now()), *found.pairs(), *problem])
            if found.error is not None and found.error.code in _DENIED:
                raise found.error
            await asyncio.sleep(interval)


async def ask(client: Client, server: str, timeout: float) -> Condition:
    """Finds out what can be said of a daemon. One that says it itself is not watched, so that it does not count us.

    Args:
        client: Of that daemon, and not started yet.
        server: What people call it.
        timeout: Seconds that the first state may take of a daemon that must be watched to be known.
    """
    found = Condition(server, client.options.transport, identity(client.options))
    try:
        if await _is_told(client, found):
            await _name_upstream(client, found)
        else:
            await _watch(client, found, timeout)
    except ProviderdError as error:
        # Only who is there gives reasons, if only by its certificate; gRPC has none for those it cannot reach.
        found.error, found.reachable = error, bool(error.reason)
        return found
    found.reachable = found.serving = True
    return found


async def _is_told(client: Client, found: Condition) -> bool:
    """Fills in what the daemon says of itself; returns whether it is new enough to do so."""
    try:
        daemon = found.daemon = await client.get_status()
    except UnimplementedError:
        return False
    if daemon.source is None:
        # Whoever has nothing to answer from says why when it is asked for something.
        with contextlib.suppress(NotFoundError):
            await client.get_active()
        daemon = found.daemon = await client.get_status()
    if daemon.source is not None:
        found.stale, found.age = daemon.source.stale, round(daemon.source.age, 3)
    found.revision = output.revision_json(daemon.revision)
    found.active_provider = daemon.active_provider_name
    found.providers = daemon.provider_count
    return True


async def _watch(client: Client, found: Condition, timeout: float) -> None:
    """Fills in what can be seen of a daemon by watching it."""
    found.providers = len(await client.list())
    await client.start()
    await client.wait_ready(timeout)
    found.stale = client.state is not State.READY
    found.age = round(client.age, 3)
    found.revision = output.revision_json(client.revision)
    with contextlib.suppress(NoActiveProviderError):
        found.active_provider = client.active.provider_name


async def _name_upstream(client: Client, found: Condition) -> None:
    """Fills in whom a sidecar follows, which it says to whoever asks it for more than it knows."""
    if found.daemon is None or found.daemon.origin.kind != "upstream":
        return
    try:
        await client.list()
    except FailedPreconditionError as sidecar:
        if "upstream" not in sidecar.metadata:
            raise
        found.upstream = sidecar.metadata["upstream"]
