"""Checks of the stored API keys and of the active provider, read as the daemon reads them."""

from __future__ import annotations

from typing import Any

from providerd_server.doctor.case import Case
from providerd_server.doctor.examination import Verdict, ok, problem, warning, worst
from providerd_server.security import hosts_of
from providerd_server.store import Keys, statements
from providerd_server.store.sealed import SealedKey, UnreadableError


async def keys(case: Case) -> Verdict:
    """Whether each can be read, is under the current passphrase, and bound."""
    reader = Keys(case.keyring, require_seals=case.settings.require_seals, hosts=hosts_of(case.settings))
    async with case.connection() as connection:
        rows = await statements.find_all(connection)
    stored = [sealed for row in rows if (sealed := SealedKey.in_row(row)) is not None]
    found = [verdict for sealed in stored if (verdict := await _state(case, reader, sealed)) is not None]
    well = "; readable, under the current passphrase, and bound" if stored else ""
    return worst(found, f"{len(stored)} of {len(rows)} providers have one{well}")


async def active_provider(case: Case) -> Verdict:
    """Whether there is one, and calls to it have a key."""
    async with case.connection() as connection:
        rows = [row for row in await statements.find_all(connection) if row["is_active"]]
    if not rows:
        return warning("none: who asks for it is told so", "`providerd switch NAME` makes one active")
    if len(rows) > 1:
        return problem(f"{len(rows)} are active", "run migrations/001 again, and `providerd switch NAME`")
    name = rows[0]["provider_name"]
    if SealedKey.in_row(rows[0]) is None:
        return warning(f"{name} has no key, so calls to it will be refused", f"`providerd set-key {name}`")
    return ok(f"{name}, model {rows[0]['default_model']}")


async def _state(case: Case, reader: Keys, sealed: SealedKey) -> Verdict | None:
    """What is to be said of a key, if anything."""
    whose = f"the key of {sealed.provider_name}"
    try:
        # A connection for each: to derive what it is encrypted with takes its time.
        async with case.connection() as connection:
            key: Any = (await reader.unseal(connection, sealed)).key
    except UnreadableError as error:
        return problem(f"{whose} cannot be read: {error}", error.hint)
    if key != case.keyring.current:
        return warning(f"{whose} is under {key.id}, not under the current passphrase", "`providerd keys rotate`")
    if sealed.mac is None:
        return warning(f"{whose} is not bound to {sealed.destination}", "`providerd keys rotate` binds it")
    return None
