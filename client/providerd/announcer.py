"""Tells those who asked what happened to a client."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakSet

from providerd.changes import Change, Changes

if TYPE_CHECKING:
    from collections.abc import Callable

    from providerd.cache import Cache, State
    from providerd.errors import ProviderdError

T = TypeVar("T")

_log = logging.getLogger("providerd")


class Announcer:
    """Feeds iterators, callbacks and waiters. A callback that raises is logged and stops nobody else."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._told = cache.state
        # Dicts by token, so that one atomic step adds or removes a callback, from any thread.
        self._on_change: dict[object, Callable[[Change], object]] = {}
        self._on_state: dict[object, Callable[[State], object]] = {}
        # Weak, so that an abandoned iterator costs nothing.
        self._iterators: WeakSet[Changes] = WeakSet()
        self._pulse = asyncio.Event()

    def on_change(self, callback: Callable[[Change], object]) -> Callable[[], None]:
        """Calls back with each change from now on; returns what ends that."""
        return _register(self._on_change, callback)

    def on_state(self, callback: Callable[[State], object]) -> Callable[[], None]:
        """Calls back with each new state from now on; returns what ends that."""
        return _register(self._on_state, callback)

    def iterate(self, first: Change | None) -> Changes:
        """Returns an iterator that starts with `first` and goes on with what is published from now on."""
        changes = Changes(first)
        if self._cache.ended is not None:
            changes.end(self._cache.ended)
        self._iterators.add(changes)
        return changes

    def publish(self, change: Change | None = None) -> None:
        """Tells of a change, if there was one, and of a new state, if the state is another than last told."""
        if change is not None:
            for changes in list(self._iterators):
                changes.offer(change)
            _call(self._on_change, change)
        state = self._cache.state
        if state is not self._told:
            self._told = state
            _call(self._on_state, state)
        pulse, self._pulse = self._pulse, asyncio.Event()
        pulse.set()

    def end(self, error: ProviderdError | None) -> None:
        """Ends every iterator, with an error if there is one, and tells of the last state."""
        for changes in list(self._iterators):
            changes.end(error)
        self.publish()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for something to be published that makes the condition true."""
        while not condition():
            await self._pulse.wait()


def _register(callbacks: dict[object, Callable[[T], object]], callback: Callable[[T], object]) -> Callable[[], None]:
    if inspect.iscoroutinefunction(callback):
        raise TypeError("the callback must be a plain function: nobody would await a coroutine")
    token = object()
    callbacks[token] = callback

    def unsubscribe() -> None:
        callbacks.pop(token, None)

    return unsubscribe


def _call(callbacks: dict[object, Callable[[T], object]], value: T) -> None:
    for callback in list(callbacks.values()):
        try:
            callback(value)
        except Exception:
            _log.exception("a callback raised; the others are called all the same")
