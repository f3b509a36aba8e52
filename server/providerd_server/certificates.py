"""The daemon's certificate and the authorities of its clients, read again when their files change."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from providerd_server.errors import ConfigurationError
from providerd_server.reloading import Reloaded

log = structlog.get_logger(__name__)

_SOON = timedelta(days=7)


@dataclass(frozen=True, slots=True, eq=False)
class Certified:
    """What the files hold: the configuration that gRPC takes, and when the certificate ends."""

    configuration: grpc.ServerCertificateConfiguration
    ends: datetime


class Certificates:
    """What TLS is spoken with.

    New connections take the files as they are now; open ones go on as they began.

    Args:
        cert_file: The certificate chain, in PEM.
        key_file: Its private key, in PEM, without a passphrase.
        client_ca_file: The authorities that clients must have a certificate of; None asks for none.

    Raises:
        ConfigurationError: The files cannot be used.
    """

    def __init__(self, cert_file: Path, key_file: Path, client_ca_file: Path | None) -> None:
        self._cert_file, self._key_file, self._client_ca_file = cert_file, key_file, client_ca_file
        paths = [cert_file, key_file, *([client_ca_file] if client_ca_file else [])]
        self.files = Reloaded("the TLS certificate", paths, self._read)
        if is_open_to_all(key_file):
            log.warning("every user of this machine may read the TLS key", path=str(key_file), hint="chmod o-rw")

    @property
    def ends(self) -> datetime:
        """When the certificate in use does."""
        return self.files.value.ends

    def server_credentials(self) -> grpc.ServerCredentials:
        """What one address is listened on with; gRPC asks for the newest certificate at each handshake."""
        given = self.files.value

        def newest() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            if self.files.value is given:
                return None
            given = self.files.value
            return given.configuration

        return grpc.dynamic_ssl_server_credentials(
            given.configuration,
            newest,  # type: ignore[arg-type]  # None says that nothing is new
            require_client_authentication=self._client_ca_file is not None,
        )

    def _read(self) -> Certified:
        # Each file is read once, so that what is checked is what is used.
        chain = _content(self._cert_file, "PROVIDERD_TLS_CERT_FILE")
        key = _content(self._key_file, "PROVIDERD_TLS_KEY_FILE")
        if problem := _problem(chain, key):
            raise ConfigurationError(
                f"the TLS certificate {self._cert_file} and the key {self._key_file} cannot be used: {problem}"
            )
        authorities = None
        if self._client_ca_file is not None:
            authorities = _content(self._client_ca_file, "PROVIDERD_TLS_CLIENT_CA_FILE")
            if not certificates_in(authorities):
                raise ConfigurationError(
                    f"the authorities of clients in {self._client_ca_file} cannot be used: they must be PEM"
                )
        configuration = grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=authorities)
        return Certified(configuration, certificates_in(chain)[0].not_valid_after_utc)


def is_open_to_all(key_file: Path) -> bool:
    """Whether every user of this machine may read or replace a private key."""
    return bool(key_file.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH))


def certificates_in(pem: bytes) -> list[x509.Certificate]:
    """The certificates of a PEM file; none of what is no such file."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        return []


def _content(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{setting}: {path} cannot be read: {error.strerror}") from None


def _problem(chain: bytes, key: bytes) -> str | None:
    """What is wrong with a certificate and its key, for a server that speaks TLS with gRPC's BoringSSL."""
    certificates = certificates_in(chain)
    if not certificates:
        return "the certificate is not PEM"
    try:
        private = load_pem_private_key(key, None)
    except TypeError:
        return "the key has a passphrase; remove it"
    except (ValueError, UnsupportedAlgorithm):
        return "the key is not PEM"
    leaf, now = certificates[0], datetime.now(UTC)
    if not isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        return "the key must be RSA or ECDSA"
    if private.public_key() != leaf.public_key():
        return "the key is another certificate's"
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        return f"the certificate is valid from {leaf.not_valid_before_utc} to {leaf.not_valid_after_utc}, not now"
    if leaf.not_valid_after_utc - now < _SOON:
        log.warning("the TLS certificate is about to expire; replace its files", expires=str(leaf.not_valid_after_utc))
    return None
