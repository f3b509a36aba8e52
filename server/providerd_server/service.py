"""The API: translates between messages and the hub and the store, and holds no logic of its own."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from bisect import bisect_right
from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from pydantic import SecretStr

from providerd.v1 import provider_pb2 as pb
from providerd_server import convert
from providerd_server.edit import Edit
from providerd_server.errors import Kind, Refusal, Violation, invalid, not_found
from providerd_server.hub import Hub, State
from providerd_server.rpc import Context, is_local, streaming, unary
from providerd_server.source import Source
from providerd_server.store import Store
from providerd_server.validation import name_violations, text_violations
from providerd_server.watch import Watch, Wish, bounded_write

T = TypeVar("T")

SERVICE_NAME = "providerd.v1.ProviderService"

# A write answers only when this daemon's own reads show it; with the database gone since, not at all costs.
_CATCH_UP = 1.0

_DEFAULT_PAGE, _LARGEST_PAGE = 100, 1000


class ProviderService:
    """The RPCs of ``providerd.v1.ProviderService``.

    Args:
        hub: Answers reads and watches.
        store: Carries out writes.
        source: Tells how fresh the hub is.
        stale_after: Seconds after which the hub counts as stale.
        write_timeout: Seconds a watcher may take to accept one message.
    """

    def __init__(self, hub: Hub, store: Store, source: Source, *, stale_after: float, write_timeout: float) -> None:
        self._hub = hub
        self._store = store
        self._source = source
        self._stale_after = stale_after
        self._write_timeout = write_timeout
        self._writes: set[asyncio.Task[Any]] = set()

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server is given to serve this."""
        handlers = {
            "GetActiveProvider": unary("GetActiveProvider", pb.GetActiveProviderRequest, self.get_active_provider),
            "WatchActive": streaming("WatchActive", pb.WatchActiveRequest, self.watch_active),
            "SwitchProvider": unary("SwitchProvider", pb.SwitchProviderRequest, self.switch_provider),
            "UpsertProvider": unary("UpsertProvider", pb.UpsertProviderRequest, self.upsert_provider),
            "GetProvider": unary("GetProvider", pb.GetProviderRequest, self.get_provider),
            "ListProviders": unary("ListProviders", pb.ListProvidersRequest, self.list_providers),
        }
        return grpc.method_handlers_generic_handler(SERVICE_NAME, handlers)

    async def get_active_provider(self, request: pb.GetActiveProviderRequest, context: Context) -> bytes:
        """Answers from memory, with bytes that are shared by all who ask the same at this revision."""
        if request.include_credential:
            _check_may_have_credential(context)
        state = self._state()
        with_credential = request.include_credential
        encoded = state.encoded(("get", with_credential), lambda: _encode_active(state, with_credential))
        return encoded + pb.GetActiveProviderResponse(source=self._status()).SerializeToString()

    async def watch_active(self, request: pb.WatchActiveRequest, context: Context) -> None:
        """Streams the active provider."""
        wish = Wish.of(request)
        if wish.with_credential:
            _check_may_have_credential(context)
        write = bounded_write(context, self._write_timeout)
        await Watch(self._hub, wish, status=self._status, verify=self._source.verify, write=write).run()

    async def switch_provider(self, request: pb.SwitchProviderRequest, _: Context) -> Message:
        """Makes a provider active."""
        violations = name_violations(request.provider_name) + text_violations(request.reason, request.actor)
        if violations:
            raise invalid(violations)
        expected = convert.revision_from(request.expected_revision) if request.HasField("expected_revision") else None
        outcome = await self._durably(
            self._store.switch(
                request.provider_name, expected_revision=expected, reason=request.reason, actor=request.actor
            )
        )
        response = pb.SwitchProviderResponse(
            active=convert.provider_message(outcome.active),
            revision=convert.revision_message(outcome.revision),
            switched=outcome.previous is None or outcome.previous.id != outcome.active.id,
            warnings=[] if outcome.active.has_key else [_no_key_warning(outcome.active.provider_name)],
        )
        if outcome.previous is not None:
            response.previous.CopyFrom(convert.provider_message(outcome.previous))
        return response

    async def upsert_provider(self, request: pb.UpsertProviderRequest, _: Context) -> Message:
        """Creates or changes a provider."""
        edit = Edit(request)
        outcome = await self._durably(
            self._store.upsert(
                edit.provider_name,
                edit.merge,
                new_api_key=SecretStr(request.new_api_key) if request.HasField("new_api_key") else None,
                clear_api_key=request.clear_api_key,
                expected_config_version=(
                    request.expected_config_version if request.HasField("expected_config_version") else None
                ),
                validate_only=request.validate_only,
                reason=request.reason,
                actor=request.actor,
            )
        )
        response = pb.UpsertProviderResponse(
            provider=convert.provider_message(outcome.after),
            created=outcome.before is None,
            changed=outcome.changed,
        )
        if not request.validate_only:
            response.revision.CopyFrom(convert.revision_message(outcome.revision))
        return response

    async def get_provider(self, request: pb.GetProviderRequest, _: Context) -> bytes:
        """Answers from memory."""
        if violations := name_violations(request.provider_name):
            raise invalid(violations)
        state = self._state()
        provider = state.snapshot.providers.get(request.provider_name)
        if provider is None:
            raise not_found(request.provider_name)
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
        size = min(request.page_size or _DEFAULT_PAGE, _LARGEST_PAGE)
        if size < 0:
            raise invalid([Violation("page_size", "must not be negative")])
        names = sorted(state.snapshot.providers)
        start = bisect_right(names, _name_in(request.page_token)) if request.page_token else 0
        page = names[start : start + size]
        return pb.ListProvidersResponse(
            providers=[convert.provider_message(state.snapshot.providers[name]) for name in page],
            next_page_token=_token_after(page[-1]) if start + size < len(names) else "",
            revision=convert.revision_message(state.revision),
            source=self._status(),
        )

    def _state(self) -> State:
        if self._hub.state is None:
            raise Refusal(Kind.UNAVAILABLE, "NOT_READY", "the daemon has not read the database yet; try again")
        return self._hub.state

    def _status(self) -> pb.SourceStatus:
        return convert.source_status(self._source.age, self._stale_after)

    async def _durably(self, write: Coroutine[Any, Any, T]) -> T:
        """Carries a write through even if the caller leaves, and answers when reads here show it."""
        task = asyncio.create_task(write)
        # The event loop itself only holds tasks weakly, and the caller may be gone before this one is done.
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        outcome = await asyncio.shield(task)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CATCH_UP):
                await self._source.verify()
        return outcome


def _encode_active(state: State, with_credential: bool) -> bytes:
    active = state.snapshot.active
    if active is None:
        raise Refusal(
            Kind.NOT_FOUND,
            "NO_ACTIVE_PROVIDER",
            "no provider is active; switch to one",
            metadata={"revision": str(state.revision.number)},
        )
    response = pb.GetActiveProviderResponse(
        provider=convert.provider_message(active), revision=convert.revision_message(state.revision)
    )
    if with_credential:
        credential = convert.credential_message(active)
        if credential is None and active.has_key:
            raise _unreadable_key(active.provider_name)
        if credential is not None:
            response.credential.CopyFrom(credential)
    return response.SerializeToString()


def _check_may_have_credential(context: Context) -> None:
    if not is_local(context.peer()):
        raise Refusal(
            Kind.PERMISSION_DENIED,
            "CREDENTIAL_NEEDS_LOCAL_PEER",
            "keys are only sent over loopback and unix sockets; ask without include_credential",
        )


def _unreadable_key(provider_name: str) -> Refusal:
    return Refusal(
        Kind.FAILED_PRECONDITION,
        "CREDENTIAL_UNREADABLE",
        f"the key of provider {provider_name!r} cannot be decrypted; check DB_ENCRYPTION_KEY or set the key anew",
        metadata={"provider_name": provider_name},
    )


def _no_key_warning(provider_name: str) -> pb.Warning:
    return pb.Warning(
        reason="PROVIDER_HAS_NO_KEY",
        message=f"provider {provider_name!r} has no key, so calls to it will be refused; set one",
    )


def _token_after(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _name_in(page_token: str) -> str:
    try:
        return base64.b64decode(page_token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise invalid([Violation("page_token", "must be the next_page_token of an earlier page")]) from None
