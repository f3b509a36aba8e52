"""What a client does to be traced: nothing, unless its options ask for it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from providerd.cache import Cache
    from providerd.changes import Change
    from providerd.options import ClientOptions
    from providerd.v1 import provider_pb2 as pb

Metadata = tuple[tuple[str, str], ...]

# Names a stream to the daemon, so that both know the id of each span that hands a revision over on it.
WATCH_HEADER = "x-providerd-watch"


class Tracing:
    """Leaves no trace. It is what a client has that was not asked to."""

    def of_call(self) -> Metadata:
        """Returns the metadata that has a unary call continue the trace of who makes it."""
        return ()

    def of_watch(self) -> Metadata:
        """Returns the metadata of a stream that begins now."""
        return ()

    def applied(
        self,
        message: pb.WatchActiveResponse,  # noqa: ARG002 - for those who leave one
        change: Change | None,  # noqa: ARG002
        cache: Cache,  # noqa: ARG002
        began: int,  # noqa: ARG002
    ) -> AbstractContextManager[object]:
        """Returns a context in which others are told of what the cache took from a message.

        Args:
            message: An event of the watch.
            change: What it changed; None when the cache has the same content as before.
            cache: Has taken it.
            began: When the message was there, in nanoseconds since the epoch.
        """
        return nullcontext()


def tracing_of(options: ClientOptions) -> Tracing:
    """Returns what a client with these options does.

    Raises:
        ValueError: Tracing is asked for, and OpenTelemetry is not installed.
    """
    if not options.tracing:
        return Tracing()
    try:
        from providerd.spans import Spans  # only whoever traces needs the library
    except ImportError:
        raise ValueError("tracing needs the library opentelemetry-api: pip install 'providerd[otel]'") from None
    return Spans(options.tracer_provider)
