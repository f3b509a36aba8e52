"""The access file: who there is, how each is recognised, and what each may do."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from providerd_server.access.scopes import Scope
from providerd_server.errors import ConfigurationError
from providerd_server.reloading import Reloaded

# It is written into the history and the log, so it must be one plain word.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$")]
Scopes = Annotated[frozenset[Scope], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who is known: the name that the history records, and what may be done."""

    name: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Whether it may do what ``scope`` is for."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    scopes: Scopes

    @property
    def principal(self) -> Principal:
        """Who this is an entry of."""
        return Principal(self.name, self.scopes)


class TokenEntry(_Entry):
    """A bearer token, of which only the SHA-256 is kept: it has 256 random bits, so no salt or slow hash is needed."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    created: AwareDatetime | None = None
    expires: AwareDatetime | None = None

    @property
    def id(self) -> str:
        """Tells the tokens of one principal apart."""
        return self.sha256[:12]

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return self.expires is not None and self.expires <= datetime.now(UTC)


class CertificateEntry(_Entry):
    """A client certificate, recognised by a subject alternative name: a URI, or else a DNS name."""

    san: Annotated[str, Field(min_length=1, max_length=2048)]


class AccessFile(BaseModel):
    """The content of the file."""

    model_config = ConfigDict(extra="forbid")

    tokens: list[TokenEntry] = []
    certificates: list[CertificateEntry] = []


@dataclass(frozen=True, slots=True)
class Presented:
    """What a caller showed of itself.

    Attributes:
        token: The SHA-256 of a bearer token, in hex.
        uris: The URIs among the subject alternative names of a verified certificate.
        dns_names: The DNS names among them.
    """

    token: str | None = None
    uris: frozenset[str] = frozenset()
    dns_names: frozenset[str] = frozenset()

    @classmethod
    def bearer(cls, token: bytes) -> Presented:
        """What a token is looked up by."""
        return cls(token=hashlib.sha256(token).hexdigest())


class Registry:
    """Knows all principals of an access file, which is read again when it changes.

    Args:
        path: The file.

    Raises:
        ConfigurationError: It cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.file = Reloaded("the access file", [path], lambda: _Index(read_access_file(path)))

    def find(self, presented: Presented) -> Principal | None:
        """Who that is; None for nobody who is known, any more or yet."""
        index = self.file.value
        if presented.token is None:
            return index.by_certificate(presented)
        entry = index.by_token(presented.token)
        return None if entry is None or entry.expired else entry.principal

    def is_expired(self, presented: Presented) -> bool:
        """Whether that is a token that was good once."""
        entry = self.file.value.by_token(presented.token) if presented.token else None
        return entry is not None and entry.expired


class _Index:
    """Finds entries fast."""

    def __init__(self, content: AccessFile) -> None:
        self._tokens = {entry.sha256: entry for entry in content.tokens}
        self._certificates: Sequence[CertificateEntry] = content.certificates

    def by_token(self, digest: str) -> TokenEntry | None:
        # What the lookup's timing may tell is of the digest, and nothing of a token that has it.
        entry = self._tokens.get(digest)
        if entry is None or not hmac.compare_digest(entry.sha256.encode(), digest.encode()):
            return None
        return entry

    def by_certificate(self, presented: Presented) -> Principal | None:
        for entry in self._certificates:
            if entry.san in (presented.uris if "://" in entry.san else presented.dns_names):
                return entry.principal
        return None


def read_access_file(path: Path) -> AccessFile:
    """Reads and checks an access file.

    Raises:
        ConfigurationError: It is not there, not as it must be, or others may write it.
    """
    try:
        found = path.stat()
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise ConfigurationError(
            f"the access file {path} does not exist; `providerd token create` makes it, PROVIDERD_ACCESS_FILE names it"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigurationError(f"the access file {path} cannot be read: {why}") from None
    if found.st_uid not in (0, os.geteuid()):
        raise ConfigurationError(
            f"the access file {path} is another user's, who could let themselves in; run: chown {os.geteuid()} {path}"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigurationError(
            f"the access file {path} may be written by others, who could let themselves in; run: chmod go-w {path}"
        )
    try:
        content = AccessFile.model_validate_json(text)
    except ValidationError as error:
        raise ConfigurationError(f"the access file {path} is wrong: {_problems(error)}") from None
    _check_unique(path, content)
    return content


def _problems(error: ValidationError) -> str:
    # Without the values: one of them may be a token that was put where its hash belongs.
    found = error.errors(include_input=False, include_url=False, include_context=False)
    shown = [
        f"{'.'.join(map(str, each['loc'])) or 'the file'}: {_message(each['type'], each['msg'])}" for each in found
    ]
    return "; ".join(shown[:5]) + (f"; and {len(shown) - 5} more" if len(shown) > 5 else "")


def _message(kind: str, message: str) -> str:
    return "is not JSON" if kind == "json_invalid" else message[:1].lower() + message[1:]


def _check_unique(path: Path, content: AccessFile) -> None:
    for kind, keys in (
        ("token", [entry.sha256 for entry in content.tokens]),
        ("certificate", [entry.san for entry in content.certificates]),
    ):
        if len(set(keys)) < len(keys):
            raise ConfigurationError(f"the access file {path} is wrong: it names the same {kind} twice")
