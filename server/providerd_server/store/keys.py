"""API keys: encrypted and decrypted by pgcrypto, once for each ciphertext.

Passphrases and keys travel as bind parameters only, so that no statement text ever holds one.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg
import structlog

from providerd.secret import Secret
from providerd_server.store.database import Connection
from providerd_server.store.keyring import Key, Keyring
from providerd_server.store.sealed import SealedKey, UnreadableError
from providerd_server.validation.hosts import HostPolicy

log = structlog.get_logger(__name__)

# AES-256 with a key derived by RFC 9580's iterated and salted S2K over SHA-256. 32 MiB of hashing make each guess of
# the passphrase cost some 30 ms, and each new key as much once; decision 0009 has the figures.
# https://www.postgresql.org/docs/current/pgcrypto.html#PGCRYPTO-PGP-ENC-FUNCS-OPTS
_OPTIONS = "cipher-algo=aes256, s2k-mode=3, s2k-digest-algo=sha256, s2k-count=33554432"
_ENCRYPT = f"SELECT encode(pgp_sym_encrypt($1, $2, '{_OPTIONS}'), 'hex')"
_DECRYPT = "SELECT pgp_sym_decrypt(decode($1, 'hex'), $2)"

# What pgcrypto answers to a wrong passphrase and to what is no message of its own.
_UNDECRYPTABLE = (asyncpg.ExternalRoutineInvocationError, asyncpg.DataError)


@dataclass(frozen=True, slots=True)
class Unsealed:
    """An API key in clear, and what it was encrypted with."""

    api_key: Secret
    key: Key


class Keys:
    """The API keys of all providers, in clear, as far as they can be read.

    Args:
        ring: What they are encrypted with.
        require_seals: Whether a key without a seal, as plain SQL stores it, counts as one that cannot be read.
        hosts: Where keys may be sent; one for anywhere else counts as one that cannot be read. None for anywhere.
    """

    def __init__(self, ring: Keyring, *, require_seals: bool = False, hosts: HostPolicy | None = None) -> None:
        self.ring = ring
        self._hosts = hosts
        self._require_seals = require_seals
        self._plain: dict[tuple[str, str], Secret | None] = {}
        self._known: dict[SealedKey, Secret | None] = {}
        # How often one was seen that could not be read.
        self.failures = 0

    @property
    def unreadable(self) -> tuple[str, ...]:
        """The names of the providers whose keys ``learn`` could not read, in order."""
        return tuple(sorted(sealed.provider_name for sealed, plain in self._known.items() if plain is None))

    def of(self, row: Mapping[str, Any]) -> Secret | None:
        """The key of a provider that ``learn`` has seen as it is; None for no key and for one that cannot be read."""
        sealed = SealedKey.in_row(row)
        return self._known.get(sealed) if sealed else None

    def is_unreadable(self, row: Mapping[str, Any]) -> bool:
        """Whether ``learn`` has seen this provider as it is and could not read its key."""
        sealed = SealedKey.in_row(row)
        return sealed in self._known and self._known[sealed] is None

    async def learn(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Reads what is new or changed among all rows of ``llm_provider_configs``, and forgets what is gone.

        A key that cannot be read blocks only its own provider and is logged once.
        """
        stored = {sealed for row in rows if (sealed := SealedKey.in_row(row))}
        for sealed in stored - self._known.keys():
            self._known[sealed] = await self._read(connection, sealed)
        for sealed in self._known.keys() - stored:
            del self._known[sealed]
        ciphertexts = {sealed.ciphertext for sealed in stored}
        self._plain = {mark: plain for mark, plain in self._plain.items() if mark[0] in ciphertexts}

    async def unseal(self, connection: Connection, sealed: SealedKey) -> Unsealed:
        """Decrypts a stored key, unless it was changed by others than those who have the passphrases.

        Raises:
            UnreadableError: It cannot be read, or must not be.
        """
        if self._require_seals and sealed.mac is None:
            raise UnreadableError(
                "it has no seal, and this daemon reads no key without one",
                "run `providerd keys rotate`, which seals it and says for which destination, or set the key anew",
            )
        if self._hosts is not None and not self._hosts.allows(sealed.destination):
            raise UnreadableError(
                "its provider's base_url is no place to send a key to",
                "give the provider an https:// URL of a public host, or list the host in PROVIDERD_ALLOWED_HOSTS",
            )
        for key in sealed.openers(self.ring):
            mark = (sealed.ciphertext, key.id)
            if mark not in self._plain:
                self._plain[mark] = await _decrypt(connection, sealed.ciphertext, key)
            if (api_key := self._plain[mark]) is not None:
                return Unsealed(api_key, key)
        raise UnreadableError(
            "no passphrase of the key ring decrypts it, or it is damaged",
            "check that DB_ENCRYPTION_KEY is the passphrase it was stored with, or set the key anew",
        )

    async def encrypt(self, connection: Connection, api_key: Secret) -> str:
        """The ciphertext of ``api_key`` under the current key, as hex."""
        passphrase = self.ring.current.passphrase
        ciphertext: str = await connection.fetchval(_ENCRYPT, api_key.reveal(), passphrase.reveal())
        return ciphertext

    async def _read(self, connection: Connection, sealed: SealedKey) -> Secret | None:
        try:
            return (await self.unseal(connection, sealed)).api_key
        except UnreadableError as error:
            self.failures += 1
            log.error(
                "the key of a provider cannot be decrypted",
                provider_name=sealed.provider_name,
                key_id=sealed.key_id,
                reason=str(error),
                hint=error.hint,
            )
            return None


def stand_in() -> str:
    """What a dry run stores in place of a ciphertext, as hex: a message to the schema, and made without any hashing."""
    # RFC 9580, 5.3 and 3.7.1.3: version 4, AES-256, iterated and salted S2K, SHA-256, the salt, the count of _OPTIONS.
    head = f"c30d04090308{secrets.token_hex(8)}f0"
    # RFC 9580, 5.13: version 1 of an encrypted and integrity protected packet of 60 bytes.
    return f"{head}d23c01{secrets.token_hex(59)}"


async def _decrypt(connection: Connection, ciphertext: str, key: Key) -> Secret | None:
    try:
        return Secret(await connection.fetchval(_DECRYPT, ciphertext, key.passphrase.reveal()))
    except _UNDECRYPTABLE:
        return None
