"""What a call shows of who makes it."""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Iterable, Mapping

from providerd_server.access.principals import Presented
from providerd_server.errors import Kind, Refusal
from providerd_server.rpc import Context, is_local

_LONGEST = 4096
# b64token: RFC 6750, section 2.1.
_BEARER = re.compile(rb"[Bb]earer ([A-Za-z0-9._~+/-]+=*)")


def presented_by(context: Context) -> Presented:
    """What the call was made with: its token, else its certificate.

    Raises:
        Refusal: UNAUTHENTICATED: there is neither, or a token in a form that none can have.
    """
    headers = [value for key, value in context.invocation_metadata() or () if key == "authorization"]
    if len(headers) > 1:
        raise _unauthenticated("TOKEN_MALFORMED", "the call has several authorization headers; send one")
    if headers:
        return Presented.bearer(_token(headers[0]))
    identity = context.auth_context()
    uris, names = _names(identity, "peer_uri", 0x86), _names(identity, "peer_dns", 0x82)
    if not uris and not names:
        raise _unauthenticated("TOKEN_MISSING", "authentication is needed: send metadata `authorization: Bearer TOKEN`")
    return Presented(uris=uris, dns_names=names)


def unknown(presented: Presented, *, expired: bool) -> Refusal:
    """The refusal of somebody who is not in the access file."""
    if presented.token is None:
        return _unauthenticated(
            "CERTIFICATE_UNKNOWN", "no subject alternative name of the client's certificate is in the access file"
        )
    if expired:
        return _unauthenticated("TOKEN_EXPIRED", "the token has expired; ask for a new one")
    return _unauthenticated("TOKEN_UNKNOWN", "the token is unknown or was revoked")


def is_encrypted(context: Context) -> bool:
    """Whether the call came over TLS."""
    return b"ssl" in tuple(context.auth_context().get("transport_security_type", ()))


def host_of(peer: str) -> str:
    """The host in a gRPC peer string; of IPv6 the network of one site, which is what one user has."""
    if is_local(peer):
        return "local"
    family, _, address = peer.partition(":")
    host = address.rpartition(":")[0].replace("%5B", "[").replace("%5D", "]").strip("[]")
    if family != "ipv6":
        return host
    try:
        return str(ipaddress.ip_network((host.partition("%")[0], 64), strict=False))
    except ValueError:
        return host


def _token(header: str | bytes) -> bytes:
    # Bytes throughout: a header that is no text is not worth an exception of its own.
    value = header.encode("utf-8", "surrogatepass") if isinstance(header, str) else header
    match = _BEARER.fullmatch(value) if len(value) <= _LONGEST else None
    if match is None:
        raise _unauthenticated("TOKEN_MALFORMED", "the authorization header must be `Bearer TOKEN`")
    return match[1]


def _names(identity: Mapping[str, Iterable[bytes]], kind: str, tag: int) -> frozenset[str]:
    """The subject alternative names of a kind, as they are in the certificate.

    gRPC ends a name at its first NUL, and so may make another's name of it; hence only a name is taken that the
    certificate holds with that length. The tags: RFC 5280, section 4.2.1.6.
    """
    pem = b"".join(identity.get("x509_pem_cert", ())).decode("ascii", "replace")
    der = ssl.PEM_cert_to_DER_cert(pem) if pem else b""
    found = [value for value in identity.get(kind, ()) if bytes([tag]) + _length(value) + value in der]
    return frozenset(value.decode("ascii") for value in found if value.isascii())


def _length(value: bytes) -> bytes:
    # DER: X.690, section 8.1.3.
    if len(value) < 128:
        return bytes([len(value)])
    digits = len(value).to_bytes((len(value).bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(digits)]) + digits


def _unauthenticated(reason: str, message: str) -> Refusal:
    return Refusal(Kind.UNAUTHENTICATED, reason, message)
