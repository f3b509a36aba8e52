"""What the commands that start a server have in common: options, the event loop, and telling of settings."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import click
import structlog

from providerd.cli.output import print_table
from providerd_server import logs
from providerd_server.described import describe, unknown_settings
from providerd_server.serving_settings import ServingSettings

log = structlog.get_logger(__name__)

T = TypeVar("T")

log_level_option = click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="[default: info]"
)
log_format_option = click.option("--log-format", type=click.Choice(["auto", "console", "json"]), help="[default: auto]")
insecure_option = click.option(
    "--insecure", is_flag=True, default=None, help="Listen beyond this machine without TLS or authentication."
)
metrics_listen_option = click.option(
    "--metrics-listen", metavar="ADDRESS", help="Serve metrics to Prometheus there, as 127.0.0.1:9464."
)
print_config_option = click.option(
    "--print-config", is_flag=True, help="Print the effective settings with their sources, and exit."
)


def print_settings(settings: ServingSettings, flags: dict[str, Any]) -> None:
    """Shows each setting, its value with secrets masked, and where it comes from."""
    described = describe(settings, **flags)
    print_table(("setting", "value", "source"), [(each.name, each.value, each.source) for each in described])


def start_logging(settings: ServingSettings) -> None:
    """Sets up logging, and warns of settings that do not exist."""
    logs.configure(settings.log_level, settings.log_format)
    for name in unknown_settings():
        log.warning("a setting of this name does not exist", name=name, hint="--print-config lists all")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine in a new event loop, of uvloop where that is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
