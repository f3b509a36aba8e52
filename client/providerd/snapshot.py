"""What a client knew at one moment, and its form in a file."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from providerd.content import provider_message
from providerd.provider import Credential, Provider, Revision, check_usable

if TYPE_CHECKING:
    from providerd.seal import Seal

_FORMAT = 1

_FILE = re.compile(rb"providerd-snapshot ([0-9]{1,9}) ([0-9a-f]{64})\n([^\n]*)\n([^\n]*)\n")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a watch at one moment.

    Attributes:
        revision: What it was true at.
        provider: The active provider; None when nobody was active.
        credential: Its key, where that is known.
        taken: When, in seconds since the epoch, by the wall clock: the only one that other processes share.
        age: Seconds for which the database had not been verified by then.
    """

    revision: Revision
    provider: Provider | None
    credential: Credential | None
    taken: float
    age: float

    def age_at(self, now: float) -> float:
        """Returns the seconds since the database was verified; infinite if the clock has gone back since."""
        return math.inf if now < self.taken else self.age + now - self.taken

    def encode(self, seal: Seal | None) -> bytes:
        """Returns the bytes of the file: a header, the state as JSON, and what is sealed.

        The header has the SHA-256 of all the rest. Without a seal the credential is left out.
        """
        state = json.dumps(
            {
                "store_id": self.revision.store_id,
                "revision": self.revision.number,
                "taken": self.taken,
                "age": self.age,
                "provider": None if self.provider is None else self.provider.to_dict(),
            },
            allow_nan=False,
        ).encode()
        sealed = b"" if seal is None else seal.close(self.credential, _bound(state))
        return b"providerd-snapshot %d %b\n%b\n%b\n" % (_FORMAT, _checksum(state, sealed), state, sealed)

    @classmethod
    def decode(cls, content: bytes, seal: Seal | None) -> Snapshot:
        """Reads the bytes of a file. With a seal, only what was written with its key is taken.

        Raises:
            ValueError: They are damaged, of another format, or were not sealed with this key. The message begins with
                a verb and shows nothing of them.
        """
        match = _FILE.fullmatch(content)
        if match is None:
            raise ValueError("is damaged, or no last-known-good file" if content else "is empty")
        number, checksum, state, sealed = match.groups()
        if int(number) != _FORMAT:
            raise ValueError(f"has format {int(number)}, and this version reads {_FORMAT}")
        if checksum != _checksum(state, sealed):
            raise ValueError("is damaged: its checksum does not match")
        credential = None if seal is None else seal.open(sealed, _bound(state))
        try:
            return _read(json.loads(state), credential)
        except Exception:  # whatever it is that a foreign writer got wrong
            raise ValueError("holds no state that this version understands") from None


def _read(state: Any, credential: Credential | None) -> Snapshot:
    revision = Revision(str(state["store_id"]), int(state["revision"]))
    taken, age = float(state["taken"]), float(state["age"])
    if not (revision.store_id and revision.number >= 0 and math.isfinite(taken) and 0 <= age < math.inf):
        raise ValueError
    provider = None
    if state["provider"] is not None:
        message = provider_message(state["provider"])
        check_usable(message)
        provider = Provider.from_proto(message)
    return Snapshot(revision, provider, credential, taken, age)


def _bound(state: bytes) -> bytes:
    """Returns what a sealed credential is bound to: without it, a key could be put beside another provider's URL."""
    return b"providerd-snapshot %d\n%b" % (_FORMAT, state)


def _checksum(state: bytes, sealed: bytes) -> bytes:
    return hashlib.sha256(b"%d\n%b\n%b\n" % (_FORMAT, state, sealed)).hexdigest().encode()
