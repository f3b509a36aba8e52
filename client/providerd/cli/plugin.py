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
    "sidecar": "Run a sidecar: the same service from memory, over another daemon.",
    "doctor": "Examine everything that the daemon stands on, and say what to do.",
    "migrate": "Bring the database's schema up to date.",
    "psql": "Open psql on the embedded database.",
    "keys": "See how the stored keys are encrypted, and encrypt them anew.",
    "token": "Make, list and take back the tokens that the daemon knows.",
    "import.admin-settings": "Bring the key in config/admin_settings.json into the database.",
}


class Plugin(click.Command):
    """Stands for a command of another package, which is imported only when it is called."""

    def __init__(self, entry_point: EntryPoint) -> None:
        super().__init__(entry_point.name.rpartition(".")[2], short_help=_SHORT_HELP.get(entry_point.name, ""))
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
        command = self._entry_point.name.replace(".", " ")
        if self._entry_point.module.startswith("providerd_server"):
            return f"the command `{command}` needs the server extra: pip install 'providerd[server,embedded]'"
        return f"the command `{command}` needs a module that is not installed: {missing.name}"


def plugins(group: str = "") -> dict[str, Plugin]:
    """Returns the installed commands of other packages, by name.

    Args:
        group: The command whose subcommands to return: those of "import" are named "import.…" there.
    """
    from importlib.metadata import entry_points

    found = ((each.name.rpartition("."), each) for each in sorted(entry_points(group=GROUP)))
    return {name: Plugin(each) for (before, _, name), each in found if before == group}
