"""Whom a client trusts and what it shows to daemons: certificates and a token, as their files have them now."""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING, Never

import grpc

from providerd.files import Files
from providerd.renewable import Renewable
from providerd.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from providerd.options import ClientOptions

# b64token: RFC 6750, section 2.1. Daemons take headers of up to 4,096 bytes.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_LONGEST = 4000


class Credentials:
    """What a client needs to be let in. It knows neither channels nor calls."""

    def __init__(self, options: ClientOptions) -> None:
        """Reads the files that the options name.

        Raises:
            ValueError: One is broken; the message names the option and the file, and shows nothing of its content.
        """
        self._tls = options.tls
        self._token = options.secret_token
        self._token_file = (
            None if options.token_file is None else _token_file(Files({"token_file": options.token_file}))
        )
        files = Files(options.certificate_files)
        self._certificates = Renewable(files, lambda contents: _certificates(files, contents))
        # Whether a daemon that does not know this client may soon do so: what it is known by comes from a file.
        self.renewable = self._token_file is not None or (self._token is None and "cert_file" in files)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Returns the metadata of a call that starts now; the token's file is read again for it."""
        if self._token_file is not None:
            self._token_file.refresh()
            self._token = self._token_file.value
        # RFC 6750, section 2.1.
        return () if self._token is None else (("authorization", f"Bearer {self._token.reveal()}"),)

    def refresh(self) -> bool:
        """Reads the certificates again and says whether there are new ones, which take a new channel."""
        return self._certificates.refresh()

    def for_channel(self) -> grpc.ChannelCredentials | None:
        """Returns the credentials of a channel that is opened now; None for one without TLS."""
        if not self._tls:
            return None
        pems = {option: content.reveal().encode("latin-1") for option, content in self._certificates.value.items()}
        return grpc.ssl_channel_credentials(pems.get("ca_file"), pems.get("key_file"), pems.get("cert_file"))


def check_token(token: Secret, name: str) -> None:
    """Makes sure that a text can be a bearer token, as RFC 6750, section 2.1 has it.

    Raises:
        ValueError: It cannot; the message calls it by the name and does not show it.
    """
    if not token:
        raise ValueError(f"{name} is empty")
    if len(token.reveal()) > _LONGEST:
        raise ValueError(f"{name} is longer than {_LONGEST:,} characters, which no token is")
    if not _TOKEN.fullmatch(token.reveal()):
        raise ValueError(f"{name} is no token: only letters, digits and -._~+/= may be in one, and no line breaks")


def _token_file(files: Files) -> Renewable[Secret]:
    def make(contents: Mapping[str, Secret]) -> Secret:
        token = Secret(contents["token_file"].reveal().strip())
        check_token(token, f"token_file {files['token_file']!r}")
        return token

    return Renewable(files, make)


def _certificates(files: Files, contents: Mapping[str, Secret]) -> Mapping[str, Secret]:
    """Returns the contents, when they are what gRPC can use: it tells of others only when it connects, and vaguely."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if "ca_file" in files:
        try:
            context.load_verify_locations(files["ca_file"])
        except (ssl.SSLError, OSError):
            raise ValueError(f"ca_file {files['ca_file']!r} holds no certificates in PEM") from None
    if "cert_file" in files:
        try:
            context.load_cert_chain(files["cert_file"], files["key_file"], _no_passphrase)
        except (ssl.SSLError, OSError):
            raise ValueError(
                f"cert_file {files['cert_file']!r} and key_file {files['key_file']!r} "
                "are not a certificate in PEM and its unencrypted private key"
            ) from None
    # The check reads by itself: what it saw must be what will be used.
    if files.read() != contents:
        raise ValueError("the certificates are being replaced")
    return contents


def _no_passphrase() -> Never:
    raise OSError("without this OpenSSL would ask for one at the terminal")
