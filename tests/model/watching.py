"""A client of WatchActive that holds the stream to its contract and remembers what it was told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from providerd.v1 import provider_pb2 as pb
from tests.integration.serving import Serving
from tests.model.contents import CANARY
from tests.model.model import State, predicted

_WITHIN = 10


@dataclass(frozen=True)
class Told:
    """What a message left a watcher with: the active provider as of a revision, and its key."""

    revision: int
    provider: pb.Provider | None
    api_key: str

    def is_of(self, state: State, *, with_credential: bool) -> bool:
        """Whether it is the active provider in ``state``."""
        active = state.active
        key = active.key.text if with_credential and active and active.key else ""
        return (self.provider, self.api_key) == (active and active.message, key)


class Watcher:
    """Keeps the newest state that it was told; comes back with what it knows.

    Args:
        with_credential: Whether to ask for the key.
    """

    def __init__(self, *, with_credential: bool = False) -> None:
        self.told: list[Told] = []
        self._with_credential = with_credential
        self._known = pb.Revision()
        self._provider: pb.Provider | None = None
        self._api_key = ""
        self._begun = False
        self._news = asyncio.Condition()

    async def visit(self, daemon: Serving) -> None:
        """Comes back for one message."""
        call = self._call(daemon)
        await self._take(await anext(aiter(call)), first=True)
        call.cancel()

    async def follow(self, daemon: Serving) -> None:
        """Watches until the daemon says goodbye."""
        first = True
        try:
            async for message in self._call(daemon):
                await self._take(message, first=first)
                first = False
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE, error
        else:
            raise AssertionError("a watch ended without a status")
        finally:
            async with self._news:
                self._news.notify_all()

    async def until(self, state: State, following: asyncio.Task[None]) -> None:
        """Returns when what it was told last is the active provider of ``state``."""
        try:
            async with asyncio.timeout(_WITHIN), self._news:
                while not (self.told and self.told[-1].is_of(state, with_credential=self._with_credential)):
                    if following.done():
                        following.result()
                        raise AssertionError("a watch has ended by itself")
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"not told of revision {state.revision}, but last: {self.told[-1:]}") from None

    def check(self, states: Mapping[int, State]) -> None:
        """Wants every message so far to have told of the state that its revision had."""
        for told in self.told:
            assert told.is_of(states[told.revision], with_credential=self._with_credential), f"never so: {told}"
        del self.told[:-1]

    def _call(self, daemon: Serving) -> Any:
        request = pb.WatchActiveRequest(include_credential=self._with_credential)
        if self._known.number:
            request.known_revision.CopyFrom(self._known)
        return daemon.stub.WatchActive(request)

    async def _take(self, message: pb.WatchActiveResponse, *, first: bool) -> None:
        assert message.revision.store_id == (self._known.store_id or message.revision.store_id)
        assert message.revision.number >= self._known.number, "a watcher was sent backwards"
        assert self._with_credential or CANARY.encode() not in message.SerializeToString()
        if message.HasField("active"):
            event = message.active
            provider = event.provider if event.HasField("provider") else None
            assert pb.ChangeCause.Name(event.cause) == _cause(self._provider, provider, first=first)
            self._provider, self._api_key = provider, event.credential.api_key
        else:
            assert self._begun, "the first message tells nothing"
        self._known, self._begun = message.revision, True
        async with self._news:
            shown = self._provider and predicted(self._provider)
            self.told.append(Told(message.revision.number, shown, self._api_key))
            self._news.notify_all()


def _cause(before: pb.Provider | None, after: pb.Provider | None, *, first: bool) -> str:
    if first:
        return "CHANGE_CAUSE_INITIAL"
    if after is None:
        return "CHANGE_CAUSE_NONE_ACTIVE"
    if before is None or before.provider_name != after.provider_name:
        return "CHANGE_CAUSE_SWITCHED"
    only_key = _but_for_key(before) == _but_for_key(after) and before.key_fingerprint != after.key_fingerprint
    return "CHANGE_CAUSE_KEY_CHANGED" if only_key else "CHANGE_CAUSE_UPDATED"


def _but_for_key(provider: pb.Provider) -> pb.Provider:
    rest = pb.Provider()
    rest.CopyFrom(provider)
    for field in ("has_key", "key_fingerprint", "config_version", "update_time", "updated_by"):
        rest.ClearField(field)
    return rest
