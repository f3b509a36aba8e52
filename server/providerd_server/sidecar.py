"""The composition root of the sidecar: the API from memory, as an upstream daemon tells it."""

from __future__ import annotations

from providerd_server import serving
from providerd_server.entrance import Entrance
from providerd_server.errors import ConfigurationError
from providerd_server.hub import Hub
from providerd_server.metrics import Metrics
from providerd_server.service.sidecar import Elsewhere, SidecarReads
from providerd_server.sidecar_settings import SidecarSettings
from providerd_server.source.upstream import Upstream, UpstreamSource
from providerd_server.tracing import Tracing

# Between two signs of life of the upstream, in seconds: often enough that a healthy one is never called stale.
_RAREST, _MOST_FREQUENT = 5.0, 1.0


async def serve(settings: SidecarSettings, entrance: Entrance) -> None:
    """Runs the sidecar until SIGTERM or SIGINT; a second signal cuts the goodbyes short.

    Raises:
        ConfigurationError: An address cannot be taken, or there is no way to the upstream, or no tracing, as the
            settings say.
        ExceptionGroup: A part failed in a way nobody foresaw; the process should end with an error.
    """
    tracing, metrics = Tracing.of(settings, "providerd-sidecar"), Metrics()
    source = UpstreamSource(upstream_of(settings, tracing))
    hub = Hub(tracing.revisions, metrics.events)
    reads = SidecarReads(hub, source, stale_after=settings.stale_after, write_timeout=settings.watch_write_timeout)
    service = serving.Service(source, "the upstream", hub, metrics, reads, (Elsewhere(source.place),), tracing=tracing)
    await serving.serve(service, settings, entrance)


def upstream_of(settings: SidecarSettings, tracing: Tracing | None = None) -> Upstream:
    """A client of the upstream, not started yet.

    Raises:
        ConfigurationError: It cannot be reached as the settings say.
    """
    provider = tracing.provider if tracing is not None else None
    try:
        return Upstream(
            *settings.upstream,
            name="providerd-sidecar",
            include_credential=settings.include_credential,
            heartbeat_interval=min(_RAREST, max(_MOST_FREQUENT, settings.stale_after / 3)),
            tls=settings.tls,
            ca_file=settings.ca_file,
            cert_file=settings.cert_file,
            key_file=settings.key_file,
            tls_server_name=settings.tls_server_name,
            token=settings.token,
            token_file=settings.token_file,
            insecure=settings.insecure_token,
            snapshot_file=settings.snapshot_file,
            snapshot_key=settings.snapshot_key,
            snapshot_max_age=settings.snapshot_max_age.total_seconds(),
            tracing=provider is not None,
            tracer_provider=provider,
        )
    except ValueError as error:
        raise ConfigurationError(f"the upstream: {error}") from None
