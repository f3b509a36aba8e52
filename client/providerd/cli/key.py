"""The command that sets a provider's key."""

from __future__ import annotations

import sys

import click

from providerd.cli.failures import ExitCode, Failure
from providerd.cli.options import (
    change_options,
    connection_options,
    dry_run_option,
    example,
    json_option,
    name_argument,
)
from providerd.cli.session import Session, pass_session
from providerd.cli.writing import print_outcome
from providerd.secret import Secret


@click.command(
    "set-key", epilog=example("providerd set-key groq", "vault read -field=key groq | providerd set-key groq")
)
@name_argument
@click.argument("surplus", nargs=-1, metavar="")
@click.option("--clear", is_flag=True, help="Forget the stored key instead.")
@dry_run_option
@change_options
@json_option
@connection_options
@pass_session
def set_key(
    session: Session,
    *,
    name: str,
    surplus: tuple[str, ...],
    clear: bool,
    dry_run: bool,
    reason: str,
    actor: str,
    as_json: bool,
) -> None:
    """Store the API key of a provider.

    The key is asked for on a terminal, or else is the first line of standard input. It is never an argument, where
    every user of the machine could see it.
    """
    if surplus:
        # Said without repeating it, as click would: it is the key, most likely.
        raise click.UsageError("the key is no argument: other users of this machine may have seen it there by now")
    # Before asking for a key that would not be of any use; and an upsert would take the name for a new provider's.
    session.call(lambda client: client.get(name))
    key = None if clear else _read_key(name)
    result = session.call(
        lambda client: client.upsert(
            {"provider_name": name},
            api_key=key,
            clear_api_key=clear,
            validate_only=dry_run,
            reason=reason,
            actor=actor,
        )
    )
    if dry_run:
        done = "would clear the key of" if clear else "would store the key of"
    else:
        done = "cleared the key of" if clear else "stored the key of"
    print_outcome(result, done if result.changed else "unchanged:", as_json=as_json)


def _read_key(name: str) -> Secret:
    if sys.stdin.isatty():
        return Secret(click.prompt(f"Key of {name}", hide_input=True, confirmation_prompt=True, err=True))
    try:
        line = sys.stdin.readline()
    except UnicodeDecodeError:
        raise Failure("the key on standard input is not text", ExitCode.INVALID) from None
    key = Secret(line.rstrip("\r\n"))
    if not key:
        raise Failure("no key on standard input: give it as one line", ExitCode.INVALID)
    return key
