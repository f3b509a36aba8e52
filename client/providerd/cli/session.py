"""How a command talks to the daemon."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import click

from providerd.cli import security
from providerd.cli.failures import ExitCode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from providerd.client import Client

T = TypeVar("T")

# Seconds between signs of life: short, because a person who watches wants to know soon.
_HEARTBEAT = 5.0


@dataclass
class Session:
    """What the global options say. Commands find the one of the process with `pass_session`."""

    server: str = field(default_factory=lambda: os.environ.get("PROVIDERD_SERVER") or "localhost:50051")
    timeout: float = 5.0
    debug: bool = False
    # What the options of TLS and tokens say, by name; what they leave open, the environment may say.
    security: dict[str, Any] = field(default_factory=dict)

    def call(self, ask: Callable[[Client], Awaitable[T]], *, watch: bool = False) -> T:
        """Runs one conversation with the daemon and returns what it brought.

        Args:
            ask: Gets a client, not started yet, that is closed afterwards.
            watch: Whether the client may watch.

        Raises:
            ProviderdError: What the conversation failed with.
            click.UsageError: The address, the timeout, or something about TLS or tokens makes no sense.
            click.exceptions.Exit: Ctrl-C was pressed.
        """
        from providerd.client import Client

        _quieten()
        targets = [target.strip() for target in self.server.split(",")]
        try:
            client = Client(
                *targets,
                watch=watch,
                timeout=self.timeout,
                heartbeat_interval=_HEARTBEAT,
                name="providerd-cli",
                **security.keywords(self.security),
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from None

        async def converse() -> T:
            try:
                return await ask(client)
            finally:
                await client.close()

        try:
            return asyncio.run(converse())
        except KeyboardInterrupt:
            raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None


pass_session = click.make_pass_decorator(Session, ensure=True)


def _quieten() -> None:
    """Keeps libraries off the terminal: what matters comes back as an error, and is told once."""
    # Newer versions of grpcio have read it already, when they were imported: those still tell of failed handshakes.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    logging.getLogger("providerd").addHandler(logging.NullHandler())
