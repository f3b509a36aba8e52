"""The daemon's certificate and the authorities of its clients, read again when their files change."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

import grpc
import structlog

from providerd_server.errors import ConfigurationError
from providerd_server.reloading import Reloaded

log = structlog.get_logger(__name__)


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
        if key_file.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
            log.warning("every user of this machine may read the TLS key", path=str(key_file), hint="chmod o-rw")

    def server_credentials(self) -> grpc.ServerCredentials:
        """What a gRPC server listens with; gRPC asks for the newest certificate at each handshake."""
        given = self.files.value

        def newest() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            if self.files.value is given:
                return None
            given = self.files.value
            return given

        return grpc.dynamic_ssl_server_credentials(
            given,
            newest,  # type: ignore[arg-type]  # None says that nothing is new
            require_client_authentication=self._client_ca_file is not None,
        )

    def _read(self) -> grpc.ServerCertificateConfiguration:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._check(self._cert_file, "PROVIDERD_TLS_CERT_FILE")
        self._check(self._key_file, "PROVIDERD_TLS_KEY_FILE")
        try:
            # The empty passphrase keeps an encrypted key from asking for one on the terminal.
            context.load_cert_chain(self._cert_file, self._key_file, password="")
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"the TLS certificate {self._cert_file} and the key {self._key_file} cannot be used together"
                f" ({_why(error)}); both must be PEM, the key without a passphrase and of this certificate"
            ) from None
        return grpc.ssl_server_certificate_configuration(
            [(self._key_file.read_bytes(), self._cert_file.read_bytes())], root_certificates=self._authorities(context)
        )

    def _authorities(self, context: ssl.SSLContext) -> bytes | None:
        if self._client_ca_file is None:
            return None
        self._check(self._client_ca_file, "PROVIDERD_TLS_CLIENT_CA_FILE")
        try:
            context.load_verify_locations(self._client_ca_file)
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"the authorities of clients in {self._client_ca_file} cannot be used ({_why(error)}); they must be PEM"
            ) from None
        return self._client_ca_file.read_bytes()

    def _check(self, path: Path, setting: str) -> None:
        try:
            path.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{setting}: {path} cannot be read: {error.strerror}") from None


def _why(error: Exception) -> str:
    return str(getattr(error, "reason", None) or type(error).__name__).lower().replace("_", " ")
