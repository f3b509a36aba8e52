"""The calls of a client that ask for providers and change them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from providerd.daemon_status import DaemonStatus
from providerd.provider import ActiveProvider, Credential, Provider, Revision, SourceStatus
from providerd.requests import build, switch_request, upsert_request
from providerd.results import SwitchResult, UpsertResult
from providerd.v1 import provider_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from providerd.announcer import Announcer
    from providerd.cache import Cache
    from providerd.connection import Connection
    from providerd.secret import Secret

# How long a change waits for the watch to show it, before it returns anyway.
_VISIBLE_WITHIN = 1.0


class Calls:
    """What a client asks of the daemon, and each time anew."""

    _cache: Cache
    _announcer: Announcer
    _connection: Connection
    _source: SourceStatus | None = None

    @property
    def source(self) -> SourceStatus | None:
        """How fresh the answer was that get(), get_active() or list() brought last; None before the first one.

        A daemon that cannot reach its database answers them from memory, and says so here.
        """
        return self._source

    async def get(self, provider_name: str) -> Provider:
        """Asks the daemon for one provider.

        Raises:
            NotFoundError: There is none of that name.
            RpcError: The call failed.
        """
        answer = await self._connection.call(
            "GetProvider", build(pb.GetProviderRequest, provider_name=provider_name), current=True
        )
        self._source = SourceStatus.from_proto(answer.source)
        return Provider.from_proto(answer.provider)

    async def get_active(self, *, include_credential: bool = False) -> ActiveProvider:
        """Asks the daemon for the active provider, watched or not.

        Args:
            include_credential: Whether to bring the key; daemons grant it on loopback and unix sockets, and over TLS to
                whom they know and who may read it.

        Raises:
            NotFoundError: Nobody is active.
            RpcError: The call failed.
        """
        request = pb.GetActiveProviderRequest(include_credential=include_credential)
        answer = await self._connection.call("GetActiveProvider", request, current=True)
        self._source = SourceStatus.from_proto(answer.source)
        credential = Credential(answer.credential.api_key) if answer.HasField("credential") else None
        return ActiveProvider(Provider.from_proto(answer.provider), credential, Revision.from_proto(answer.revision))

    async def get_status(self) -> DaemonStatus:
        """Asks the daemon how it is; it answers while its database is away, too.

        Raises:
            UnimplementedError: It is too old to say.
            RpcError: The call failed.
        """
        return DaemonStatus.from_proto(await self._connection.call("GetStatus", pb.GetStatusRequest()))

    async def list(self) -> list[Provider]:
        """Asks the daemon for all providers, in order of their names.

        Raises:
            RpcError: The call failed.
        """
        providers: list[Provider] = []
        request = pb.ListProvidersRequest()
        while True:
            page = await self._connection.call("ListProviders", request, current=True)
            providers += [Provider.from_proto(each) for each in page.providers]
            self._source = SourceStatus.from_proto(page.source)
            if not page.next_page_token:
                return providers
            request.page_token = page.next_page_token

    async def switch(
        self,
        provider_name: str,
        *,
        reason: str = "",
        actor: str = "",
        expected_revision: Revision | None = None,
        validate_only: bool = False,
    ) -> SwitchResult:
        """Makes a provider the active one. When this returns, `active` of a client that watches shows it.

        Args:
            provider_name: Which one.
            reason: Why, for the audit history; at most 1,000 characters.
            actor: Who, for the audit history; at most 255 characters.
            expected_revision: Switch only if this is still the newest revision.
            validate_only: Check everything and change nothing.

        Raises:
            NotFoundError: There is none of that name.
            FailedPreconditionError: It is disabled.
            AbortedError: `expected_revision` is not the newest any more.
            RpcError: The call failed.
        """
        request = switch_request(
            provider_name,
            expected_revision=expected_revision,
            validate_only=validate_only,
            reason=reason,
            actor=actor,
        )
        result = SwitchResult.from_proto(await self._connection.call("SwitchProvider", request))
        if result.revision is not None:
            await self._shown(result.active, result.revision)
        return result

    async def upsert(
        self,
        provider: Mapping[str, Any],
        *,
        update_mask: Sequence[str] | None = None,
        api_key: str | Secret | None = None,
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
            api_key: A new key. As a `Secret` it is shown by nothing that shows local variables.
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
        answer = await self._connection.call(
            "UpsertProvider",
            upsert_request(
                provider,
                update_mask=update_mask,
                api_key=api_key,
                clear_api_key=clear_api_key,
                expected_config_version=expected_config_version,
                validate_only=validate_only,
                reason=reason,
                actor=actor,
            ),
        )
        result = UpsertResult.from_proto(answer)
        if result.revision is not None and result.provider.is_active:
            await self._shown(result.provider, result.revision)
        return result

    async def _shown(self, provider: Provider | None, revision: Revision) -> None:
        """Waits until the watch shows a change made through this client, or for a bounded time.

        That is when it is at the revision, or when the active provider is this one.
        """
        cache = self._cache
        if not cache.live:
            return

        def shown() -> bool:
            known = cache.revision is not None and cache.revision.reaches(revision)
            return known or (provider is not None and cache.provider == provider) or not cache.live

        try:
            async with asyncio.timeout(_VISIBLE_WITHIN):
                await self._announcer.until(shown)
        except TimeoutError:
            pass  # the change is made; the watch only tells later
