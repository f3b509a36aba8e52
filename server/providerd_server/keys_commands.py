"""The commands of the ``providerd`` program on stored API keys: how they are encrypted, and to encrypt them anew."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from providerd.cli.failures import ExitCode, Failure, warn
from providerd.cli.options import change_options, dry_run_option, example, json_option
from providerd.cli.output import print_json, print_table, printable
from providerd.secret import Secret
from providerd_server import logs
from providerd_server.databases import connected, data_dir_option, database
from providerd_server.failures import told_in_one_line
from providerd_server.settings import Settings, load
from providerd_server.store.keyring import Keyring, check_passphrases, load_keyring
from providerd_server.store.rotation import REASON, KeyStatus, Rotated, Rotation
from providerd_server.store.sealed import SealedKey
from providerd_server.store.tls import Trust

T = TypeVar("T")

_COLUMNS = ("provider", "encryption key", "current", "bound", "decrypts")


@click.group()
def keys() -> None:
    """See how the stored API keys are encrypted, and encrypt them anew.

    The database is the one that `providerd serve` would use, and so are the passphrases: DB_ENCRYPTION_KEY and
    DB_ENCRYPTION_KEY_PREVIOUS, or PROVIDERD_ENCRYPTION_KEYS_FILE, in the environment or in .env.
    """


@keys.command()
@data_dir_option
@json_option
def status(data_dir: Path | None, as_json: bool) -> None:
    """Show how each key is encrypted; exit code 1 when one is to be rotated or cannot be read."""
    with told_in_one_line():
        settings = load(data_dir=data_dir)
        ring = load_keyring(settings)
        found = _on_the_database(settings, ring, lambda rotation: rotation.status())
    if as_json:
        print_json([_as_json(each) for each in found])
    else:
        print_table(_COLUMNS, [_as_row(each) for each in found])
    for warning in check_passphrases(ring, development=True):
        warn(warning, "WEAK_PASSPHRASE")
    for each in found:
        if each.problem:
            warn(f"the key of provider {each.provider_name!r} cannot be read: {each.problem}", "CREDENTIAL_UNREADABLE")
    if any(each.needs_attention for each in found):
        raise SystemExit(1)


@keys.command(epilog=example("providerd keys rotate --dry-run", "providerd keys rotate"))
@data_dir_option
@click.option(
    "--batch-size",
    type=click.IntRange(1, 500),
    default=20,
    show_default=True,
    metavar="N",
    help="How many keys one transaction, and with it one revision, replaces.",
)
@dry_run_option
@change_options
def rotate(data_dir: Path | None, batch_size: int, dry_run: bool, reason: str, actor: str) -> None:
    """Encrypt with the current passphrase whatever is under another one, or not bound to its provider.

    All daemons must know both passphrases before. They go on meanwhile, and so do writers. It may be ended at any
    moment and run again: every key decrypts at every moment. At the end all of them are tried with the current
    passphrase alone.

    A key without a seal, as plain SQL stores it, gets one, and you are told for which destination: see that it belongs
    there. One that the database knows to belong elsewhere is left alone.
    """
    with told_in_one_line():
        settings = load(data_dir=data_dir)
        ring = load_keyring(settings)
        for warning in check_passphrases(ring, development=settings.in_development):
            warn(warning, "WEAK_PASSPHRASE")
        if dry_run:
            _tell_plan(_on_the_database(settings, ring, lambda rotation: rotation.status(vet=True)))
            return
        why = f"{REASON}: {reason}" if reason else REASON
        rotated = _on_the_database(
            settings,
            ring,
            lambda rotation: rotation.run(batch_size=batch_size, reason=why, actor=actor, progress=_tell_progress),
        )
    _tell_outcome(rotated, ring)


def _on_the_database(settings: Settings, ring: Keyring, work: Callable[[Rotation], Awaitable[T]]) -> T:
    # What matters to whoever rotates is said here; the rest is for the daemon's log.
    logs.configure("critical", "console")

    async def run(url: Secret) -> T:
        async with connected(url, Trust.of(settings)) as transactions:
            return await work(Rotation(transactions, ring))

    with database(settings, create=False) as url:
        return asyncio.run(run(url))


def _tell_progress(moved: int, left: int, unsealed: Sequence[SealedKey]) -> None:
    for each in unsealed:
        click.echo(printable(f"sealed what had no seal: {each.provider_name}, for {each.destination}"))
    click.echo(f"re-encrypted {moved}, {left} left")


def _tell_plan(found: list[KeyStatus]) -> None:
    due = [each for each in found if each.needs_attention and each.is_readable]
    for each in due:
        if not each.is_bound:
            click.echo(printable(f"would seal what has no seal: {each.provider_name}, for {each.destination}"))
    names = ", ".join(each.provider_name for each in due)
    stored = sum(each.has_key for each in found)
    click.echo(f"would re-encrypt {len(due)} of {stored} keys" + (f": {printable(names)}" if due else ""))
    _refuse({each.provider_name: each.problem for each in found if each.problem})


def _tell_outcome(rotated: Rotated, ring: Keyring) -> None:
    click.echo(f"done: re-encrypted {rotated.moved} keys; {rotated.verified} decrypt with {ring.current.id} alone")
    _refuse(rotated.problems)


def _refuse(problems: Mapping[str, str]) -> None:
    for name, problem in problems.items():
        warn(f"the key of provider {name!r} is left alone: {problem}", "KEY_LEFT_ALONE")
    if problems:
        raise Failure(
            f"left alone: the keys of {', '.join(problems)}; set them anew, or bring back what they need",
            ExitCode.REFUSED,
        )


def _as_row(status: KeyStatus) -> tuple[str, ...]:
    if not status.has_key:
        return status.provider_name, "none", "-", "-", "-"
    answers = (status.is_current, status.is_bound, status.is_readable)
    return status.provider_name, status.key_id or "unknown", *("yes" if answer else "no" for answer in answers)


def _as_json(status: KeyStatus) -> dict[str, Any]:
    return {**asdict(status), "is_readable": status.is_readable, "needs_attention": status.needs_attention}
