"""Commands that live in other packages, found by the entry-point group ``providerd.commands``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from providerd.cli.failures import ExitCode, Failure

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "providerd.commands"

# Known here so that listing the commands imports none of them.
_SHORT_HELP = {
    "serve": "Run the daemon.",
    "migrate": "Bring the database's schema up to date.",
}


class Plugin(click.Command):
    """Stands for a command of another package, which is imported only when it is called."""

    def __init__(self, entry_point: EntryPoint) -> None:
        super().__init__(entry_point.name, short_help=_SHORT_HELP.get(entry_point.name, ""))
        self._entry_point = entry_point

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Returns the context of the real command, which runs in its place."""
        return self._load().make_context(info_name, args, parent, **extra)

    def _load(self) -> click.Command:
        try:
            command: click.Command = self._entry_point.load()
        except ModuleNotFoundError as missing:
            raise Failure(self._hint(missing), ExitCode.USAGE) from missing
        return command

    def _hint(self, missing: ModuleNotFoundError) -> str:
        if self._entry_point.module.startswith("providerd_server"):
            return f"the command `{self.name}` needs the server extra: pip install 'providerd[server,embedded]'"
        return f"the command `{self.name}` needs a module that is not installed: {missing.name}"


def plugins() -> dict[str, Plugin]:
    """Returns the installed commands of other packages, by name."""
    from importlib.metadata import entry_points

    return {each.name: Plugin(each) for each in sorted(entry_points(group=GROUP))}
