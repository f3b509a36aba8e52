"""Checks of a daemon's settings, and of what they say of secrets."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

from providerd_server.described import describe, unknown_settings
from providerd_server.doctor.case import Case
from providerd_server.doctor.examination import Verdict, ok, parted, warning, worst
from providerd_server.security import hosts_of
from providerd_server.serving_settings import ServingSettings
from providerd_server.settings import load
from providerd_server.store.keyring import check_passphrases, load_keyring

_DOTENV = Path(".env")
_SOURCES = (("flag", "the command line"), ("environment", "the environment"), (".env", ".env"))


def settings(case: Case) -> Verdict:
    """Whether they can be read, and say what they seem to."""
    case.settings = load(**case.flags)
    found = oddities()
    if case.settings.dev and case.settings.database_url is not None:
        found.append(
            warning("PROVIDERD_DEV lets weak passphrases and http:// pass", "unset it where real keys are stored")
        )
    return worst(found, origins(case.settings, case.flags))


def oddities() -> list[Verdict]:
    """What is odd about where settings come from, whatever they are of."""
    found = [
        warning(f"a setting {name} does not exist", "correct the name: `providerd serve --print-config` lists all")
        for name in unknown_settings()
    ]
    if _DOTENV.is_file() and _is_open(_DOTENV.stat()):
        found.append(warning(f"other users may read {_DOTENV.resolve()}", f"chmod 600 {_DOTENV.resolve()}"))
    return found


def origins(given: ServingSettings, flags: Any) -> str:
    """Where they come from, in words."""
    counted = Counter(each.source for each in describe(given, **flags))
    told = [f"{counted[source]} from {name}" for source, name in _SOURCES if counted[source]]
    return f"{', '.join(told) or 'none given'}; {counted['default']} by default"


def key_ring(case: Case) -> Verdict:
    """Whether the passphrases can be read."""
    case.keyring = load_keyring(case.settings)
    others = len(case.keyring.keys) - 1
    return ok(f"{case.keyring.current.id} encrypts" + (f", {others} more decrypt" if others else ""))


def passphrase(case: Case) -> Verdict:
    """Whether the one that encrypts is worth anything."""
    weak = [
        warning(*parted(each)) for each in check_passphrases(case.keyring, development=case.settings.in_development)
    ]
    return worst(weak, f"{case.keyring.current.origin}, which is not the published one, and long enough")


def allowed_hosts(case: Case) -> Verdict:
    """Whether the hosts that keys may be sent to beyond public names make sense."""
    hosts_of(case.settings)
    return ok(f"public names{''.join(f', {each}' for each in case.settings.allowed_hosts)}")


def _is_open(found: os.stat_result) -> bool:
    # As for a file of passphrases: one that somebody else has given to a group is meant for that.
    return bool(found.st_mode & (0o077 if found.st_uid == os.geteuid() else 0o007))
