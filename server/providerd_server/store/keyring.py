"""The passphrases that API keys are encrypted with: the current one encrypts, and the others still decrypt."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from providerd.secret import Secret
from providerd_server.errors import ConfigurationError
from providerd_server.settings import PUBLISHED_PASSPHRASE, Settings

SHORTEST_PASSPHRASE = 16

# The salt is fixed, for all daemons must derive the same.
_SALT = b"providerd: API keys at rest, 1"

# As the schema has it.
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Key:
    """One passphrase, and what is made from it.

    Attributes:
        id: What the database calls it: the name given to it, or its tag.
        tag: ``k-`` and 8 hex digits made from the passphrase.
        passphrase: What pgcrypto encrypts with.
        seal: What ciphertexts are bound to their providers with, in hex.
        origin: The setting or the file that it comes from, for people.
    """

    id: str
    tag: str
    passphrase: Secret
    seal: Secret
    origin: str


@dataclass(frozen=True, slots=True)
class Keyring:
    """All passphrases, the one that encrypts first."""

    keys: tuple[Key, ...]

    @property
    def current(self) -> Key:
        """The one that encrypts."""
        return self.keys[0]

    def find(self, key_id: str | None) -> Key | None:
        """The one that the database calls ``key_id``; None when it is not here.

        A named one goes by its tag as well, so that naming a passphrase orphans nothing.
        """
        return next((key for key in self.keys if key_id in (key.id, key.tag)), None)


def derive(passphrase: Secret, origin: str, name: str | None = None) -> Key:
    """The key of a passphrase.

    The id is stored beside each ciphertext. It is made by scrypt, so that it is no quicker way to guess a passphrase
    than decrypting is, and from other bytes of its output than the seal, so that the one tells nothing of the other:
    https://www.rfc-editor.org/rfc/rfc7914.html#section-6

    Raises:
        ConfigurationError: The passphrase is not text that PostgreSQL takes.
    """
    try:
        text = passphrase.reveal().encode()
    except UnicodeEncodeError:
        raise ConfigurationError(f"the passphrase of {origin} is not UTF-8; choose another") from None
    if not text or b"\0" in text:
        raise ConfigurationError(f"the passphrase of {origin} is empty or holds a NUL; choose another")
    derived = hashlib.scrypt(text, salt=_SALT, n=2**14, r=8, p=1, dklen=64)
    tag = f"k-{derived[:4].hex()}"
    return Key(name or tag, tag, passphrase, Secret(derived[32:].hex()), origin)


def load_keyring(settings: Settings) -> Keyring:
    """The key ring of these settings; takes some 50 ms for each passphrase.

    Raises:
        ConfigurationError: The file cannot be used, or there are passphrases beside it; the message says no secret.
    """
    if settings.encryption_keys_file is not None:
        if settings.model_fields_set & {"db_encryption_key", "db_encryption_key_previous"}:
            raise ConfigurationError(
                "PROVIDERD_ENCRYPTION_KEYS_FILE stands in place of DB_ENCRYPTION_KEY and DB_ENCRYPTION_KEY_PREVIOUS:"
                " set the file or the others, not both"
            )
        return _ring(_read(settings.encryption_keys_file.expanduser()))
    keys = [derive(settings.db_encryption_key, "DB_ENCRYPTION_KEY")]
    previous = settings.db_encryption_key_previous
    if previous is not None and previous != settings.db_encryption_key:
        keys.append(derive(previous, "DB_ENCRYPTION_KEY_PREVIOUS"))
    return _ring(keys)


def check_passphrases(ring: Keyring, *, development: bool) -> list[str]:
    """What is wrong with the passphrase that encrypts. The others may be weak: rotation is the way out of them.

    Args:
        ring: All of them.
        development: Whether that is to be put up with.

    Raises:
        ConfigurationError: Something is wrong with it, outside development.
    """
    current = ring.current
    problem = None
    if current.passphrase == Secret(PUBLISHED_PASSPHRASE):
        problem = "keys are encrypted with the published default passphrase, which protects nothing"
    elif len(current.passphrase.reveal()) < SHORTEST_PASSPHRASE:
        problem = f"keys are encrypted with a passphrase of less than {SHORTEST_PASSPHRASE} characters"
    if problem is None:
        return []
    problem += f": set {current.origin} to a long random one, and see `providerd keys status` for keys stored before"
    if not development:
        raise ConfigurationError(problem)
    return [problem]


def _ring(keys: Sequence[Key]) -> Keyring:
    names = [name for key in keys for name in {key.id, key.tag}]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigurationError(f"two encryption keys go by {twice[0]}: give them other names, or drop one of them")
    return Keyring(tuple(keys))


def _read(path: Path) -> list[Key]:
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            content = file.read()
    except OSError as error:
        raise ConfigurationError(f"cannot read the file of encryption keys {path}: {error.strerror}") from None
    # One's own is to be closed to all others; one that somebody else has given to a group, as Kubernetes does, is not.
    if stat.S_IMODE(found.st_mode) & (0o077 if found.st_uid == os.geteuid() else 0o007):
        raise ConfigurationError(f"the file of encryption keys {path} is open to others: chmod 600 {path}")
    try:
        lines = content.decode().split("\n")
    except UnicodeDecodeError:
        raise ConfigurationError(f"the file of encryption keys {path} is not UTF-8") from None
    keys = []
    for number, line in enumerate(map(str.strip, lines), start=1):
        if line and not line.startswith("#"):
            keys.append(_key_in(line, f"line {number} of {path}"))
    if not keys:
        raise ConfigurationError(f"the file of encryption keys {path} holds none: write a line `name = passphrase`")
    return keys


def _key_in(line: str, origin: str) -> Key:
    name, separator, passphrase = (part.strip() for part in line.partition("="))
    if not separator or not passphrase or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{origin} is not `name = passphrase`, with a name of at most 64 letters, digits, dots, _ and -"
        )
    return derive(Secret(passphrase), origin, name)
