"""What gRPC says when a connection cannot be made, in words that say what to do."""

from __future__ import annotations

import re

# As grpcio 1.62 to 1.85 have it; the reason behind it is not always there.
_NOT_VERIFIED = re.compile(r"CERTIFICATE_VERIFY_FAILED(?:: ([^:]+))?")
_OTHER_NAME = re.compile(r"Hostname Verification Check failed|Peer name .* is not in peer certificate")
_NO_TLS = re.compile(r"WRONG_VERSION_NUMBER")
# The other side hung up on what it was greeted with. One that goes away later is told of without these words.
_HUNG_UP = re.compile(r"(?:failed to connect|connections) to all .*(?:Socket closed|Connection reset by peer)")

_HINTS = {
    "plain": "it may speak TLS: turn on tls or give ca_file",
    "TLS": "it may want a certificate of this client: give cert_file and key_file",
    "mutual TLS": "it may not trust the certificate in cert_file",
}


def explain(details: str, target: str, transport: str) -> tuple[str, str]:
    """Returns a reason to branch on, empty where there is none, and a message in one line.

    Args:
        details: What gRPC said.
        target: Whom the connection was for.
        transport: How it was made, as ClientOptions.transport says.
    """
    if match := _NOT_VERIFIED.search(details):
        why = f" ({match[1].strip()})" if match[1] else ""
        message = f"the certificate of the daemon at {target} could not be verified{why}"
        return "CERTIFICATE_NOT_VERIFIED", f"{message}: ca_file must hold the authority that signed it"
    if _OTHER_NAME.search(details):
        message = f"the certificate of the daemon at {target} is for another name"
        return "CERTIFICATE_NAME_MISMATCH", f"{message}: connect by a name in it, or give that as tls_server_name"
    if _NO_TLS.search(details):
        return "NO_TLS", f"the daemon at {target} does not speak TLS there: connect without TLS, or to its port for it"
    message = f"cannot reach the daemon at {target}: {details}"
    if transport in _HINTS and _HUNG_UP.search(details):
        message += f"; {_HINTS[transport]}"
    return "", message
