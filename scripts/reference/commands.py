"""docs/reference/commands.md, from the commands of the program as they are installed."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator

import click
from scripts.reference import markdown
from scripts.reference.markdown import bullets, code, fenced, link, prose, table

from providerd.cli.program import program
from providerd.cli.session import Session

_INTRODUCTION = """\
What `--help` says, of every command. How the program behaves as a whole, what `--json` prints, and shell completion are
described in [The command line](cli.md). Commands that talk to the daemon also take `--server` and `--timeout` behind
their name, and every command takes `--help`."""

_EVERYWHERE = {"--server", "--timeout", "--help"}


def page() -> str:
    """Returns the page."""
    contexts = list(_contexts(_context(program, "providerd", None)))
    return markdown.page(
        "# Commands",
        "Source: the commands of `client/providerd/cli/` and of the entry points `providerd.commands`.",
        _INTRODUCTION,
        bullets(f"{link(_path(context))}: {_summary(context.command)}" for context in contexts[1:]),
        *(_section(context) for context in contexts),
    )


def _contexts(context: click.Context) -> Iterator[click.Context]:
    """A command and all below it, in the order of the help."""
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            if command is not None and not command.hidden:
                yield from _contexts(_context(command, name, context))


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    # Commands of other packages are stand-ins, which give way to the real one here.
    return command.make_context(name, [], parent, resilient_parsing=True, obj=Session(server=""))


def _section(context: click.Context) -> str:
    command = context.command
    usage = [_path(context), *command.collect_usage_pieces(context)]
    records = [
        option.get_help_record(context)
        for option in command.get_params(context)
        if isinstance(option, click.Option) and (context.parent is None or not _EVERYWHERE & {*option.opts})
    ]
    return markdown.page(
        f"## {_path(context)}",
        fenced("text", " ".join(filter(None, usage))),
        prose(inspect.cleandoc(command.help or "").replace("\b", "")),
        table(("Option", "Meaning"), [(code(names), prose(text)) for names, text in filter(None, records)]),
        _epilog(command),
    )


def _path(context: click.Context) -> str:
    # Not command_path: that has the arguments of the commands above in it.
    return f"{_path(context.parent)} {context.info_name}" if context.parent else str(context.info_name)


def _summary(command: click.Command) -> str:
    return prose(command.get_short_help_str(limit=200))


def _epilog(command: click.Command) -> str:
    """What the help ends with: an example, or the exit codes, kept as they are laid out."""
    text = inspect.cleandoc((command.epilog or "").replace("\b", ""))
    head, _, rest = text.partition("\n")
    return f"{head}\n\n{fenced('text', textwrap.dedent(rest))}" if text else ""
