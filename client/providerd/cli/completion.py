"""The command that prints what teaches a shell to complete this program."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from providerd.cli.options import example

VARIABLE = "_PROVIDERD_COMPLETE"


@click.command(
    epilog=example(
        'eval "$(providerd completion bash)"            # in ~/.bashrc',
        'eval "$(providerd completion zsh)"             # in ~/.zshrc',
        "providerd completion fish > ~/.config/fish/completions/providerd.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell. Names of providers are completed, too."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"this version of click knows no completion for {shell}")
    root = context.find_root()
    click.echo(kind(root.command, {}, "providerd", VARIABLE).source())
