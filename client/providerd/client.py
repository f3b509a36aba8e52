"""The client for asyncio."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any, Self, Unpack

import grpc.aio

from providerd import errors, fork
from providerd.announcer import Announcer
from providerd.cache import Cache
from providerd.changes import Cause, Change, Changes
from providerd.channel import open_channel
from providerd.options import DEFAULT_TARGET, ClientKeywords, ClientOptions
from providerd.provider import ActiveProvider, Credential, Provider, Revision
from providerd.reads import Reads
from providerd.requests import SwitchResult, UpsertResult, build, switch_request, upsert_request
from providerd.stream import Stream, being_cancelled
from providerd.v1 import provider_pb2 as pb
from providerd.v1 import provider_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from providerd.cache import State

# How long a change waits for the watch to show it, before it returns anyway.
_VISIBLE_WITHIN = 1.0


class Client(Reads):
    """Knows the active provider at every moment, and changes providers.

    Use it as a context manager, or call start() and close(). All of it belongs to one event loop; only the reads
    may come from any thread.
    """

    def __init__(self, *targets: str, **options: Unpack[ClientKeywords]) -> None:
        """Takes the addresses of daemons, "localhost:50051" by default, and the fields of ClientOptions.

        Raises:
            ValueError: An address or option makes no sense.
        """
        self.options = ClientOptions(targets=targets or (DEFAULT_TARGET,), **options)
        self._cache = Cache(self.options)
        self._announcer = Announcer(self._cache)
        self._stream = Stream(self._cache, self._announcer, self.options)
        self._channel: grpc.aio.Channel | None = None
        self._started = False

    async def __aenter__(self) -> Self:
        """Starts, and waits for the first answer, but not longer than `timeout` and without failing."""
        await self.start()
        if self.options.watch:
            await self._first_answer(self.options.timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Starts to watch and returns at once. Does nothing when already started.

        Raises:
            ClosedError: The client is closed.
        """
        self._require_open()
        if self.options.watch and not self._started:
            self._started = True
            self._stream.start(self._stub())

    async def close(self) -> None:
        """Ends the watch, all iterations and the connection. Reads raise ClosedError from here on."""
        if self._cache.closed:
            return
        self._cache.close(errors.ClosedError("the client is closed"))
        await self._stream.stop()
        self._announcer.end(None)
        if self._channel is not None:
            # Let go of it, too: gRPC shuts down with its last channel, and only then may the process fork.
            channel, self._channel = self._channel, None
            await channel.close()
            fork.disconnected(self._cache)

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Waits for the first answer of the daemon, from which on reads have something to go by.

        The answer may be that nobody is active, or be marked stale: `active` and `state` tell.

        Args:
            timeout: Seconds to wait; None waits for ever.

        Raises:
            NotReadyError: No answer came in time; the message says what stands in the way.
            RpcError: The daemon refused for good.
            ClosedError: The client is or was closed.
        """
        self._require_watch()
        if not await self._first_answer(timeout):
            raise self._cache.not_ready()

    def changes(self) -> Changes:
        """Returns an async iterator: the current state first, when there is one, then each change.

        Latest wins: a slow consumer gets the newest state, with what it missed folded into one change. The
        iteration ends when the client is closed, and raises the RpcError when the daemon refuses for good.

        Raises:
            ClosedError: The client is closed.
            NotReadyError: The client was opened with watch=False.
        """
        self._require_watch()
        revision = self._cache.revision
        first = None if revision is None else Change(Cause.INITIAL, self._cache.provider, None, revision)
        return self._announcer.iterate(first)

    def on_change(self, callback: Callable[[Change], object]) -> Callable[[], None]:
        """Calls back in the event loop with each change from now on; returns what ends that.

        Raises:
            TypeError: The callback is a coroutine function.
        """
        return self._announcer.on_change(callback)

    def on_state(self, callback: Callable[[State], object]) -> Callable[[], None]:
        """Calls back in the event loop with each new state from now on; returns what ends that.

        Raises:
            TypeError: The callback is a coroutine function.
        """
        return self._announcer.on_state(callback)

    async def get(self, provider_name: str) -> Provider:
        """Asks the daemon for one provider.

        Raises:
            NotFoundError: There is none of that name.
            RpcError: The call failed.
        """
        answer = await self._call("GetProvider", build(pb.GetProviderRequest, provider_name=provider_name))
        return Provider.from_proto(answer.provider)

    async def get_active(self, *, include_credential: bool = False) -> ActiveProvider:
        """Asks the daemon for the active provider, watched or not.

        Args:
            include_credential: Whether to bring the key; daemons grant it on loopback and unix sockets only.

        Raises:
            NotFoundError: Nobody is active.
            RpcError: The call failed.
        """
        request = pb.GetActiveProviderRequest(include_credential=include_credential)
        answer = await self._call("GetActiveProvider", request)
        credential = Credential(answer.credential.api_key) if answer.HasField("credential") else None
        return ActiveProvider(Provider.from_proto(answer.provider), credential, Revision.from_proto(answer.revision))

    async def list(self) -> list[Provider]:
        """Asks the daemon for all providers, in order of their names.

        Raises:
            RpcError: The call failed.
        """
        providers: list[Provider] = []
        request = pb.ListProvidersRequest()
        while True:
            page = await self._call("ListProviders", request)
            providers += [Provider.from_proto(each) for each in page.providers]
            if not page.next_page_token:
                return providers
            request.page_token = page.next_page_token

    async def switch(
        self, provider_name: str, *, reason: str = "", actor: str = "", expected_revision: Revision | None = None
    ) -> SwitchResult:
        """Makes a provider the active one. When this returns, `active` of a client that watches shows it.

        Args:
            provider_name: Which one.
            reason: Why, for the audit history; at most 1,000 characters.
            actor: Who, for the audit history; at most 255 characters.
            expected_revision: Switch only if this is still the newest revision.

        Raises:
            NotFoundError: There is none of that name.
            FailedPreconditionError: It is disabled.
            AbortedError: `expected_revision` is not the newest any more.
            RpcError: The call failed.
        """
        request = switch_request(provider_name, reason=reason, actor=actor, expected_revision=expected_revision)
        result = SwitchResult.from_proto(await self._call("SwitchProvider", request))
        await self._shown(result.active, result.revision)
        return result

    async def upsert(
        self,
        provider: Mapping[str, Any],
        *,
        update_mask: Sequence[str] | None = None,
        api_key: str | None = None,
        clear_api_key: bool = False,
        expected_config_version: int | None = None,
        validate_only: bool = False,
        reason: str = "",
        actor: str = "",
    ) -> UpsertResult:
        """Creates a provider, or changes one.

        Args:
            provider: The content by field name, in snake_case or camelCase; provider_name says which provider.
            update_mask: The fields to take; ["*"] for all. None takes every field that is populated.
            api_key: A new key.
            clear_api_key: Whether to forget the stored key.
            expected_config_version: Change only if this is still its version; 0 means it must not exist.
            validate_only: Check everything and change nothing.
            reason: Why, for the audit history; at most 1,000 characters.
            actor: Who, for the audit history; at most 255 characters.

        Raises:
            InvalidArgumentError: A field is not acceptable; `violations` names each.
            AbortedError: `expected_config_version` is not its version any more.
            RpcError: The call failed.
        """
        request = upsert_request(
            provider,
            update_mask=update_mask,
            api_key=api_key,
            clear_api_key=clear_api_key,
            expected_config_version=expected_config_version,
            validate_only=validate_only,
            reason=reason,
            actor=actor,
        )
        result = UpsertResult.from_proto(await self._call("UpsertProvider", request))
        if result.revision is not None and result.provider.is_active:
            await self._shown(result.provider, result.revision)
        return result

    def _require_open(self) -> None:
        if self._cache.closed is not None:
            raise copy.copy(self._cache.closed)

    def _require_watch(self) -> None:
        self._require_open()
        if not self.options.watch:
            raise self._cache.not_ready()

    async def _first_answer(self, timeout: float | None) -> bool:
        """Says whether there was an answer; stops waiting as soon as there never will be one."""
        cache = self._cache
        try:
            async with asyncio.timeout(timeout):
                await self._announcer.until(lambda: cache.revision is not None or cache.ended is not None)
        except TimeoutError:
            pass
        return cache.revision is not None and cache.closed is None

    async def _shown(self, provider: Provider, revision: Revision) -> None:
        """Waits until the watch shows a change made through this client, or for a bounded time."""
        cache = self._cache
        if not cache.live:
            return

        def shown() -> bool:
            known = cache.revision is not None and cache.revision.reaches(revision)
            return known or cache.provider == provider or not cache.live

        try:
            async with asyncio.timeout(_VISIBLE_WITHIN):
                await self._announcer.until(shown)
        except TimeoutError:
            pass  # the change is made; the watch only tells later

    def _stub(self) -> Any:
        if self._channel is None:
            fork.connecting(self._cache)
            self._channel = open_channel(self.options.targets)
        return provider_pb2_grpc.ProviderServiceStub(self._channel)

    async def _call(self, method: str, request: Any) -> Any:
        self._require_open()
        try:
            answer = await getattr(self._stub(), method)(request, timeout=self.options.timeout)
        except grpc.aio.AioRpcError as refusal:
            raise errors.from_rpc(refusal, self.options.where) from None
        except asyncio.CancelledError:
            # gRPC raises this for a call that the server cancelled or close() cut off, too.
            if being_cancelled():
                raise
            self._require_open()
            raise errors.RpcError("the call was cancelled by the other side", code=grpc.StatusCode.CANCELLED) from None
        if answer is None:  # what gRPC makes of bytes that are no message
            raise errors.InternalError("the daemon's answer cannot be decoded")
        return answer
