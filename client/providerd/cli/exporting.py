"""The command that writes the whole configuration into a file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from providerd.cli.failures import ExitCode, Failure
from providerd.cli.options import at_option, connection_options, example
from providerd.cli.session import Session, pass_session

_KINDS = {".yaml": "yaml", ".yml": "yaml", ".json": "json"}


@click.command(epilog=example("providerd export -o providers.yaml", "providerd export --at 7 --format json"))
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    default="-",
    metavar="FILE",
    help="Write it there, all or nothing. [default: standard output]",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["yaml", "json"]),
    help="[default: what the name of the file says, else yaml]",
)
@at_option
@connection_options
@pass_session
def export(session: Session, *, path: Path, kind: str | None, at: int | None) -> None:
    """Write all providers into one file.

    It holds no keys, and `providerd import` takes it. The same configuration gives the same text but for the revision,
    so that it can be kept under version control.
    """
    from providerd.cli.configuration import dump

    configuration = session.call(lambda client: client.revision_at(at or 0))
    text = dump(configuration, kind or _KINDS.get(path.suffix, "yaml"))
    if str(path) == "-":
        click.echo(text, nl=False)
        return
    try:
        _write(path, text)
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}", ExitCode.UNEXPECTED) from None
    click.echo(
        f"wrote {len(configuration.providers)} providers as of revision {configuration.revision.number} to {path}"
    )


def _write(path: Path, text: str) -> None:
    """Puts a whole file in place of what is there, with the permissions that a new file gets."""
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")  # a device or a pipe, which must not be replaced
        return
    target = path.resolve()  # what a link points to is what is meant
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as directory:
        new = Path(directory) / target.name
        new.write_text(text, encoding="utf-8")
        new.replace(target)
