"""The RPCs of a sidecar: what is active is answered from memory, and everything else is a matter of its upstream."""

from __future__ import annotations

from typing import NoReturn

from google.protobuf.message import Message

from providerd.v1 import provider_pb2 as pb
from providerd_server.errors import Kind, Refusal
from providerd_server.hub import Hub
from providerd_server.rpc import Context, Handler, unary
from providerd_server.service.reads import Reads
from providerd_server.source.upstream import UpstreamSource


class SidecarReads(Reads):
    """GetActiveProvider, WatchActive and, of the active provider, GetProvider.

    Args:
        hub: Answers reads and watches.
        source: The upstream.
        stale_after: Seconds after which the hub counts as stale.
        write_timeout: Seconds a watcher may take to accept one message.
    """

    def __init__(self, hub: Hub, source: UpstreamSource, *, stale_after: float, write_timeout: float) -> None:
        super().__init__(hub, source, stale_after=stale_after, write_timeout=write_timeout)
        self._upstream = source

    async def get_active_provider(self, request: pb.GetActiveProviderRequest, context: Context) -> bytes:
        """Answers from memory."""
        active = self._state().snapshot.active
        if request.include_credential and active and active.has_key and not active.api_key and self._upstream.is_stale:
            self._require_key_access()
            raise Refusal(
                Kind.UNAVAILABLE,
                "KEY_NOT_HEARD",
                f"the key of provider {active.provider_name!r} comes with the upstream's next answer; try again",
                metadata={"provider_name": active.provider_name},
            )
        return await super().get_active_provider(request, context)

    async def get_provider(self, request: pb.GetProviderRequest, context: Context) -> bytes:
        """Answers from memory, when it is the active one."""
        state = self._state()
        if request.provider_name and request.provider_name not in state.snapshot.providers:
            raise _knows_only_the_active(self._upstream.place)
        return await super().get_provider(request, context)

    async def list_providers(
        self,
        request: pb.ListProvidersRequest,  # noqa: ARG002 - as Reads has it
        _: Context,
    ) -> NoReturn:
        """Refuses: the active provider is not all of them."""
        raise _knows_only_the_active(self._upstream.place)

    def _require_key_access(self) -> None:
        super()._require_key_access()
        if not self._upstream.has_keys:
            raise Refusal(
                Kind.FAILED_PRECONDITION,
                "SIDECAR_WITHOUT_KEYS",
                "this sidecar has no keys; run it with --include-credential, or ask without include_credential",
            )
        refusal = self._upstream.refusal
        if refusal is not None:
            reason = refusal.reason or "without a reason"
            raise Refusal(
                Kind.UNAVAILABLE,
                "UPSTREAM_REFUSES",
                f"no keys while the upstream refuses this sidecar ({reason}); give its principal access there",
                metadata={"upstream": self._upstream.place, "upstream_reason": reason},
            )


class Elsewhere:
    """The RPCs that a sidecar leaves to its upstream.

    Args:
        upstream: Where that is.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream

    def handlers(self) -> list[tuple[str, Handler]]:
        """The names and gRPC handlers of these RPCs."""
        return [
            *(
                unary(request, self.change)
                for request in (
                    pb.SwitchProviderRequest,
                    pb.UpsertProviderRequest,
                    pb.DeleteProviderRequest,
                    pb.RollbackProviderRequest,
                    pb.ApplyConfigurationRequest,
                )
            ),
            *(
                unary(request, self.look_back)
                for request in (pb.ListHistoryRequest, pb.GetRevisionRequest, pb.DiffRevisionsRequest)
            ),
        ]

    async def change(self, _: Message, __: Context) -> NoReturn:
        """Refuses."""
        raise Refusal(
            Kind.FAILED_PRECONDITION,
            "SIDECAR_READ_ONLY",
            f"this is a sidecar, which changes nothing; ask its upstream, {self._upstream}",
            metadata={"upstream": self._upstream},
        )

    async def look_back(self, _: Message, __: Context) -> NoReturn:
        """Refuses."""
        raise _knows_only_the_active(self._upstream)


def _knows_only_the_active(upstream: str) -> Refusal:
    return Refusal(
        Kind.FAILED_PRECONDITION,
        "SIDECAR_KNOWS_ACTIVE_ONLY",
        f"this is a sidecar, which knows the active provider and nothing else; ask its upstream, {upstream}",
        metadata={"upstream": upstream},
    )
