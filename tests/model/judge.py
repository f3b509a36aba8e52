"""Holds what the world shows against what the model says: now, and at every revision there was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby

from providerd.v1 import provider_pb2 as pb
from tests.model.model import State, predicted
from tests.model.replay import Replay
from tests.model.world import World

# Who the history says made the changes that RPCs made.
ACTOR = "ann"


class Judge:
    """Compares; everything it finds wrong is an ``AssertionError``.

    Args:
        world: The real thing.
        states: The model's state at each revision so far; the newest is how things are now.
    """

    def __init__(self, world: World, states: Mapping[int, State]) -> None:
        self._world = world
        self._states = states
        self._shown: list[pb.Provider] = []
        self._fingerprints: dict[int, str] = {}

    async def present(self, *, behind: bool) -> None:
        """Wants reads, watches and tables to agree on the newest state.

        Args:
            behind: Whether the daemon may not have read it yet.
        """
        now = self._states[max(self._states)]
        await self._world.until_told(now)
        if behind:
            await self._world.catch_up(now)
        listed = await self._world.call("ListProviders")
        assert listed.revision.number == await self._world.revision() == now.revision
        assert [predicted(provider) for provider in listed.providers] == _messages(now)
        self._shown = list(listed.providers)
        self._check_fingerprints(now)
        active, api_key = await self._world.active()
        assert (active and predicted(active)) == (now.active and now.active.message)
        assert api_key == (now.active.key.text if now.active and now.active.key else "")
        assert await self._world.count_of_active() == (now.active is not None)
        for watcher in self._world.watchers:
            watcher.check(self._states)

    async def changes(self, told: Iterable[tuple[str, Iterable[pb.FieldChange]]]) -> None:
        """Wants the changes that an answer told of to lead from what was shown before it to what is shown now."""
        replay = Replay(self._shown)
        for name, changes in told:
            replay.follow(name, changes)
        assert replay.shows((await self._world.call("ListProviders")).providers)

    async def past(self, reasons: Mapping[int, str]) -> None:
        """Wants the history to hold each revision once, and to say how each came of the one before.

        Args:
            reasons: What acknowledged writes were said to be for, by revision.
        """
        replay = Replay()
        numbers = []
        for number, group in groupby(await self._world.history(), key=lambda entry: entry.revision.number):
            entries = list(group)
            for entry in entries:
                replay.follow(entry.provider_name, entry.changes)
            then = await self._world.call("GetRevision", number=number)
            assert [predicted(provider) for provider in then.providers] == _messages(self._states[number])
            assert replay.shows(then.providers)
            assert list(then.entries) == entries[::-1]
            if number in reasons:
                assert {(entry.actor, entry.reason) for entry in entries} == {(ACTOR, reasons[number])}
            numbers.append(number)
        assert numbers == list(range(1, max(self._states) + 1))
        assert not await self._world.holds_a_key_in_clear()

    def _check_fingerprints(self, now: State) -> None:
        """Wants one fingerprint for each key, wherever it is seen."""
        for provider in self._shown:
            if (key := now.providers[provider.provider_name].key) is not None:
                assert self._fingerprints.setdefault(key.seal, provider.key_fingerprint) == provider.key_fingerprint
        assert len(set(self._fingerprints.values())) == len(self._fingerprints)


def _messages(state: State) -> list[pb.Provider]:
    return [state.providers[name].message for name in sorted(state.providers)]
