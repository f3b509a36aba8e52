"""Checks of where and to whom the API is served, for daemons and sidecars alike."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from providerd_server.access.principals import TokenEntry, read_access_file
from providerd_server.certificates import Certificates, certificates_in, is_open_to_all
from providerd_server.doctor.examination import Verdict, ok, problem, warning, worst
from providerd_server.listening import exposures
from providerd_server.serving_settings import ServingSettings

_TOKENS_END = timedelta(days=14)
_CERTIFICATES_END = timedelta(days=30)


def exposure(settings: ServingSettings) -> Verdict:
    """Who can reach it, and whether that is meant."""
    found = [warning(each.what, each.remedy) for each in exposures(settings)]
    protected = [
        what
        for what, given in (("TLS", settings.tls_cert_file), ("authentication", settings.access_file))
        if given is not None
    ]
    return worst(found, f"{', '.join(settings.listen)}, with {' and '.join(protected) or 'neither TLS nor tokens'}")


def socket_directories(settings: ServingSettings) -> Verdict | None:
    """Whether unix sockets can be made where they are to be; None without such."""
    paths = [
        Path(each.removeprefix("unix:").removeprefix("//")) for each in settings.listen if each.startswith("unix:")
    ]
    found = [verdict for path in paths if (verdict := _socket_directory(path.parent)) is not None]
    return worst(found, ", ".join(str(path.parent) for path in paths)) if paths else None


def access_file(settings: ServingSettings) -> Verdict:
    """Whether the access file can be used, and lets anybody in."""
    if settings.access_file is None:
        return ok("none: whoever reaches the daemon may do everything")
    content = read_access_file(settings.access_file)
    if not content.tokens and not content.certificates:
        return warning(
            f"{settings.access_file} knows nobody, so every call is refused",
            "`providerd token create NAME --scope read` lets somebody in",
        )
    return ok(f"{settings.access_file}: {len(content.tokens)} tokens, {len(content.certificates)} certificates")


def tokens(settings: ServingSettings) -> Verdict | None:
    """Whether tokens have expired or soon will; None without an access file."""
    if settings.access_file is None:
        return None
    now = datetime.now(UTC)
    entries = read_access_file(settings.access_file).tokens
    ending = [each for each in entries if each.expires is not None and each.expires - now < _TOKENS_END]
    return worst([_ending(each) for each in ending], f"none of {len(entries)} ends within {_TOKENS_END.days} days")


def certificate(settings: ServingSettings) -> Verdict:
    """Whether the certificate, its key and the authorities of clients can be used, and for how long."""
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return ok("none: TLS is off")
    Certificates(settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)
    found = [*_ends(settings.tls_cert_file, "the TLS certificate", "replace PROVIDERD_TLS_CERT_FILE and its key")]
    if is_open_to_all(settings.tls_key_file):
        found.append(
            warning(
                f"every user of this machine may read {settings.tls_key_file}", f"chmod o-rw {settings.tls_key_file}"
            )
        )
    if settings.tls_client_ca_file is not None:
        found += _ends(settings.tls_client_ca_file, "an authority of clients", "replace PROVIDERD_TLS_CLIENT_CA_FILE")
    until = certificates_in(settings.tls_cert_file.read_bytes())[0].not_valid_after_utc
    clients = "" if settings.tls_client_ca_file is None else ", and clients show theirs"
    return worst(found, f"{settings.tls_cert_file} is good until {until:%Y-%m-%d}{clients}")


def _socket_directory(directory: Path) -> Verdict | None:
    if not directory.is_dir():
        return problem(f"{directory} is not there", f"mkdir -p {directory}, or with systemd RuntimeDirectory=")
    if not os.access(directory, os.W_OK | os.X_OK):
        return problem(
            f"this account cannot write to {directory}",
            f"chown {os.geteuid()} {directory}, or name another directory in PROVIDERD_LISTEN",
        )
    found = directory.stat()
    if found.st_mode & 0o002 and not found.st_mode & 0o1000:
        return warning(f"everybody may replace the socket in {directory}", f"chmod o-w {directory}")
    return None


def _ending(entry: TokenEntry) -> Verdict:
    state = "has expired" if entry.expired else f"expires {entry.expires:%Y-%m-%d}"
    revoke = f"`providerd token revoke {entry.name} --id {entry.id}`"
    return warning(
        f"the token {entry.id} of {entry.name} {state}",
        f"{revoke} takes it away" if entry.expired else f"make a new one by `providerd token create`, then {revoke}",
    )


def _ends(path: Path, what: str, hint: str) -> Iterator[Verdict]:
    """What is to be said of the validity of the certificates in a file."""
    now = datetime.now(UTC)
    for each in certificates_in(path.read_bytes()):
        if each.not_valid_after_utc <= now:
            yield problem(f"{what} in {path} has expired on {each.not_valid_after_utc:%Y-%m-%d}", hint)
        elif each.not_valid_before_utc > now:
            yield problem(f"{what} in {path} is not valid before {each.not_valid_before_utc:%Y-%m-%d %H:%M} UTC", hint)
        elif each.not_valid_after_utc - now < _CERTIFICATES_END:
            yield warning(f"{what} in {path} expires on {each.not_valid_after_utc:%Y-%m-%d}", hint)
