"""Encryption of the one secret that a last-known-good file may hold."""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING

from providerd.provider import Credential

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from providerd.secret import Secret

# The shortest passphrase, in characters.
_SHORTEST = 16

_SALT_BYTES = 16

# 96 bits, the size that SP 800-38D, section 8.2 recommends; random ones are good for 2**32 writes with one key.
_NONCE_BYTES = 12


class Seal:
    """Seals a credential with AES-256-GCM, under a key that scrypt makes of a passphrase and a salt."""

    def __init__(self, passphrase: Secret) -> None:
        """Loads the library.

        Raises:
            ValueError: It is not installed.
        """
        try:
            import cryptography  # noqa: F401 - only whoever stores keys needs it
        except ImportError:
            raise ValueError("snapshot_key needs the library cryptography: pip install 'providerd[snapshot]'") from None
        self._passphrase = passphrase
        self._salt = os.urandom(_SALT_BYTES)
        self._cipher: AESGCM | None = None

    def close(self, credential: Credential | None, bound_to: bytes) -> bytes:
        """Returns a line of text that holds a credential, or that there is none, and opens beside these bytes only."""
        nonce = os.urandom(_NONCE_BYTES)
        clear = json.dumps(None if credential is None else credential.api_key).encode()
        return base64.b64encode(self._salt + nonce + self._for(self._salt).encrypt(nonce, clear, bound_to))

    def open(self, sealed: bytes, bound_to: bytes) -> Credential | None:
        """Returns the credential, if there is one.

        Raises:
            ValueError: It was not sealed beside these bytes with this passphrase.
        """
        from cryptography.exceptions import InvalidTag

        if not sealed:
            raise ValueError("was written without a snapshot_key")
        try:
            raw = base64.b64decode(sealed, validate=True)
            salt, nonce = raw[:_SALT_BYTES], raw[_SALT_BYTES : _SALT_BYTES + _NONCE_BYTES]
            clear = self._for(salt).decrypt(nonce, raw[_SALT_BYTES + _NONCE_BYTES :], bound_to)
        except (InvalidTag, ValueError):
            raise ValueError("was written with another snapshot_key, or changed since") from None
        api_key = json.loads(clear)
        return None if api_key is None else Credential(api_key)

    def _for(self, salt: bytes) -> AESGCM:
        """Returns the cipher for a salt. It is kept for the next, because it takes long to make on purpose."""
        if self._cipher is None or salt != self._salt:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
            from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

            # One of the equal choices of the OWASP Password Storage Cheat Sheet: 16 MiB of memory, five times.
            scrypt = Scrypt(salt=salt, length=32, n=2**14, r=8, p=5)
            self._salt, self._cipher = salt, AESGCM(scrypt.derive(_bytes(self._passphrase)))
        return self._cipher


def check_key(key: Secret, name: str) -> None:
    """Makes sure that a text can be a passphrase.

    Raises:
        ValueError: It cannot; the message calls it by the name and does not show it.
    """
    try:
        _bytes(key)
    except UnicodeEncodeError:
        raise ValueError(f"{name} is no text") from None
    if len(key.reveal()) < _SHORTEST:
        raise ValueError(f"{name} is shorter than {_SHORTEST} characters: `openssl rand -base64 32` makes one")


def _bytes(key: Secret) -> bytes:
    # What is no UTF-8 came in as bytes.
    return key.reveal().encode("utf-8", "surrogateescape")
