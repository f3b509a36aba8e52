"""Checks of the process that serves: whether one answers where it should, and whether it keeps up."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509

from providerd._version import __version__
from providerd.cli.condition import Condition
from providerd.cli.security import keywords
from providerd.cli.status import ask
from providerd.client import Client
from providerd_server.certificates import certificates_in
from providerd_server.doctor.case import PATIENCE, Case
from providerd_server.doctor.examination import Verdict, ok, problem, skipped, warning, worst
from providerd_server.listening import check_free
from providerd_server.probe import probe
from providerd_server.serving_settings import ServingSettings
from providerd_server.store.transaction import current_revision

# Beside a poll, how many seconds a daemon may take to read what it has heard of.
_READING = 1.0

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - what is dialled instead
_STATES, _FREE, _UNKNOWN = ("SERVING", "NOT_SERVING"), "free", "chosen when it starts"
_DENIED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


async def answering(settings: ServingSettings, command: str) -> tuple[Verdict, str]:
    """Whether a daemon answers at each address, or whether one could be taken; and one where it does.

    Args:
        settings: Where it is to listen.
        command: What starts it.
    """
    states = {address: await asyncio.to_thread(_state, settings, address) for address in settings.listen}
    here = [address for address, state in states.items() if state in _STATES]
    found = [_verdict(address, state, command) for address, state in states.items() if state != "SERVING"]
    if not here and all(state == _FREE for state in states.values()):
        return warning(f"nobody answers at {', '.join(states)}, which is free", f"`{command}` starts one"), ""
    return worst(found, f"serves at {', '.join(here)}"), here[0] if here else ""


async def following(case: Case) -> Verdict:
    """Whether the daemon is at the database's revision."""
    if not case.answering:
        return skipped("no daemon answers", "`providerd serve` starts one")
    async with case.connection() as connection:
        newest = await current_revision(connection)
    until = time.monotonic() + min(1.25 * case.settings.poll_interval + _READING, PATIENCE)
    while True:
        status = await _status(case.settings, case.answering)
        if status.error is not None or status.revision is None:
            return _refused(status)
        if status.revision["store_id"] != newest.store_id:
            return problem(
                "it follows another store than this database's",
                "start it anew with the settings that are here, or run this with its: `providerd serve --print-config`",
            )
        behind = status.revision["number"] < newest.number
        if not behind or time.monotonic() > until:
            return _kept_up(status, newest.number if behind else None)
        await asyncio.sleep(_READING / 4)


async def freshness(settings: ServingSettings, address: str) -> Verdict:
    """Whether what answers there has recent answers."""
    if not address:
        return skipped("no sidecar answers", "`providerd sidecar` starts one")
    status = await _status(settings, address)
    return _refused(status) if status.error is not None else _kept_up(status, None)


def _state(settings: ServingSettings, address: str) -> str:
    """What is at an address: a health status, nobody, or why nobody knows."""
    if address.endswith(":0"):
        return _UNKNOWN
    if address.startswith("unix:") and not _is_listened_to(address.removeprefix("unix:").removeprefix("//")):
        return _FREE
    credentials, name = _tls(settings, address)
    state = probe(_dialled(address), credentials, name)
    if state in _STATES or address.startswith("unix:"):
        return state
    try:
        check_free(address)
    except OSError as error:
        return f"{error.strerror}; {state}"
    return _FREE


def _is_listened_to(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probing:
        try:
            probing.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:
            return True
    return True


def _verdict(address: str, state: str, command: str) -> Verdict:
    if state == _FREE:
        return warning(f"nobody answers at {address}, which is free", f"start `{command}` anew with these settings")
    if state == _UNKNOWN:
        return ok(f"the port of {address} is chosen when it starts")
    if state == "NOT_SERVING":
        return problem(f"it answers at {address}, and does not serve", "its log says what it waits for")
    return problem(
        f"no daemon answers at {address}, and it cannot be taken: {state}",
        "stop what holds it, or set PROVIDERD_LISTEN; where clients show certificates, set PROVIDERD_CERT_FILE and"
        " PROVIDERD_KEY_FILE to one",
    )


async def _status(settings: ServingSettings, address: str) -> Condition:
    client = Client(_dialled(address), timeout=PATIENCE, name="providerd-doctor", **_client_options(settings, address))
    try:
        return await ask(client, address, PATIENCE)
    finally:
        await client.close()


def _refused(status: Condition) -> Verdict:
    error = status.error
    if error is not None and error.code in _DENIED:
        return skipped(
            f"it refuses this program: {error.message}",
            "set PROVIDERD_TOKEN_FILE to the file of a token with the scope read",
        )
    return problem(f"it has no answers: {error.message if error else 'none came'}", "its log says what it waits for")


def _kept_up(status: Condition, newest: int | None) -> Verdict:
    number = status.revision["number"] if status.revision else None
    verified = f"verified {status.age:.1f} s ago"
    if newest is not None:
        return problem(
            f"it is at revision {number}, and the database at {newest}", "its log says why it cannot read the database"
        )
    if status.stale:
        return problem(f"stale: revision {number}, {verified}", "its log says why it cannot read what it follows")
    version = status.daemon.version if status.daemon else "unknown"
    told = f"revision {number}, {verified}, version {version}"
    if version != __version__:
        return warning(f"{told}; this program has version {__version__}", "start it anew, if it was updated since")
    return ok(told)


def _tls(settings: ServingSettings, address: str) -> tuple[grpc.ChannelCredentials | None, str]:
    options = _client_options(settings, address)
    if "ca_file" not in options:
        return None, ""
    key, chain = (Path(options[each]).read_bytes() if each in options else None for each in ("key_file", "cert_file"))
    name = options.get("tls_server_name", "")
    return grpc.ssl_channel_credentials(Path(options["ca_file"]).read_bytes(), key, chain), name


def _client_options(settings: ServingSettings, address: str) -> dict[str, Any]:
    """How to talk to what has these settings: its own certificate is all the authority that it takes."""
    given: Mapping[str, Any] = keywords({})
    shown = {name: given[name] for name in ("token", "token_file") if name in given}
    if address.startswith("unix:") or settings.tls_cert_file is None:
        # Its address is this machine's, whatever it looks like.
        return {**shown, "insecure": True}
    certificate = {name: given[name] for name in ("cert_file", "key_file") if name in given}
    named = {"tls_server_name": name} if (name := _name_in(settings.tls_cert_file)) else {}
    return {**shown, **certificate, **named, "ca_file": settings.tls_cert_file}


def _name_in(cert_file: Path) -> str:
    """A name that the certificate is for; empty where it names none."""
    extensions = certificates_in(cert_file.read_bytes())[0].extensions
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    hosts = [each.replace("*", "any") for each in names.get_values_for_type(x509.DNSName)]
    return next(iter([*hosts, *map(str, names.get_values_for_type(x509.IPAddress))]), "")


def _dialled(address: str) -> str:
    host, _, port = address.rpartition(":")
    return f"{_EVERYWHERE.get(host, host)}:{port}"
