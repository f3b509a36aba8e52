"""Follows another daemon: whatever that says of the active provider is what this one answers from."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Unpack

import grpc

from providerd.backoff import Backoff
from providerd.cache import State
from providerd.changes import Cause, Change
from providerd.client import Client
from providerd.connection import first
from providerd.document import UNSET, plain
from providerd.errors import NoActiveProviderError, NotReadyError, RpcError
from providerd.options import ClientKeywords
from providerd.provider import ActiveProvider
from providerd.provider import Revision as KnownRevision
from providerd.stream import Stream
from providerd.v1 import provider_pb2 as pb
from providerd_server.convert import STRUCT_FIELDS
from providerd_server.snapshot import Revision, Snapshot, StoredProvider
from providerd_server.source import Condition, Publish
from providerd_server.source.trouble import Trouble

# Claimed by who wants the upstream to look: no store ever gets there.
_BEYOND_ANY = 2**63 - 1

# Rows have ids; what the API tells of a provider has none.
_NO_ROW = 0

# What the SDK calls otherwise, or holds in another form.
_OTHERWISE = {*STRUCT_FIELDS, "id", "supported_models", "created_at", "updated_at", "key_fingerprint", "api_key"}
_AS_THEY_ARE = tuple(name for name in StoredProvider.__slots__ if name not in _OTHERWISE)


class Upstream(Client):
    """The SDK's client, with what only a sidecar needs: it never gives up, and has the upstream look again."""

    def __init__(self, *targets: str, **options: Unpack[ClientKeywords]) -> None:
        super().__init__(*targets, **options)
        # What refuses it can be mended at the upstream, and the workers below cannot restart it.
        self._stream = Stream(self._cache, self._announcer, self.options, fatal=frozenset())

    @property
    def known(self) -> ActiveProvider | None:
        """The active provider as last heard of; None when nobody is active, or nothing was heard."""
        try:
            return self.current
        except (NoActiveProviderError, NotReadyError):
            return None

    @property
    def is_live(self) -> bool:
        """Whether a watch runs that has answered."""
        return self._cache.live

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for something to be heard, or to be lost, that makes the condition true."""
        await self._announcer.until(condition)

    async def newest(self) -> KnownRevision:
        """Has the upstream read its database, and returns the revision that it then was at.

        A daemon reads again for who claims to know more than it does: section 4 of the contract, and ``watch.py``.

        Raises:
            RpcError: It could not.
        """
        held = self.revision
        claimed = pb.Revision(store_id=held.store_id if held else "", number=_BEYOND_ANY)
        message = await self._connection.call("WatchActive", pb.WatchActiveRequest(known_revision=claimed), first)
        return KnownRevision.from_proto(message.revision)


class UpstreamSource:
    """The ``Source`` that is another daemon, or several that are alike.

    Args:
        upstream: Follows them; it is started and closed here.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._epoch = 0
        self._verifying = asyncio.Lock()
        self._verified_at = -math.inf
        self._newest: KnownRevision | None = None
        self._trouble = Trouble(upstream.options.where, "upstream")
        self._counts = Counter(heard=0, failures=0)
        self._seen: tuple[object, ...] = ()
        self._publish: Publish = lambda _: None
        upstream.on_change(self._note_resync)

    @property
    def place(self) -> str:
        """Where the upstream is."""
        return self._upstream.options.where

    @property
    def age(self) -> float:
        """Seconds since the upstream's database was last verified, as it said, and since it said so."""
        return self._upstream.age

    @property
    def is_stale(self) -> bool:
        """Whether the upstream is away, lags behind what was heard before, or calls itself stale."""
        return self._upstream.state is not State.READY

    @property
    def condition(self) -> Condition:
        """How the upstream is to be reached."""
        known = self._upstream.known
        active = known.provider if known and known.provider.has_key and self.has_keys else None
        return Condition(
            kind="upstream",
            connected=self._upstream.is_live,
            counts=self._counts,
            unreadable=(active.provider_name,) if known and active and known.credential is None else (),
        )

    @property
    def has_keys(self) -> bool:
        """Whether keys are asked for."""
        return self._upstream.options.include_credential

    @property
    def refusal(self) -> RpcError | None:
        """Why the upstream does not let this client in, while it does not."""
        error = self._upstream.error
        denied = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
        return error if isinstance(error, RpcError) and error.code in denied else None

    async def verify(self) -> None:
        """Returns once what is published is as new as the database was after this call began."""
        asked_at = time.monotonic()
        backoff = Backoff()
        async with self._verifying:
            # Who waited for the lock may be served by a read that began after it asked.
            while self._verified_at < asked_at:
                began = time.monotonic()
                try:
                    self._newest = await self._upstream.newest()
                    self._verified_at = began
                except RpcError:
                    await asyncio.sleep(backoff.next())
        await self._upstream.until(self._has_newest)
        self._pass_on()

    async def run(self, publish: Publish) -> None:
        """Follows the upstream until cancelled."""
        self._publish = publish
        try:
            await self._upstream.start()
            while True:
                self._seen = self._view()
                self._pass_on()
                self._tell()
                await self._upstream.until(lambda: self._view() != self._seen)
        finally:
            await self._upstream.close()

    def _view(self) -> tuple[object, ...]:
        """What changes whenever there is something to publish or to tell."""
        upstream = self._upstream
        return upstream.revision, upstream.known, upstream.error, self._epoch

    def _pass_on(self) -> None:
        revision, known = self._upstream.revision, self._upstream.known
        if revision is None:
            return
        providers = {} if known is None else {known.provider.provider_name: _stored(known)}
        self._publish(Snapshot(Revision(revision.store_id, revision.number), providers, self._epoch))

    def _tell(self) -> None:
        error = self._upstream.error
        if error is None:
            self._counts["heard"] += 1
            self._trouble.over()
        else:
            self._counts["failures"] += 1
            self._trouble.told("cannot follow the upstream", str(error), self.age)

    def _has_newest(self) -> bool:
        held, newest = self._upstream.revision, self._newest
        # In a restored store, or another, there is nothing to wait for: the watch brings it as a resync.
        return held is None or newest is None or held == newest or not newest.reaches(held)

    def _note_resync(self, change: Change) -> None:
        if change.cause is Cause.RESYNC:
            self._epoch += 1


def _stored(active: ActiveProvider) -> StoredProvider:
    """The provider as the daemon knows providers, and such that its message is the upstream's again."""
    provider = active.provider
    values: dict[str, Any] = {name: getattr(provider, name) for name in _AS_THEY_ARE}
    values |= {name: _document(getattr(provider, name)) for name in STRUCT_FIELDS}
    return StoredProvider(
        id=_NO_ROW,
        **values,
        supported_models=list(provider.supported_models),
        created_at=provider.create_time,
        updated_at=provider.update_time,
        key_fingerprint=provider.key_fingerprint if provider.has_key else None,
        api_key=active.credential,
    )


def _document(value: Mapping[str, Any]) -> Mapping[str, Any] | None:
    document: Mapping[str, Any] | None = None if value is UNSET else plain(value)
    return document
