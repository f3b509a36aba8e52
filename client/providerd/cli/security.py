"""Whom the program trusts and what it shows: TLS and tokens, from options and from the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from providerd.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from providerd.options import ClientOptions


@dataclass(frozen=True)
class Setting:
    """An option of the SDK that can be set by an option of the program, or else by a variable."""

    name: str
    variable: str
    help: str
    is_flag: bool = False

    @property
    def option(self) -> str:
        """What the program calls it."""
        return f"--{self.name.replace('_', '-')}"

    def from_environment(self) -> Any:
        """Returns what the variable says; None when it is not set, or empty.

        Raises:
            click.UsageError: It is neither true nor false.
        """
        text = os.environ.get(self.variable) or None
        if text is None or not self.is_flag:
            return text
        try:
            return click.BOOL.convert(text, None, None)
        except click.BadParameter:
            raise click.UsageError(f"{self.variable} must be true or false") from None


# A token itself is only a variable: every user of the machine can see arguments.
SETTINGS = (
    Setting("tls", "PROVIDERD_TLS", "Speak TLS; the next four turn it on, too.", is_flag=True),
    Setting("ca_file", "PROVIDERD_CA_FILE", "The authorities (PEM) that sign the daemon's certificate."),
    Setting("cert_file", "PROVIDERD_CERT_FILE", "Your certificate (PEM), for mutual TLS."),
    Setting("key_file", "PROVIDERD_KEY_FILE", "The private key of your certificate (PEM)."),
    Setting("tls_server_name", "PROVIDERD_TLS_SERVER_NAME", "The name in the daemon's certificate, if not its host."),
    Setting("token_file", "PROVIDERD_TOKEN_FILE", "The file of your token; or set $PROVIDERD_TOKEN to the token."),
    Setting("insecure", "PROVIDERD_INSECURE_TOKEN", "Send a token in clear, even to another machine.", is_flag=True),
)


def keywords(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a client is made with.

    Args:
        given: What the options of the program say, by name; the environment has a say in the others.

    Raises:
        click.UsageError: A variable makes no sense.
    """
    found = {setting.name: setting.from_environment() for setting in SETTINGS if setting.name not in given}
    if "token_file" not in given and (token := os.environ.get("PROVIDERD_TOKEN")):
        found["token"] = Secret(token)
    return {name: value for name, value in {**found, **given}.items() if value is not None}


def identity(options: ClientOptions) -> str:
    """Returns what a client shows of itself to the daemon, in words."""
    if options.token is not None:
        return "token"
    if options.token_file is not None:
        return f"token in {os.fspath(options.token_file)}"
    return "none" if options.cert_file is None else f"certificate in {os.fspath(options.cert_file)}"
