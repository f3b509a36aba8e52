"""The command that makes the configuration what a file says, and the home of other imports."""

from __future__ import annotations

import functools
from typing import IO, TYPE_CHECKING, Any

import click

from providerd.cli import output
from providerd.cli.differences import diff_json, print_diffs
from providerd.cli.failures import ExitCode, Failure, warn
from providerd.cli.options import (
    change_options,
    confirm,
    connection_options,
    dry_run_option,
    example,
    json_option,
    yes_option,
)
from providerd.cli.plugin import Plugin, plugins
from providerd.cli.session import Session, pass_session
from providerd.errors import AbortedError

if TYPE_CHECKING:
    from providerd.cli.configuration import Configuration
    from providerd.provider import Revision
    from providerd.results import ApplyResult


class Import(click.Group):
    """Takes the name of a subcommand of another package, or else a file."""

    # Options may stand behind the file.
    allow_interspersed_args = True

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Returns the context of the subcommand that the first argument names, or else of the import of a file."""
        command = self._plugins.get(args[0]) if args else None
        if command is not None:
            return command.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Returns the names of the subcommands."""
        return list(self._plugins)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Returns a subcommand."""
        return self._plugins.get(cmd_name)

    @functools.cached_property
    def _plugins(self) -> dict[str, Plugin]:
        return plugins("import")


@click.command(
    "import",
    cls=Import,
    invoke_without_command=True,
    subcommand_metavar="",
    epilog=example("providerd import providers.yaml --dry-run", "providerd export --at 7 | providerd import - --yes"),
)
@click.argument("file", type=click.File(encoding="utf-8"))
@dry_run_option
@yes_option
@click.option("--delete-missing", is_flag=True, help="Delete providers that the file does not name.")
@click.option(
    "--expected-revision", type=click.IntRange(min=0), metavar="N", help="Only if this is still the newest revision."
)
@change_options
@json_option
@connection_options
@pass_session
def import_(
    session: Session,
    *,
    file: IO[str],
    dry_run: bool,
    yes: bool,
    delete_missing: bool,
    expected_revision: int | None,
    reason: str,
    actor: str,
    as_json: bool,
) -> None:
    """Make all providers what a file says.

    FILE is as `providerd export` writes it, and - reads standard input.

    It shows a plan and asks: + is created, ~ changed, - deleted, = is about which one is active. Then all of it
    happens in one revision, or nothing does when something else changed meanwhile. Keys stay as they are.
    """
    from providerd.cli.configuration import load

    wanted = load(file)

    def apply(expected: Revision | None, *, validate_only: bool) -> ApplyResult:
        return session.call(
            lambda client: client.apply(
                wanted.providers,
                active=wanted.active,
                delete_missing=delete_missing,
                expected_revision=expected,
                validate_only=validate_only,
                reason=reason,
                actor=actor,
            )
        )

    plan = apply(None, validate_only=True)
    base = plan.base_revision
    if expected_revision not in (None, base.number):
        raise _moved(f"the store is at revision {base.number}, not at {expected_revision}")
    if plan.diffs:
        _warn_of_age(wanted, base)
        if not (as_json and dry_run):
            print_diffs(plan.diffs, err=as_json)
    if dry_run or not plan.diffs:
        _print_outcome(plan, as_json=as_json)
        return
    confirm("Apply this?", yes=yes)
    try:
        result = apply(base, validate_only=False)
    except AbortedError as error:
        raise _moved(error.message) from error
    _print_outcome(result, as_json=as_json)


def _print_outcome(result: ApplyResult, *, as_json: bool) -> None:
    if as_json:
        output.print_json(
            {
                "diffs": [diff_json(each) for each in result.diffs],
                "base_revision": output.revision_json(result.base_revision),
                "revision": output.revision_json(result.revision),
            }
        )
    elif not result.diffs:
        click.echo(f"nothing to do: revision {result.base_revision.number} is as the file says")
    elif result.revision is None:
        click.echo(f"nothing is changed: this is what would happen at revision {result.base_revision.number}")
    else:
        click.echo(f"applied, revision {result.revision.number}")


def _warn_of_age(wanted: Configuration, base: Revision) -> None:
    """Warns when the store went on since the file was exported: the plan takes back what happened since."""
    exported = wanted.revision
    if exported is not None and base.reaches(exported) and base.number > exported.number:
        warn(
            f"the file was exported at revision {exported.number} and the store is at {base.number}: "
            f"`providerd diff {exported.number}` shows what changed since, which this may take back",
            "FILE_IS_OLDER",
        )


def _moved(why: str) -> Failure:
    return Failure(f"nothing was applied: {why}; import again to see a new plan [REVISION_MISMATCH]", ExitCode.CONFLICT)
