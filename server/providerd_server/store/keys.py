"""API keys: decrypted by pgcrypto once per ciphertext, encrypted by pgcrypto with stated options.

The passphrase and the keys travel as bind parameters only, so that no statement text ever holds one.
Source of the options: https://www.postgresql.org/docs/current/pgcrypto.html#PGCRYPTO-PGP-ENC-FUNCS-OPTS
"""

from __future__ import annotations

from collections.abc import Iterable

import asyncpg
import structlog

from providerd.secret import Secret
from providerd_server.store.database import Connection
from providerd_server.store.rows import fingerprint

log = structlog.get_logger(__name__)

_DECRYPT = "SELECT pgp_sym_decrypt(decode($1, 'hex'), $2)"
_ENCRYPT = "SELECT encode(pgp_sym_encrypt($1, $2, 'cipher-algo=aes256, s2k-mode=3, s2k-digest-algo=sha256'), 'hex')"


ABSENT = Secret("")


class Keys:
    """The keys of all providers, by the fingerprint of their ciphertext.

    Args:
        passphrase: What the keys are encrypted with: ``DB_ENCRYPTION_KEY``.
    """

    def __init__(self, passphrase: Secret) -> None:
        self._passphrase = passphrase
        self._plain: dict[str, Secret | None] = {}

    def of(self, ciphertext: str | None) -> Secret | None:
        """The key in a ciphertext that ``learn`` has seen; None for no key and for one that cannot be read."""
        return self._plain.get(fingerprint(ciphertext) or "")

    def is_unreadable(self, ciphertext: str | None) -> bool:
        """Whether ``learn`` has seen this ciphertext and could not decrypt it."""
        return self._plain.get(fingerprint(ciphertext) or "", ABSENT) is None

    async def learn(self, connection: Connection, ciphertexts: Iterable[tuple[str, str | None]]) -> None:
        """Decrypts what is new among ``(provider_name, ciphertext)`` and forgets what is gone.

        A key that cannot be decrypted blocks only its own provider and is logged once.
        """
        wanted = {mark: (name, text) for name, text in ciphertexts if text and (mark := fingerprint(text))}
        for mark, (name, text) in wanted.items():
            if mark not in self._plain:
                self._plain[mark] = await self._decrypt(connection, name, text)
        for mark in self._plain.keys() - wanted.keys():
            del self._plain[mark]

    async def encrypt(self, connection: Connection, api_key: Secret) -> str:
        """The ciphertext of ``api_key`` as hex, as ``api_key_encrypted`` stores it."""
        ciphertext: str = await connection.fetchval(_ENCRYPT, api_key.reveal(), self._passphrase.reveal())
        return ciphertext

    async def _decrypt(self, connection: Connection, name: str, ciphertext: str) -> Secret | None:
        try:
            plain = await connection.fetchval(_DECRYPT, ciphertext, self._passphrase.reveal())
        except (asyncpg.ExternalRoutineInvocationError, asyncpg.DataError) as error:
            log.error(
                "the key of a provider cannot be decrypted",
                provider_name=name,
                error=str(error),
                hint="check that DB_ENCRYPTION_KEY is the passphrase it was stored with, or set the key anew",
            )
            return None
        return Secret(plain)
