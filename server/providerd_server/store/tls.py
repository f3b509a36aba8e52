"""TLS to the database: how each connection is opened, whom it trusts, and what to tell when that fails.

The parameters are libpq's (https://www.postgresql.org/docs/current/libpq-ssl.html), with another default: whatever
leaves this machine is verified in full, and less than that must be asked for in so many words.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, urlsplit

import asyncpg
import structlog

from providerd.secret import Secret
from providerd_server.errors import ConfigurationError
from providerd_server.store.hosts import hosts_of, is_local, is_socket

if TYPE_CHECKING:
    from providerd_server.settings import Settings

log = structlog.get_logger(__name__)

_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_OPPORTUNISTIC = _MODES[:3]

_NAME_AUTHORITY = "name the file of its authority with PROVIDERD_DATABASE_CA_FILE or sslrootcert"

# By the code of https://github.com/openssl/openssl/blob/master/include/openssl/x509_vfy.h.in
_ADVICE = {
    9: "check the clocks, and the certificate on its server",
    10: "renew it on the database's server",
    23: "have a new one issued for the database's server",
    62: "connect by a name that it is issued for, or have one issued for this name",
    64: "connect by a name that it is issued for, or have one issued for this address",
}


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom to trust on the way to the database, beside what its URL says.

    Attributes:
        ca_file: The authorities that its certificate is checked by (PEM); None for those of libpq's environment,
            else the system's.
        insecure: Whether a connection that leaves this machine may be left unverified where the URL wants that.
    """

    ca_file: Path | None = None
    insecure: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Trust:
        """What the settings say."""
        return cls(settings.database_ca_file, settings.database_insecure)


STRICT = Trust()


class UntrustedError(ConnectionError):
    """TLS to the database failed; the message is one line that names the host and says what to do."""


async def open_connection(url: Secret, trust: Trust, **options: Any) -> asyncpg.Connection:
    """Opens a connection, with TLS as ``url`` and ``trust`` want it. Every connection is opened here.

    The files of certificates are read each time, so that the next connection uses one that was replaced.

    Args:
        url: Where to.
        trust: Whom to trust.
        options: What else ``asyncpg.connect`` takes.

    Raises:
        UntrustedError: It cannot be secured as it must be.
        OSError: The database cannot be reached.
        asyncpg.PostgresError: The database refuses.
        ValueError: The URL cannot be read.
    """
    way = _Way(url, trust)
    try:
        connection: asyncpg.Connection = await asyncpg.connect(url.reveal(), ssl=way.secured(), **options)
    except ConfigurationError as error:
        raise UntrustedError(str(error)) from None
    except ssl.SSLError as error:
        raise UntrustedError(_told(error, way.place)) from None
    except ConnectionError as error:
        if "rejected SSL upgrade" not in str(error):
            raise
        raise UntrustedError(
            f"the database {way.place} offers no TLS, which sslmode={way.mode} needs: set ssl = on there, or where the"
            " network is to be trusted, sslmode=disable here and PROVIDERD_DATABASE_INSECURE=true"
        ) from None
    return connection


def check_tls(url: Secret, trust: Trust) -> None:
    """Says at start what no retry would mend, and warns of a connection that is not verified.

    Raises:
        ConfigurationError: The mode is refused, or a file of certificates cannot be used.
    """
    try:
        way = _Way(url, trust)
    except ValueError:
        # Its text may quote a part of the password.
        raise ConfigurationError(
            "SUPABASE_DB_URL cannot be read; write special characters in its password as %XX"
        ) from None
    way.secured()
    if not way.local and not way.verified:
        log.warning(
            "the connection to the database is not verified: whoever is on the way can read and change it",
            hosts=way.place,
            sslmode=way.mode,
            hint="use sslmode=verify-full",
        )


def is_local_way(url: Secret) -> bool:
    """Whether the way to the database stays on this machine."""
    return all(is_local(host) for host in hosts_of(url))


def is_verified_way(url: Secret, trust: Trust) -> bool:
    """Whether only a server that proves who it is gets connected to."""
    return _Way(url, trust).verified


class _Way:
    """One URL: where it leads, in which mode, and the files that secure it.

    Raises:
        ValueError: The URL cannot be read.
    """

    def __init__(self, url: Secret, trust: Trust) -> None:
        self._query = {name: values[-1] for name, values in parse_qs(urlsplit(url.reveal()).query).items()}
        self._trust = trust
        self._hosts = hosts_of(url)
        self.local = is_local_way(url)
        self.mode = self._given("sslmode") or ("prefer" if self.local else "verify-full")
        self._root = self._find_root()
        # As in libpq, require verifies by the authorities that are named; see "Client Verification of Server
        # Certificates" there.
        self.verified = self.mode == "verify-full" or (self.mode in _MODES[3:] and self._root is not None)

    @property
    def place(self) -> str:
        """The hosts, for people."""
        return ",".join(self._hosts) or "localhost"

    def secured(self) -> ssl.SSLContext | Literal["disable", "allow", "prefer"] | bool:
        """What ``asyncpg.connect`` takes as ``ssl``.

        Raises:
            ConfigurationError: The mode is refused, or a file cannot be used.
        """
        self._refuse()
        if self._hosts and all(is_socket(host) for host in self._hosts):
            return False
        if self.mode in _OPPORTUNISTIC:
            return self.mode  # type: ignore[return-value]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._bound_versions(context)
        context.check_hostname = self.mode == "verify-full"
        if self.verified:
            self._load_authorities(context)
        else:
            context.verify_mode = ssl.CERT_NONE
        self._load_certificate(context)
        # Servers with sslnegotiation=direct insist on it.
        context.set_alpn_protocols(["postgresql"])
        return context

    def _refuse(self) -> None:
        if "service" in self._query:
            raise ConfigurationError(
                "the database URL names a service, whose hosts cannot be checked: write the host into the URL"
            )
        if self.mode not in _MODES:
            raise ConfigurationError(f"the sslmode of SUPABASE_DB_URL or PGSSLMODE must be one of {', '.join(_MODES)}")
        if self.mode == "verify-ca" and self._root is None:
            raise ConfigurationError(
                f"sslmode=verify-ca would take the certificate of anybody for that of {self.place}:"
                f" {_NAME_AUTHORITY}, or use sslmode=verify-full"
            )
        if self.local or self.verified or self._trust.insecure:
            return
        if self.mode == "require":
            raise ConfigurationError(
                f"sslmode=require would encrypt for whoever answers as {self.place}:"
                f" {_NAME_AUTHORITY}, or use sslmode=verify-full"
            )
        raise ConfigurationError(
            f"sslmode={self.mode} would show passwords and keys to whoever is on the way to {self.place}:"
            " use sslmode=verify-full, or where the network is to be trusted, PROVIDERD_DATABASE_INSECURE=true"
        )

    def _find_root(self) -> tuple[str, Path] | None:
        """What names the file of authorities, and the file; None for the system's."""
        named = (
            ("sslrootcert", self._query.get("sslrootcert")),
            ("PROVIDERD_DATABASE_CA_FILE", self._trust.ca_file),
            ("PGSSLROOTCERT", os.environ.get("PGSSLROOTCERT")),
            ("the certificate", _in_home("root.crt")),
        )
        for origin, path in named:
            if path:
                return None if path == "system" else (origin, Path(path))
        return None

    def _load_authorities(self, context: ssl.SSLContext) -> None:
        if self._root is None:
            context.load_default_certs()
        else:
            origin, root = self._root
            _load(origin, root, lambda: context.load_verify_locations(root))
        if crl := self._given("sslcrl") or _in_home("root.crl"):
            _load("sslcrl", crl, lambda: context.load_verify_locations(crl))
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN

    def _load_certificate(self, context: ssl.SSLContext) -> None:
        certificate = self._given("sslcert") or _in_home("postgresql.crt")
        key = self._given("sslkey") or _in_home("postgresql.key")
        if certificate:
            # Without a password at hand OpenSSL would ask the terminal.
            password = self._query.get("sslpassword", "")
            _load("sslcert", certificate, lambda: context.load_cert_chain(certificate, key, lambda: password))

    def _bound_versions(self, context: ssl.SSLContext) -> None:
        try:
            context.minimum_version = _version(self._given("ssl_min_protocol_version") or "TLSv1.2")
            if newest := self._given("ssl_max_protocol_version"):
                context.maximum_version = _version(newest)
        except KeyError:
            raise ConfigurationError("ssl_min_protocol_version and its max must be like TLSv1.2") from None

    def _given(self, name: str) -> str | None:
        """A parameter of the URL, else of libpq's environment.

        Source: https://www.postgresql.org/docs/current/libpq-envars.html
        """
        return self._query.get(name) or os.environ.get("PG" + name.replace("_", "").upper())


def _in_home(name: str) -> Path | None:
    """One of libpq's files in ``~/.postgresql``, where there is one."""
    try:
        path = Path.home() / ".postgresql" / name
        return path if path.exists() else None
    except (OSError, RuntimeError):
        return None


def _load(origin: str, path: Path | str, load: Callable[[], object]) -> None:
    try:
        load()
    except OSError as error:
        reason = _reason(error) if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigurationError(f"cannot use {origin} {path}: {reason}; it must be a readable PEM file") from None


def _version(name: str) -> ssl.TLSVersion:
    return ssl.TLSVersion[name.replace(".", "_")]


def _told(error: ssl.SSLError, place: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = _ADVICE.get(error.verify_code, _NAME_AUTHORITY)
        return f"the certificate of the database {place} is refused ({error.verify_message.rstrip('.')}): {advice}"
    return f"TLS with the database {place} failed ({_reason(error)}): see the log of its server"


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "it is not valid").replace("_", " ").lower()
