"""Moving all stored API keys under the current passphrase, while everybody goes on reading and writing them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from providerd_server.errors import Kind, Refusal
from providerd_server.snapshot import Revision
from providerd_server.store import statements
from providerd_server.store.database import Connection
from providerd_server.store.keyring import Keyring
from providerd_server.store.keys import Keys
from providerd_server.store.sealed import SealedKey, UnreadableError
from providerd_server.store.transaction import Transactions

REASON = "key rotation"

# The schema knows where each ciphertext belongs, and says so when it is stored: PD007 and PD008.
_TAKE_OFF = "UPDATE llm_provider_configs SET api_key_encrypted = NULL WHERE provider_name = $1"
_PUT_BACK = "UPDATE llm_provider_configs SET api_key_encrypted = $2 WHERE provider_name = $1"
_BELONGS_ELSEWHERE = {
    "KEY_BOUND_TO_DESTINATION": "it has no seal and was stored for another destination than {destination};"
    " find out who moved it past the triggers",
    "KEY_OF_ANOTHER_PROVIDER": "it has no seal and was stored for another provider; find out who moved it past the"
    " triggers",
}

# A stored key, and what is to stand in its place.
Move = tuple[SealedKey, SealedKey]

# Is told after each batch how many keys are moved, how many were left before it ended, and which had no seal.
Progress = Callable[[int, int, Sequence[SealedKey]], None]


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """How the key of a provider is stored.

    Attributes:
        provider_name: Whose it is.
        has_key: Whether there is one; without, the rest says nothing.
        key_id: What the key it is encrypted with is called; None when nobody knows.
        is_current: Whether that is the one that encrypts.
        is_bound: Whether it is bound to its provider and destination, by a seal that fits.
        destination: Where it may be sent: scheme, host and port.
        problem: Why it cannot be decrypted, or where that was asked for, why it must not be sealed; None for neither.
    """

    provider_name: str
    has_key: bool
    key_id: str | None = None
    is_current: bool = False
    is_bound: bool = False
    destination: str | None = None
    problem: str | None = None

    @property
    def is_readable(self) -> bool:
        """Whether there is one without a problem."""
        return self.has_key and self.problem is None

    @property
    def needs_attention(self) -> bool:
        """Whether something is to be done about it: to rotate it, or to set it anew."""
        return self.has_key and not (self.is_current and self.is_bound and self.is_readable)


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation came to.

    Attributes:
        moved: How many keys it re-encrypted.
        verified: How many decrypt, afterwards, with the current passphrase alone.
        problems: Why a key could not be moved or does not decrypt, by the name of its provider.
    """

    moved: int
    verified: int
    problems: Mapping[str, str]


class Rotation:
    """Re-encrypts with the current passphrase what is under another or not bound, in batches.

    A key without a seal is one that plain SQL has stored, or one whose seal was taken away to move it past the
    triggers. It gets a seal where the schema would let it be stored as it is; where not, it is left alone.

    Each batch is one short transaction in the queue of writers, and replaces a key only if it is still the one that
    was read. So it may be ended at any moment and begun again, beside any number of writers and of its own kind.

    Args:
        transactions: How to reach the database.
        ring: The passphrases.
    """

    def __init__(self, transactions: Transactions, ring: Keyring) -> None:
        self._transactions = transactions
        self._ring = ring
        self._keys = Keys(ring)

    async def status(self, *, vet: bool = False) -> list[KeyStatus]:
        """How each key is stored, in order of the providers' names; with ``vet`` also what must not be sealed."""
        found = [(row["provider_name"], SealedKey.in_row(row)) for row in await self._rows()]
        return [
            await self._status(sealed, vet=vet) if sealed else KeyStatus(name, has_key=False) for name, sealed in found
        ]

    async def run(self, *, batch_size: int, reason: str, actor: str, progress: Progress) -> Rotated:
        """Goes on until nothing is left that it can move, then decrypts everything with the current passphrase alone.

        Args:
            batch_size: How many keys a transaction replaces.
            reason: For the history.
            actor: For the history.
            progress: Is told of each batch.

        Raises:
            Refusal: The database cannot be reached or takes no writes. What is moved stays so.
        """
        moved = 0
        stuck: dict[SealedKey, str] = {}
        while True:
            stored = [sealed for row in await self._rows() if (sealed := SealedKey.in_row(row))]
            due = [each for each in stored if each not in stuck and not each.is_bound_by(self._ring.current)]
            if not due:
                return await self._verified(stored, moved, stuck)
            moves = await self._prepared(due[:batch_size], stuck)
            done = await self._replace(moves, stuck, reason=reason, actor=actor)
            moved += len(done)
            progress(moved, len(due[batch_size:]), [old for old, _ in done if old.mac is None])

    async def _rows(self) -> list[Any]:
        async with self._transactions.connection() as connection:
            return await statements.find_all(connection)

    async def _status(self, sealed: SealedKey, *, vet: bool) -> KeyStatus:
        known = KeyStatus(sealed.provider_name, has_key=True, key_id=sealed.key_id, destination=sealed.destination)
        try:
            async with self._transactions.connection() as connection:
                key = (await self._keys.unseal(connection, sealed)).key
        except UnreadableError as error:
            return replace(known, problem=str(error))
        return replace(
            known,
            key_id=sealed.key_id or key.id,
            is_current=key == self._ring.current,
            is_bound=sealed.mac is not None,
            problem=await self._objection(sealed) if vet else None,
        )

    async def _objection(self, sealed: SealedKey) -> str | None:
        """Why a key without a seal must not get one: the schema would not let it be stored where it is."""
        if sealed.mac is not None:
            return None

        async def store_again(connection: Connection, _: Revision) -> None:
            await connection.execute(_TAKE_OFF, sealed.provider_name)
            await connection.execute(_PUT_BACK, sealed.provider_name, sealed.ciphertext)

        try:
            await self._transactions.writing(store_again, reason=REASON, actor="", dry_run=True)
        except Refusal as refusal:
            if refusal.kind is Kind.UNAVAILABLE:
                raise
            elsewhere = _BELONGS_ELSEWHERE.get(refusal.reason)
            return elsewhere.format(destination=sealed.destination) if elsewhere else _why(refusal)
        return None

    async def _prepared(self, batch: Sequence[SealedKey], stuck: dict[SealedKey, str]) -> list[Move]:
        """The keys of a batch, encrypted anew without any lock; those that cannot or must not be become ``stuck``."""
        moves = []
        for sealed in batch:
            if (objection := await self._objection(sealed)) is not None:
                stuck[sealed] = objection
                continue
            try:
                # A connection for each, since a transaction pooler and the limit on its use know no batches.
                async with self._transactions.connection() as connection:
                    api_key = (await self._keys.unseal(connection, sealed)).api_key
                    ciphertext = await self._keys.encrypt(connection, api_key)
            except UnreadableError as error:
                stuck[sealed] = str(error)
            else:
                moves.append((sealed, sealed.moved_to(self._ring.current, ciphertext)))
        return moves

    async def _replace(
        self, moves: Sequence[Move], stuck: dict[SealedKey, str], *, reason: str, actor: str
    ) -> list[Move]:
        """Writes a batch where nothing has changed since; returns what it has replaced."""

        async def work(connection: Connection, _: Revision) -> list[Move]:
            now = {SealedKey.in_row(row) for row in await statements.find_all(connection)}
            due = [(old, new) for old, new in moves if old in now]
            for old, new in due:
                row = await statements.replace_key(connection, old, new)
                if row is None or SealedKey.in_row(row) != new:
                    raise _not_kept(old.provider_name)
            return due

        try:
            return await self._transactions.writing(work, reason=reason, actor=actor) if moves else []
        except Refusal as refusal:
            if refusal.kind is Kind.UNAVAILABLE:
                raise
            if len(moves) == 1:
                stuck[moves[0][0]] = _why(refusal)
                return []
            # One of them is at fault, and must not hold up the others.
            return [done for each in moves for done in await self._replace([each], stuck, reason=reason, actor=actor)]

    async def _verified(self, stored: Sequence[SealedKey], moved: int, stuck: Mapping[SealedKey, str]) -> Rotated:
        problems = {sealed.provider_name: stuck[sealed] for sealed in stored if sealed in stuck}
        alone = Keys(Keyring((self._ring.current,)))
        verified = 0
        for sealed in stored:
            if sealed in stuck:
                continue
            try:
                async with self._transactions.connection() as connection:
                    await alone.unseal(connection, sealed)
                verified += 1
            except UnreadableError as error:
                problems[sealed.provider_name] = str(error)
        return Rotated(moved, verified, problems)


def _not_kept(provider_name: str) -> Refusal:
    return Refusal(
        Kind.INTERNAL,
        "KEY_NOT_KEPT",
        f"the database does not keep the key of provider {provider_name!r} as it is told; run `providerd migrate up`",
        metadata={"provider_name": provider_name},
    )


def _why(refusal: Refusal) -> str:
    # Nobody but the operator reads this, who is served best with the database's own first line.
    cause = str(refusal.__cause__).splitlines() if refusal.reason == "DATABASE_ERROR" else []
    return f"it cannot be stored anew: {cause[0] if cause else refusal.message}"
