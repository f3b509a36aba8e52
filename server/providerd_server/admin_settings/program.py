"""The command that imports ``admin_settings.json``, step by step, as its operator sees it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import click

from providerd.cli.failures import ExitCode, Failure, warn
from providerd.cli.options import change_options, example, json_option
from providerd.cli.output import print_json
from providerd.secret import Secret
from providerd_server import logs
from providerd_server.admin_settings import report
from providerd_server.admin_settings.backup import backup
from providerd_server.admin_settings.document import AdminSettings, load
from providerd_server.admin_settings.report import Outcome, Say
from providerd_server.admin_settings.target import State, Target, has_key
from providerd_server.databases import connected, data_dir_option, database
from providerd_server.failures import told_in_one_line
from providerd_server.security import hosts_of
from providerd_server.settings import PUBLISHED_PASSPHRASE
from providerd_server.settings import load as load_settings
from providerd_server.store.keyring import Keyring, load_keyring
from providerd_server.store.tls import Trust
from providerd_server.validation.hosts import HostPolicy


@dataclass(frozen=True, slots=True)
class _Job:
    path: Path
    wanted: AdminSettings
    provider_name: str
    dry_run: bool
    reason: str
    actor: str
    hosts: HostPolicy
    say: Say


@click.command(
    "admin-settings",
    epilog=example("providerd import admin-settings --dry-run", "providerd import admin-settings /srv/settings.json"),
)
@click.argument("file", type=click.Path(path_type=Path, readable=False), default="config/admin_settings.json")
@click.option("--provider", "provider_name", default="groq", show_default=True, metavar="NAME", help="Whose settings.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, and write nothing.")
@data_dir_option
@change_options
@json_option
def command(
    *,
    file: Path,
    provider_name: str,
    dry_run: bool,
    data_dir: Path | None,
    reason: str,
    actor: str,
    as_json: bool,
) -> None:
    """Import a provider's API key and address from admin_settings.json.

    FILE is config/admin_settings.json by default. It is backed up beside itself before anything is changed; a second
    run changes nothing. The database is the one that `providerd serve` would use, and the daemon may be running.
    """
    say = report.silence if as_json else report.say
    report.title(say)
    say(f"Loading {file}...")
    wanted = load(file, provider_name)
    say("✓ Admin settings loaded")
    with told_in_one_line(file):
        settings = load_settings(data_dir=data_dir)
        hosts = hosts_of(settings)
        job = _Job(file, wanted, provider_name, dry_run, reason or f"imported from {file.name}", actor, hosts, say)
        # What matters to whoever imports is said here; the rest is for the daemon's log.
        logs.configure("critical", "console")
        ring = load_keyring(settings)
        say("Connecting to database...")
        with database(settings, create=False) as url:
            outcome = asyncio.run(_import(job, url, ring, Trust.of(settings)))
    report.summary(say, outcome, dry_run=dry_run)
    if as_json:
        print_json(report.as_json(outcome, file=file, fingerprint=wanted.key_fingerprint, dry_run=dry_run))
    if not dry_run:
        _warn_of_plain_text(file, outcome.backup)
    if ring.current.passphrase == Secret(PUBLISHED_PASSPHRASE):
        warn(
            "keys are encrypted with the published default; set DB_ENCRYPTION_KEY in production", "PUBLISHED_PASSPHRASE"
        )


async def _import(job: _Job, url: Secret, ring: Keyring, trust: Trust) -> Outcome:
    async with connected(url, trust) as transactions:
        target = Target(transactions, ring, job.provider_name, reason=job.reason, actor=job.actor, hosts=job.hosts)
        job.say("✓ Connected successfully\n")
        job.say("Enabling pgcrypto extension...")
        enabled = await target.enable_pgcrypto(dry_run=job.dry_run)
        job.say("✓ pgcrypto enabled\n" if enabled else "✓ pgcrypto would be enabled\n")
        before = await target.state(decrypt=enabled)
        report.plan(job.say, before.provider, job.wanted)
        changes = target.changes(before.provider, job.wanted)
        if job.dry_run:
            return Outcome(changes, None, before)
        copy = await _write(job, target, changes) if changes else None
        return Outcome(changes, copy, await _validated(job, target))


async def _write(job: _Job, target: Target, changes: list[str]) -> Path:
    job.say("Creating backup...")
    copy = backup(job.path, job.wanted.content)
    job.say(f"✓ Backup created: {copy}\n")
    job.say("Encrypting API key...")
    saved = await target.save(job.wanted)
    job.say("✓ API key encrypted\n" if "api_key" in changes else "✓ API key is stored already\n")
    job.say("Updating database...")
    provider = saved.after
    job.say(f"✓ Updated provider: {provider.display_name} (ID: {provider.id}), revision {saved.revision.number}\n")
    return copy


async def _validated(job: _Job, target: Target) -> State:
    job.say("Validating migration...")
    after = await target.state()
    if not has_key(after.provider, job.wanted):
        raise Failure(
            f"the stored key of {job.provider_name!r} is not the one in {job.path}: somebody else has changed it since,"
            " or the database does not keep what it is told; run this again",
            ExitCode.CONFLICT,
        )
    job.say("✓ API key encryption validated")
    job.say(f"✓ Provider '{job.provider_name}' active: {after.provider.is_active}\n")
    return after


def _warn_of_plain_text(path: Path, copy: Path | None) -> None:
    where, what = (f"{path} and its backup hold", "both") if copy else (f"{path} holds", "it and its backups")
    warn(f"{where} the API key in plain text: delete {what} when everything works", "PLAINTEXT_KEY")
