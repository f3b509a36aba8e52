"""Judges what watchers were told and writers were promised against what really happened: I1 to I7.

I1: for one watcher, revisions never go backwards within a store, but for a resync after that store was restored.
I2: everything delivered is in the history, with that content.
I3: all have converged on the newest.
I4: every acknowledged write is there.
I5: writes that followed one another in real time have revisions in that order.
I6: at most one provider is active at each revision.
I7: the canary is nowhere it should not be.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tests.faults.truth import Content, Truth

RESYNC = "RESYNC"


class Delivered(NamedTuple):
    """One message, as a watcher received it.

    Attributes:
        at: When, in seconds since the epoch.
        store_id: Of the revision.
        number: Of the revision.
        cause: Why the active provider was sent; empty for a heartbeat.
        held: The active provider as the watcher knows it after the message.
        stale: Whether the daemon said that it may be old.
    """

    at: float
    store_id: str
    number: int
    cause: str
    held: Content | None
    stale: bool


class Write(NamedTuple):
    """One acknowledged write; ``text`` is None for a switch. Times are of the monotonic clock."""

    began: float
    ended: float
    store_id: str
    revision: int
    name: str
    text: str | None


def check(
    told: Mapping[str, Sequence[Delivered]],
    writes: Sequence[Write],
    truths: Sequence[Truth],
    places: Mapping[str, bytes],
    canaries: Sequence[bytes],
) -> list[str]:
    """Everything that is wrong, each in one line that begins with the invariant; nothing when all is well.

    Args:
        told: What each watcher was told, by its name.
        writes: What was acknowledged.
        truths: The past: the last one is that of now, those before were given up by a restore.
        places: Where the canary must not be.
        canaries: What to look for.
    """
    problems: list[str] = []
    for name, messages in told.items():
        problems += [f"I1 {name}: {problem}" for problem in _backwards(messages, truths[:-1])]
        problems += [f"I2 {name}: {problem}" for problem in _invented(messages, truths)]
        problems += [f"I3 {name}: {problem}" for problem in _behind(messages, truths[-1])]
    problems += [f"I4 {problem}" for problem in lost(writes, truths)]
    problems += [f"I5 {problem}" for problem in _out_of_order(writes)]
    problems += [f"I6 two are active at revision {number}" for truth in truths for number in truth.doubled]
    problems += [f"I7 a canary is in {place}" for place in found(places, canaries)]
    return problems


def lost(writes: Iterable[Write], truths: Sequence[Truth]) -> list[str]:
    """The acknowledged writes that no past has."""
    return [
        f"revision {write.revision} does not have the acknowledged {_what(write)}"
        for write in writes
        if not any(_has(truth, write) for truth in truths)
    ]


def found(places: Mapping[str, bytes], canaries: Sequence[bytes]) -> list[str]:
    """The places that hold a canary."""
    return [place for place, content in places.items() if any(canary in content for canary in canaries)]


def _backwards(messages: Sequence[Delivered], given_up: Sequence[Truth]) -> list[str]:
    restored = {truth.store_id for truth in given_up}
    return [
        f"told {after.number} after {before.number}"
        + (", as a resync of what was not restored" * (after.cause == RESYNC))
        for before, after in itertools.pairwise(messages)
        if after.store_id == before.store_id
        and after.number < before.number
        and not (after.cause == RESYNC and after.store_id in restored)
    ]


def _invented(messages: Sequence[Delivered], truths: Sequence[Truth]) -> list[str]:
    return [
        f"at revision {message.number} it was told of {message.held}, which was never so"
        for message in messages
        if not any(
            truth.store_id == message.store_id
            and message.number in truth.active
            and truth.active[message.number] == message.held
            for truth in truths
        )
    ]


def _behind(messages: Sequence[Delivered], truth: Truth) -> list[str]:
    last = messages[-1] if messages else None
    wanted = truth.active.get(truth.newest)
    if last is not None and last.store_id == truth.store_id and last.held == wanted:
        return []
    return [f"it stopped at {last and (last.number, last.held)}, and the newest is {(truth.newest, wanted)}"]


def _has(truth: Truth, write: Write) -> bool:
    if truth.store_id != write.store_id:
        return False
    return any(
        entry.name == write.name and (entry.action == "activated" if write.text is None else entry.text == write.text)
        for entry in truth.entries.get(write.revision, [])
    )


def _out_of_order(writes: Sequence[Write]) -> list[str]:
    problems, newest, ended = [], None, sorted(writes, key=lambda write: write.ended)
    done = 0
    for write in sorted(writes, key=lambda write: write.began):
        while ended[done].ended < write.began:
            if newest is None or ended[done].revision > newest.revision:
                newest = ended[done]
            done += 1
        if newest is not None and newest.store_id == write.store_id and newest.revision >= write.revision:
            problems.append(f"{_what(write)} got {write.revision} after {_what(newest)} had got {newest.revision}")
    return problems


def _what(write: Write) -> str:
    return f"switch to {write.name}" if write.text is None else f"change of {write.name} to {write.text!r}"
