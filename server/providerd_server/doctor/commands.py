"""The command of the ``providerd`` program that examines what it stands on."""

from __future__ import annotations

import logging
import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click
from dotenv import dotenv_values

from providerd.cli.failures import ExitCode
from providerd.cli.options import example, json_option
from providerd.cli.output import print_grid, print_json
from providerd.cli.session import Session, pass_session
from providerd_server import logs
from providerd_server.databases import data_dir_option
from providerd_server.doctor.case import Case
from providerd_server.doctor.checks import of_daemon, of_sidecar
from providerd_server.doctor.examination import Finding, Outcome, examine
from providerd_server.doctor.sidecar import SidecarCase
from providerd_server.starting import run


@click.command(epilog=example("providerd doctor", "providerd doctor --json | jq '.[] | select(.outcome != \"ok\")'"))
@data_dir_option
@click.option(
    "--sidecar/--daemon",
    default=None,
    help="What to examine. [default: a sidecar where PROVIDERD_UPSTREAM is set]",
)
@json_option
@pass_session
def doctor(session: Session, *, data_dir: Path | None, sidecar: bool | None, as_json: bool) -> None:
    """Examine everything that the daemon stands on, and say what to do.

    Run it with the settings and as the account of the daemon, while that runs or not: settings, files, database,
    schema, rights, keys, and the daemon itself. With --sidecar it is the settings, the upstream and the file of a
    sidecar. It changes nothing; an embedded database that does not run is started for as long as it takes.

    Each check is ok, a warning, a problem, or skipped since it takes another that failed. Exit code 0 when there is no
    problem, and 1 when there is one.
    """
    # All that matters is in what is found; the rest is for the daemon's log.
    logs.configure("critical", "console")
    logging.disable(logging.CRITICAL)
    of_a_sidecar = _upstream_is_set() if sidecar is None else sidecar
    findings = run(_examine_sidecar(session.debug) if of_a_sidecar else _examine_daemon(data_dir, session.debug))
    if as_json:
        print_json([asdict(each) for each in findings])
    else:
        print_grid(row for each in findings for row in _rows(each))
        click.echo(_summary(findings))
    if any(each.outcome is Outcome.PROBLEM for each in findings):
        raise SystemExit(ExitCode.UNEXPECTED)


async def _examine_daemon(data_dir: Path | None, debug: bool) -> list[Finding]:
    case = Case({"data_dir": data_dir})
    try:
        return await examine(of_daemon(case), debug=debug)
    finally:
        await case.close()


async def _examine_sidecar(debug: bool) -> list[Finding]:
    return await examine(of_sidecar(SidecarCase({})), debug=debug)


def _upstream_is_set() -> bool:
    given = {**dotenv_values(".env"), **os.environ}
    return any(name.upper() == "PROVIDERD_UPSTREAM" and value for name, value in given.items())


def _rows(finding: Finding) -> list[tuple[str, str, str]]:
    row = (finding.outcome.value, finding.check, finding.found)
    if not finding.hint:
        return [row]
    if finding.outcome is Outcome.SKIPPED:
        return [(*row[:2], f"{finding.found}: {finding.hint}")]
    return [row, ("", "", f"→ {finding.hint}")]


def _summary(findings: list[Finding]) -> str:
    counted = Counter(each.outcome for each in findings)
    told = [
        f"{counted[outcome] or 'no'} {outcome.value}{'' if counted[outcome] == 1 else 's'}"
        for outcome in (Outcome.PROBLEM, Outcome.WARNING)
    ]
    return f"\n{', '.join(told)}, {counted[Outcome.OK]} ok, {counted[Outcome.SKIPPED]} skipped"
