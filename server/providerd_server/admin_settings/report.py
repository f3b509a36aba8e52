"""What the importer prints: the steps and tables of the founding document, with a fingerprint for the key."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from providerd.cli.output import printable
from providerd_server.admin_settings.document import AdminSettings
from providerd_server.admin_settings.target import State
from providerd_server.snapshot import StoredProvider

_WIDTH = 80
_COLUMNS = "{:<20} {:<25} {:<10} {:<10}"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an import came to.

    Attributes:
        changes: The columns that changed, or would in a dry run; the key goes by ``api_key``.
        backup: The copy of the file; None when there was nothing to write.
        state: The database afterwards.
    """

    changes: Sequence[str]
    backup: Path | None
    state: State


def say(text: str) -> None:
    """Prints lines; a terminal that lacks a character shows another in its place."""
    encoding = sys.stdout.encoding or "utf-8"
    lines = "\n".join(printable(line).rstrip() for line in text.split("\n"))
    click.echo(lines.encode(encoding, "replace").decode(encoding))


def silence(_: str) -> None:
    """Prints nothing, where the output is for a program."""


def title(say: Say) -> None:
    """Prints the headline."""
    _headline(say, "LLM Provider Configuration Migration")
    say("")


def plan(say: Say, before: StoredProvider, wanted: AdminSettings) -> None:
    """Prints what the provider is to be like."""
    shown = (("Base URL", "base_url"), ("Endpoint", "endpoint_path_template"), ("Model", "default_model"))
    say(f"Migrating {before.display_name} configuration:")
    for label, column in shown:
        say(f"  {label}: {wanted.fields.get(column, getattr(before, column))}")
    say(f"  API Key: {wanted.key_fingerprint} (fingerprint)\n")


def summary(say: Say, outcome: Outcome, *, dry_run: bool) -> None:
    """Prints all providers, and how it ended."""
    providers = outcome.state.providers
    _headline(say, "MIGRATION SUMMARY")
    say(f"Total providers: {len(providers)}\n\nProvider Status:\n{'-' * _WIDTH}")
    say(_COLUMNS.format("Provider", "Display Name", "Active", "Enabled"))
    say("-" * _WIDTH)
    for each in providers:
        active, enabled = "✓ ACTIVE" if each.is_active else "", "✓" if each.is_enabled else "✗"
        say(_COLUMNS.format(each.provider_name, each.display_name, active, enabled))
    say("-" * _WIDTH + "\n")
    say(f"✓ {_ending(outcome, dry_run=dry_run)}")


def as_json(outcome: Outcome, *, file: Path, fingerprint: str, dry_run: bool) -> dict[str, Any]:
    """Returns all of it for programs."""
    state = outcome.state
    return {
        "file": str(file),
        "backup": str(outcome.backup) if outcome.backup else None,
        "provider_name": state.provider.provider_name,
        "key_fingerprint": fingerprint,
        "dry_run": dry_run,
        "changed": bool(outcome.changes),
        "changes": list(outcome.changes),
        "revision": {"store_id": state.revision.store_id, "number": state.revision.number},
        "providers": [
            {
                "provider_name": each.provider_name,
                "display_name": each.display_name,
                "is_active": each.is_active,
                "is_enabled": each.is_enabled,
            }
            for each in state.providers
        ],
    }


def _ending(outcome: Outcome, *, dry_run: bool) -> str:
    if not outcome.changes:
        return "Nothing to change: the database has all of this already"
    if dry_run:
        return f"Dry run: nothing was written; would back up the file and change {', '.join(outcome.changes)}"
    return "Migration completed successfully!"


def _headline(say: Say, text: str) -> None:
    say("=" * _WIDTH)
    say(text)
    say("=" * _WIDTH)
