"""The command that tells whether the daemon is well."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from providerd.cache import State
from providerd.cli import output
from providerd.cli.failures import ExitCode, report
from providerd.cli.options import connection_options, example, json_option
from providerd.cli.security import identity
from providerd.cli.session import Session, pass_session
from providerd.errors import FailedPreconditionError, NoActiveProviderError, ProviderdError

if TYPE_CHECKING:
    from providerd.client import Client


@dataclass
class Status:
    """What can be said about a daemon. Fields that only an answer brings are None without one."""

    server: str
    # How it is talked to, as "mutual TLS", and as whom.
    transport: str
    identity: str
    # Something answered, if only with a refusal.
    reachable: bool = False
    # Reads and watches are answered.
    serving: bool = False
    stale: bool | None = None
    # Seconds since the daemon last verified that the database is at this revision.
    age: float | None = None
    revision: dict[str, Any] | None = None
    active_provider: str | None = None
    # Not from a sidecar, which knows the active one only.
    providers: int | None = None
    # Whom a sidecar follows; only from one.
    upstream: str | None = None
    error: ProviderdError | None = None


@click.command(epilog=example("providerd status", "providerd status --json | jq .age"))
@json_option
@connection_options
@click.pass_context
@pass_session
def status(session: Session, context: click.Context, *, as_json: bool) -> None:
    """Tell whether the daemon answers, and how fresh.

    Exit code 0 means fresh answers; 7 means none, or answers from memory because the database is away.
    """
    found = session.call(lambda client: ask(client, session.server, session.timeout), watch=True)
    if as_json:
        fields = asdict(found)
        del fields["error"], fields["providers" if found.upstream else "upstream"]
        output.print_json(fields)
    else:
        output.print_pairs(_pairs(found))
    if found.error is not None:
        context.exit(report(found.error, debug=session.debug))
    if found.stale:
        context.exit(ExitCode.UNAVAILABLE)


async def ask(client: Client, server: str, timeout: float) -> Status:
    """Finds out what can be said of a daemon.

    Args:
        client: Of that daemon, and not started yet.
        server: What people call it.
        timeout: Seconds that its first state may take.
    """
    found = Status(server, client.options.transport, identity(client.options))
    try:
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


async def _count_providers(client: Client, found: Status) -> None:
    """Fills in how many there are, or who knows it."""
    try:
        found.providers = len(await client.list())
    except FailedPreconditionError as sidecar:
        if "upstream" not in sidecar.metadata:
            raise
        found.upstream = sidecar.metadata["upstream"]


def _pairs(found: Status) -> list[tuple[str, str]]:
    pairs = [
        ("server", found.server),
        ("transport", found.transport),
        ("identity", found.identity),
        ("reachable", _yes(found.reachable)),
        ("serving", _yes(found.serving)),
    ]
    if found.serving:
        number = str(found.revision["number"]) if found.revision else "none"
        pairs += [
            ("source", f"{'stale' if found.stale else 'fresh'}, verified {found.age:.1f} s ago"),
            ("active", found.active_provider or "none"),
            ("revision", number),
            ("upstream", found.upstream) if found.upstream else ("providers", str(found.providers)),
        ]
    return pairs


def _yes(value: bool) -> str:
    return "yes" if value else "no"
