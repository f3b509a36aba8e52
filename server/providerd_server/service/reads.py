"""The RPCs that answer from memory: nothing here waits for the database."""

from __future__ import annotations

from bisect import bisect_right

import structlog
from google.protobuf.message import Message

from providerd.v1 import provider_pb2 as pb
from providerd_server import convert
from providerd_server.access import current
from providerd_server.errors import Kind, Refusal, invalid, not_ready
from providerd_server.hub import Hub, State
from providerd_server.rpc import Context, Handler, streaming, unary
from providerd_server.service.paging import fitting, make_token, page_size, read_token
from providerd_server.snapshot import Revision, StoredProvider
from providerd_server.source import Source
from providerd_server.validation import name_violations
from providerd_server.watch import Watch, Wish, bounded_write

log = structlog.get_logger(__name__)


class Reads:
    """GetActiveProvider, WatchActive, GetProvider and ListProviders.

    Args:
        hub: Answers reads and watches.
        source: Tells how fresh the hub is.
        stale_after: Seconds after which the hub counts as stale.
        write_timeout: Seconds a watcher may take to accept one message.
    """

    def __init__(self, hub: Hub, source: Source, *, stale_after: float, write_timeout: float) -> None:
        self._hub = hub
        self._source = source
        self._stale_after = stale_after
        self._write_timeout = write_timeout

    def handlers(self) -> list[tuple[str, Handler]]:
        """The names and gRPC handlers of these RPCs."""
        return [
            unary(pb.GetActiveProviderRequest, self.get_active_provider),
            streaming(pb.WatchActiveRequest, self.watch_active),
            unary(pb.GetProviderRequest, self.get_provider),
            unary(pb.ListProvidersRequest, self.list_providers),
        ]

    async def get_active_provider(self, request: pb.GetActiveProviderRequest, _: Context) -> bytes:
        """Answers from memory, with bytes that are shared by all who ask the same at this revision."""
        if request.include_credential:
            self._require_key_access()
        state = self._state()
        active = state.snapshot.active
        if active is None:
            raise Refusal(
                Kind.NOT_FOUND,
                "NO_ACTIVE_PROVIDER",
                "no provider is active; switch to one",
                # As answers say it: clients may know more from another daemon.
                metadata={
                    "store_id": state.revision.store_id,
                    "revision": str(state.revision.number),
                    "age_seconds": self._age(),
                },
            )
        with_credential = request.include_credential
        encoded = state.encoded(
            ("get", with_credential), lambda: _encode_active(active, state.revision, with_credential)
        )
        return encoded + pb.GetActiveProviderResponse(source=self._status()).SerializeToString()

    async def watch_active(self, request: pb.WatchActiveRequest, context: Context) -> None:
        """Streams the active provider."""
        wish = Wish.of(request)
        # Has the log lines of the watch say whose it is.
        if wish.watcher:
            structlog.contextvars.bind_contextvars(client=wish.watcher)
        log.debug("watching")
        if wish.with_credential:
            self._require_key_access()
        write = bounded_write(context, self._write_timeout)
        await Watch(self._hub, wish, status=self._status, verify=self._source.verify, write=write).run()

    async def get_provider(self, request: pb.GetProviderRequest, _: Context) -> bytes:
        """Answers from memory."""
        if violations := name_violations(request.provider_name):
            raise invalid(violations)
        state = self._state()
        provider_name = request.provider_name
        provider = state.snapshot.providers.get(provider_name)
        if provider is None:
            raise Refusal(
                Kind.NOT_FOUND,
                "PROVIDER_NOT_FOUND",
                f"provider {provider_name!r} not found; list the providers to see the names",
                metadata={
                    "provider_name": provider_name,
                    "store_id": state.revision.store_id,
                    "revision": str(state.revision.number),
                    "age_seconds": self._age(),
                },
            )
        encoded = state.encoded(
            ("provider", provider.provider_name),
            lambda: pb.GetProviderResponse(
                provider=convert.provider_message(provider), revision=convert.revision_message(state.revision)
            ).SerializeToString(),
        )
        return encoded + pb.GetProviderResponse(source=self._status()).SerializeToString()

    async def list_providers(self, request: pb.ListProvidersRequest, _: Context) -> Message:
        """Answers from memory, a page at a time."""
        state = self._state()
        size = page_size(request.page_size)
        names = sorted(state.snapshot.providers)
        start = bisect_right(names, read_token(request.page_token)) if request.page_token else 0
        page = [convert.provider_message(state.snapshot.providers[name]) for name in names[start : start + size]]
        page = page[: fitting(page)]
        return pb.ListProvidersResponse(
            providers=page,
            next_page_token=make_token(page[-1].provider_name) if start + len(page) < len(names) else "",
            revision=convert.revision_message(state.revision),
            source=self._status(),
        )

    def is_stale(self) -> bool:
        """Whether answers are marked stale now."""
        return self._status().stale

    def _require_key_access(self) -> None:
        current().require_key_access()

    def _state(self) -> State:
        if self._hub.state is None:
            raise not_ready()
        return self._hub.state

    def _age(self) -> str:
        return f"{self._source.age:.3f}"

    def _status(self) -> pb.SourceStatus:
        age = self._source.age
        stale = self._source.is_stale or age > self._stale_after or self._hub.is_behind
        return convert.source_status(age, stale=stale)


def _encode_active(active: StoredProvider, revision: Revision, with_credential: bool) -> bytes:
    response = pb.GetActiveProviderResponse(
        provider=convert.provider_message(active), revision=convert.revision_message(revision)
    )
    if with_credential:
        credential = convert.credential_message(active)
        if credential is None and active.has_key:
            raise _unreadable_key(active.provider_name)
        if credential is not None:
            response.credential.CopyFrom(credential)
    return response.SerializeToString()


def _unreadable_key(provider_name: str) -> Refusal:
    return Refusal(
        Kind.FAILED_PRECONDITION,
        "CREDENTIAL_UNREADABLE",
        f"the key of provider {provider_name!r} cannot be decrypted; check DB_ENCRYPTION_KEY or set the key anew",
        metadata={"provider_name": provider_name},
    )
