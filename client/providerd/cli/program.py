"""The command line as a whole: global options, the commands, and how it ends."""

from __future__ import annotations

import functools

import click

from providerd._version import __version__
from providerd.cli.completion import VARIABLE, completion
from providerd.cli.exporting import export
from providerd.cli.failures import EXIT_CODES, ExitCode, report
from providerd.cli.history import diff, history
from providerd.cli.importing import import_
from providerd.cli.key import set_key
from providerd.cli.options import program_options
from providerd.cli.plugin import Plugin, plugins
from providerd.cli.reading import get, list_, show
from providerd.cli.session import Session, pass_session
from providerd.cli.status import status
from providerd.cli.undoing import delete, rollback
from providerd.cli.watch import watch
from providerd.cli.writing import disable, enable, switch, upsert

COMMANDS: tuple[click.Command, ...] = (
    get, list_, show, watch, status,
    switch, upsert, enable, disable, set_key, delete,
    history, diff, rollback, export, import_, completion,
)  # fmt: skip


class Program(click.Group):
    """The commands of this package, in the order of the help, then those of others."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Returns the names of all commands."""
        return [*self.commands, *self._plugins]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Returns a command; one of this package wins over another of the same name."""
        return super().get_command(ctx, cmd_name) or self._plugins.get(cmd_name)

    @functools.cached_property
    def _plugins(self) -> dict[str, Plugin]:
        return {name: plugin for name, plugin in plugins().items() if name not in self.commands}


@click.group(
    cls=Program,
    commands=COMMANDS,
    invoke_without_command=True,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@program_options
@click.option("--debug", is_flag=True, help="Show the traceback of what fails.")
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
@pass_session
def program(session: Session, context: click.Context, *, debug: bool) -> None:
    """See and change which LLM provider is active."""
    session.debug = debug
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def run() -> int:
    """Runs the program on the arguments of the process; returns its exit code and never raises."""
    session = Session()
    try:
        code = program.main(prog_name="providerd", complete_var=VARIABLE, standalone_mode=False, obj=session)
    except Exception as error:
        return report(error, debug=session.debug)
    return code if isinstance(code, int) else ExitCode.OK
