"""Checks of a sidecar: its upstream, what that lets it read, and the file that it starts from without it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from providerd.cli.security import identity
from providerd.cli.status import ask
from providerd.client import Client
from providerd.errors import FailedPreconditionError, NotFoundError, ProviderdError
from providerd.seal import Seal
from providerd.snapshot_file import SnapshotFile
from providerd_server.doctor.case import PATIENCE
from providerd_server.doctor.examination import Verdict, ok, problem, warning, worst
from providerd_server.doctor.settings import oddities, origins
from providerd_server.sidecar import upstream_of
from providerd_server.sidecar_settings import SidecarSettings, load

_WITHOUT_FILE: Mapping[str, Any] = {"snapshot_file": None, "snapshot_key": None}

_ELSEWHERE = "run `providerd doctor` on its machine"
_ADVICE = {
    "UNAUTHENTICATED": "set PROVIDERD_TOKEN_FILE to the file of a token that the upstream knows:"
    " `providerd token create` there makes one",
    "PERMISSION_DENIED": "have the upstream make a token with the scope read, and with read-credential for keys",
    "UNAVAILABLE": "see that it runs there, and that PROVIDERD_UPSTREAM and the settings of TLS are its own",
}


class SidecarCase:
    """One sidecar under examination.

    Args:
        flags: What the command line says of the settings.
    """

    def __init__(self, flags: Mapping[str, Any]) -> None:
        self.flags = flags
        self.settings: SidecarSettings
        # Where a sidecar answered.
        self.answering = ""


def settings(case: SidecarCase) -> Verdict:
    """Whether they can be read, and say what they seem to."""
    case.settings = load(**case.flags)
    return worst(oddities(), origins(case.settings, case.flags))


async def upstream(case: SidecarCase) -> Verdict:
    """Whether it answers this sidecar, and how fresh."""
    return await _asked(case, include_credential=False)


async def upstream_keys(case: SidecarCase) -> Verdict:
    """Whether it hands out keys, where the sidecar is to carry them."""
    if not case.settings.include_credential:
        return ok("not asked for, as PROVIDERD_INCLUDE_CREDENTIAL says")
    return await _asked(case, include_credential=True)


def last_known_good(case: SidecarCase) -> Verdict:
    """Whether the sidecar could start from its file with the upstream away."""
    path = case.settings.snapshot_file
    if path is None:
        return ok("none: with the upstream away it does not start")
    key = case.settings.snapshot_key
    try:
        snapshot = SnapshotFile(path, None if key is None else Seal(key)).read()
    except (OSError, ValueError) as error:
        why = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
        return problem(f"{path} {why}", "correct that, or remove the file: the sidecar writes it anew")
    if snapshot is None:
        return _missing(path)
    age = snapshot.age_at(time.time())
    if math.isinf(age):
        return warning(f"{path} is from the future by this machine's clock", "have NTP set the clock")
    if age > case.settings.snapshot_max_age.total_seconds():
        return warning(
            f"{path} is {_days(age)} old, and too old to start from",
            "start the sidecar while its upstream is up, or raise PROVIDERD_SNAPSHOT_MAX_AGE",
        )
    return ok(f"{path}, {_days(age)} old")


def _missing(path: Path) -> Verdict:
    if path.parent.is_dir() and not os.access(path.parent, os.W_OK):
        return problem(f"this account cannot write to {path.parent}", f"chown {os.geteuid()} {path.parent}")
    return warning(
        f"{path} is not there yet, so with the upstream away it does not start",
        "start the sidecar while its upstream is up: it writes the file",
    )


async def _asked(case: SidecarCase, *, include_credential: bool) -> Verdict:
    # Its file is the sidecar's to write.
    client = upstream_of(case.settings.model_copy(update={**_WITHOUT_FILE, "include_credential": include_credential}))
    try:
        status = await ask(client, client.options.where, PATIENCE)
        if include_credential and status.error is None:
            status.error = await _refusal_of_keys(client)
    finally:
        await client.close()
    way = f"{status.server} by {status.transport}, showing {identity(client.options)}"
    if status.error is not None:
        return problem(f"{way}: {status.error.message}", _advice(status.error))
    if status.stale:
        return warning(f"{way}: stale, verified {status.age:.1f} s ago", _ELSEWHERE)
    return ok(f"{way}: revision {status.revision['number'] if status.revision else 'none'}")


async def _refusal_of_keys(client: Client) -> ProviderdError | None:
    """Why the upstream hands out no keys; None when it does, if it has one."""
    try:
        await client.get_active(include_credential=True)
    except (NotFoundError, FailedPreconditionError):
        # Nobody is active, or the key cannot be read: that is the upstream's to tell, and its doctor does.
        return None
    except ProviderdError as error:
        return error
    return None


def _advice(error: ProviderdError) -> str:
    code = error.code.name if error.code else ""
    # What answers like this is there, and waits for its own database.
    if code == "UNAVAILABLE" and error.reason == "NOT_READY":
        return _ELSEWHERE
    return _ADVICE.get(code, _ADVICE["PERMISSION_DENIED"])


def _days(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
