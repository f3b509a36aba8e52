"""The command of the ``providerd`` program that runs a sidecar."""

from __future__ import annotations

import logging
from typing import Any

import click

from providerd.cli.options import example
from providerd_server import sidecar as app
from providerd_server.entrance import Entrance
from providerd_server.failures import told_in_one_line
from providerd_server.sidecar_settings import load
from providerd_server.starting import (
    insecure_option,
    log_format_option,
    log_level_option,
    metrics_listen_option,
    print_config_option,
    print_settings,
    run,
    start_logging,
)


@click.command(
    epilog=example(
        "providerd sidecar --upstream providerd.internal:50051 --ca-file ca.pem --token-file token",
        "providerd get --server unix:///run/providerd.sock",
    )
)
@click.option(
    "--upstream",
    metavar="HOST:PORT[,HOST:PORT]",
    help="The daemon to follow; several ip:port, or dns:///name:port, to fail over.",
)
@click.option("--listen", metavar="ADDRESS", help="unix:///path or host:port. [default: unix:///run/providerd.sock]")
@click.option("--include-credential", is_flag=True, default=None, help="Carry the active provider's key, too.")
@click.option("--tls", is_flag=True, default=None, help="Speak TLS to the upstream; the next four turn it on, too.")
@click.option("--ca-file", metavar="FILE", help="The authorities (PEM) that sign the upstream's certificate.")
@click.option("--cert-file", metavar="FILE", help="The sidecar's certificate (PEM), for mutual TLS.")
@click.option("--key-file", metavar="FILE", help="The private key of that certificate (PEM).")
@click.option("--tls-server-name", metavar="NAME", help="The name in the upstream's certificate, if not its host.")
@click.option("--token-file", metavar="FILE", help="The file of the sidecar's token for the upstream.")
@click.option("--insecure-token", is_flag=True, default=None, help="Send the token in clear, even to another machine.")
@click.option("--snapshot-file", metavar="FILE", help="Keep what is known there, and start from it.")
@insecure_option
@metrics_listen_option
@log_level_option
@log_format_option
@print_config_option
def sidecar(print_config: bool, **flags: Any) -> None:
    """Run a sidecar: the same service from memory, over one stream from another daemon.

    Reads and watches of the active provider are answered, also while the daemon is away, and say how old they are.
    Everything else is refused and names the daemon to ask.

    Each option is a setting of the environment or of .env in the working directory, too, and there are more:
    --print-config shows them.
    """
    with told_in_one_line():
        settings = load(**flags)
        if print_config:
            print_settings(settings, flags)
            return
        start_logging(settings)
        logging.getLogger("providerd").addFilter(_is_news)
        run(app.serve(settings, Entrance.of(settings)))


def _is_news(record: logging.LogRecord) -> bool:
    """Whether the source does not tell of it, too: it says when the upstream is lost, and also when it is back."""
    return not str(record.msg).startswith("watch lost")
