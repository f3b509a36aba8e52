"""Traces of calls and of revisions, by OpenTelemetry; nothing of it is imported unless the settings ask for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from providerd_server.errors import ConfigurationError
from providerd_server.observer import RevisionLog
from providerd_server.serving_settings import ServingSettings


async def _nothing() -> None:
    return


@dataclass(frozen=True)
class Tracing:
    """What a server does to trace; by default nothing.

    Attributes:
        revisions: Is told by the hub of revisions and logs them.
        interceptors: Stand around the calls of those who were let in.
        provider: The OpenTelemetry tracer provider.
        close: Sends what is left, but for no longer than a moment.
    """

    revisions: RevisionLog = field(default_factory=RevisionLog)
    interceptors: tuple[grpc.aio.ServerInterceptor, ...] = ()
    provider: Any = None
    close: Callable[[], Awaitable[None]] = _nothing

    @classmethod
    def of(cls, settings: ServingSettings, service_name: str) -> Tracing:
        """What the settings ask for.

        Args:
            settings: Those of the server.
            service_name: What it is called in traces, unless OTEL_SERVICE_NAME says otherwise.

        Raises:
            ConfigurationError: OpenTelemetry is not installed, or is to send in a way that it cannot.
        """
        if not settings.tracing:
            return cls()
        try:
            from providerd_server.tracing.calls import Calls
            from providerd_server.tracing.export import Export
            from providerd_server.tracing.revisions import Revisions
        except ImportError:
            raise ConfigurationError(
                "PROVIDERD_TRACING needs OpenTelemetry: pip install 'providerd[server,otel]'"
            ) from None
        export = Export(service_name)
        return cls(Revisions(export.provider, export.ids), (Calls(export.provider),), export.provider, export.close)
