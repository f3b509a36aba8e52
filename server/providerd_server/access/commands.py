"""``providerd token``: makes, lists and takes back the tokens of an access file."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from providerd.cli.failures import ExitCode, Failure
from providerd.cli.output import print_json, print_table
from providerd_server.access.principals import AccessFile, TokenEntry, read_access_file
from providerd_server.access.scopes import Scope
from providerd_server.errors import ConfigurationError
from providerd_server.failures import told_in_one_line
from providerd_server.serving_settings import parse_duration
from providerd_server.settings import load

# So that a token is recognised for what it is where it should not be; 32 random bytes follow.
_PREFIX = "providerd_"

_file_option = click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The access file. [default: $PROVIDERD_ACCESS_FILE]",
)


@click.group()
def token() -> None:
    """Make, list and take back the tokens that callers of the daemon show.

    They are in the access file, which holds their SHA-256 only, next to the client certificates that are known. A
    daemon that runs with the file takes changes over within seconds.
    """


@token.command(
    epilog="\b\nExample:\n  providerd token create billing --scope read --expires 90d --out billing.token",
)
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([scope.value for scope in Scope]),
    multiple=True,
    required=True,
    help="What it may do; can be given several times.",
)
@click.option("--expires", metavar="DURATION", help="How long it is good, like 12h or 90d. [default: for ever]")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it to a new file, readable by you.")
@_file_option
def create(name: str, scopes: tuple[str, ...], expires: str | None, out: Path | None, path: Path | None) -> None:
    """Make a token for the principal NAME and print it: the only time that it is shown.

    A principal may have several tokens, so that a new one can be handed out before the old one is revoked.
    """
    value = _PREFIX + secrets.token_urlsafe(32)
    now = datetime.now(UTC).replace(microsecond=0)
    with told_in_one_line():
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}", name):
            raise ConfigurationError("NAME must be letters, digits and . _ @ -, and begin with a letter or a digit")
        entry = TokenEntry(
            name=name,
            scopes=frozenset(map(Scope, scopes)),
            sha256=hashlib.sha256(value.encode()).hexdigest(),
            created=now,
            expires=now + _duration(expires) if expires else None,
        )
        with _changing(_place(path), create=True) as content:
            # Before the file knows it: a token nobody has seen must not be good.
            if out is not None:
                _write_new(out, value)
            content.tokens.append(entry)
    until = f"until {entry.expires.isoformat()}" if entry.expires else "until it is revoked"
    click.echo(f"token {entry.id} of {name}: {', '.join(sorted(scopes))}; good {until}", err=True)
    if out is None:
        click.echo(value)


@token.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_file_option
def list_(path: Path | None, as_json: bool) -> None:
    """Show who is known, by token or by certificate."""
    with told_in_one_line():
        content = read_access_file(_place(path))
    if as_json:
        print_json(content.model_dump(mode="json"))
        return
    rows = [
        (
            entry.name,
            f"token {entry.id}",
            _scopes(entry),
            _until(entry),
        )
        for entry in content.tokens
    ]
    rows += [(entry.name, f"certificate {entry.san}", _scopes(entry), "") for entry in content.certificates]
    print_table(("name", "known by", "scopes", "expires"), rows)


@token.command()
@click.argument("name")
@click.option("--id", "id_", metavar="ID", help="Only the token of this id, as `token list` shows it.")
@_file_option
def revoke(name: str, id_: str | None, path: Path | None) -> None:
    """Take back all tokens of the principal NAME. Its open watches end within seconds."""
    with told_in_one_line(), _changing(_place(path)) as content:
        gone = [each for each in content.tokens if each.name == name and id_ in (None, each.id)]
        if not gone:
            raise Failure(f"{name!r} has no such token; `providerd token list` shows them", ExitCode.NOT_FOUND)
        content.tokens = [each for each in content.tokens if each not in gone]
    for entry in gone:
        click.echo(f"revoked token {entry.id} of {name}")


def _place(path: Path | None) -> Path:
    place = path or load().access_file
    if place is None:
        raise ConfigurationError("which access file? Set PROVIDERD_ACCESS_FILE, or give --file")
    return place


@contextmanager
def _changing(path: Path, *, create: bool = False) -> Iterator[AccessFile]:
    """The content of the file; what the block makes of it replaces the file at once, and nobody else's change."""
    try:
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            content = AccessFile() if create and not path.exists() else read_access_file(path)
            yield content
            _replace(path, content.model_dump_json(indent=2) + "\n")
        finally:
            os.close(lock)
    except OSError as error:
        raise ConfigurationError(f"cannot change {path}: {error.strerror}") from None


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")
    mode, owner = 0o600, None
    if path.exists():
        found = path.stat()
        mode, owner = found.st_mode & 0o777, (found.st_uid, found.st_gid)
    new.unlink(missing_ok=True)
    _write_new(new, text, mode)
    # The daemon may run as another account, which must be able to read it afterwards, too.
    if owner is not None and owner != (new.stat().st_uid, new.stat().st_gid):
        os.chown(new, *owner)
    new.replace(path)


def _write_new(path: Path, text: str, mode: int = 0o600) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text if text.endswith("\n") else text + "\n")
        file.flush()
        os.fsync(file.fileno())


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ConfigurationError(f"--expires {error}") from None


def _scopes(entry: Any) -> str:
    return ", ".join(sorted(entry.scopes))


def _until(entry: TokenEntry) -> str:
    if entry.expires is None:
        return "never"
    return entry.expires.isoformat() + (" (expired)" if entry.expired else "")
