"""A stored API key: its ciphertext, and the seal that binds it to its provider and to where it may be sent."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from providerd_server.store.destination import destinations
from providerd_server.store.keyring import Key, Keyring
from providerd_server.store.rows import read_json


@dataclass(frozen=True, slots=True)
class SealedKey:
    """An API key as a row holds it.

    Attributes:
        provider_name: Whose it is.
        destination: Where it may be sent: scheme, host and port.
        ciphertext: A message of ``pgp_sym_encrypt`` in hex.
        key_id: What the key it is encrypted with is called; None when nobody said, as after plain SQL.
        mac: The seal, in hex; None for a key that is not bound, as after plain SQL.
    """

    provider_name: str
    destination: str
    ciphertext: str = field(repr=False)
    key_id: str | None
    mac: str | None

    @classmethod
    def in_row(cls, row: Mapping[str, Any]) -> Self | None:
        """The one in a row of ``llm_provider_configs``, if it has one."""
        if not row["api_key_encrypted"]:
            return None
        return cls(row["provider_name"], _where(row), row["api_key_encrypted"], row["api_key_id"], row["api_key_mac"])

    @classmethod
    def bind(cls, key: Key, provider_name: str, content: Mapping[str, Any], ciphertext: str) -> Self:
        """A ciphertext made with ``key``, bound to a provider that has ``content``."""
        where = destinations(content["base_url"], content["endpoint_path_template"], content["request_builder_config"])
        return cls(provider_name, where, ciphertext, key.id, _mac(key, provider_name, where, ciphertext))

    def moved_to(self, key: Key, ciphertext: str) -> SealedKey:
        """The same API key, encrypted anew with ``key``."""
        mac = _mac(key, self.provider_name, self.destination, ciphertext)
        return SealedKey(self.provider_name, self.destination, ciphertext, key.id, mac)

    def is_bound_by(self, key: Key) -> bool:
        """Whether this is what ``key`` was used to bind: nobody else can make such a seal."""
        expected = _mac(key, self.provider_name, self.destination, self.ciphertext)
        return self.mac is not None and hmac.compare_digest(self.mac.encode(), expected.encode())

    def openers(self, ring: Keyring) -> Sequence[Key]:
        """The keys of the ring that may decrypt it.

        Raises:
            UnreadableError: There is none, or the seal does not fit.
        """
        named = ring.find(self.key_id)
        if self.key_id is not None and named is None:
            raise UnreadableError(
                f"it is encrypted with {self.key_id}, which is not in the key ring",
                "give the daemon that passphrase as DB_ENCRYPTION_KEY_PREVIOUS or in its file, or set the key anew",
            )
        keys = [named] if named else ring.keys
        if self.mac is None:
            return keys
        keys = [key for key in keys if self.is_bound_by(key)]
        if not keys:
            raise UnreadableError(
                "its seal does not fit: the row was changed outside",
                "find out who changed its name, its URL or its key past the triggers, then set the key anew"
                " (a passphrase replaced under an old name has the same effect)",
            )
        return keys


class UnreadableError(Exception):
    """A stored API key cannot be read; the message says why.

    Attributes:
        hint: What to do.
    """

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.hint = hint


def _where(row: Mapping[str, Any]) -> str:
    document = row["request_builder_config"]
    try:
        return destinations(row["base_url"], row["endpoint_path_template"], read_json(document))
    except (ValueError, RecursionError):
        # Only possible where the schema's triggers were bypassed; whatever was bound was bound to something else.
        return f"{row['base_url']} {row['endpoint_path_template']} {document}"


def _mac(key: Key, *parts: str) -> str:
    # Lengths in front, so that no two lists of parts look the same.
    message = b"".join(len(part).to_bytes(8) + part for part in (each.encode() for each in parts))
    return hmac.new(bytes.fromhex(key.seal.reveal()), message, hashlib.sha256).hexdigest()
