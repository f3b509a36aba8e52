"""How a daemon or a sidecar is, as it says itself."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from providerd.document import from_timestamp
from providerd.provider import Revision, SourceStatus
from providerd.v1 import provider_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a daemon's answers come from.

    Attributes:
        kind: "postgresql", or "upstream" of a sidecar.
        connected: Whether the newest that was heard from there was an answer.
        listening: "listening", "connecting", or "deaf" where only polls find changes; empty of a sidecar.
        server_version: The version of PostgreSQL; empty where it is not known.
        version_warning: What is wrong with that version; empty when nothing is.
        failures: How often it could not be followed.
        polled_changes: Changes that a poll found without a notification.
        lost_listeners: LISTEN connections that were lost.
        unreadable_keys: The names of the providers whose keys cannot be read.
    """

    kind: str
    connected: bool
    listening: str
    server_version: str
    version_warning: str
    failures: int
    polled_changes: int
    lost_listeners: int
    unreadable_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Watchers:
    """Who watches a daemon.

    Attributes:
        current: How many know its newest revision.
        behind: How many have not taken it yet.
        starting: How many have not taken anything yet.
        slowest_lag: By how many revisions the slowest of those behind is.
        resyncing: How many know of another store, or of one that went back, and have not taken this one yet.
    """

    current: int
    behind: int
    starting: int
    slowest_lag: int
    resyncing: int = 0


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """How a daemon or a sidecar is. Its counts begin with its start.

    Attributes:
        version: Its version.
        start_time: When it started.
        revision: The newest that it holds; None before the first.
        source: How fresh that is; None before the first.
        active_provider_name: Who is active; None when nobody is, or nothing is known.
        provider_count: How many providers it knows: of a sidecar, the active one.
        origin: Where its answers come from.
        watchers: Who watches.
        deliveries: Messages to watchers other than heartbeats.
        folded_revisions: Revisions that watchers skipped, since a newer one had replaced them.
        writes: Writes that were made through it.
        refused_writes: Writes that were refused, that failed, or whose caller was gone before their end.
        mean_write_time: Seconds that a write took on average until it was durable; None without any.
        calls: Unary calls in flight.
        denials: Calls and streams that were turned away, by reason.
        certificate_expire_time: When its certificate ends; None without TLS.
    """

    version: str
    start_time: datetime
    revision: Revision | None
    source: SourceStatus | None
    active_provider_name: str | None
    provider_count: int
    origin: Origin
    watchers: Watchers
    deliveries: int
    folded_revisions: int
    writes: int
    refused_writes: int
    mean_write_time: float | None
    calls: int
    denials: Mapping[str, int]
    certificate_expire_time: datetime | None

    @classmethod
    def from_proto(cls, message: pb.GetStatusResponse) -> DaemonStatus:
        """Reads the message of the API."""
        origin, watchers = message.origin, message.watchers
        return cls(
            version=message.version,
            start_time=from_timestamp(message.start_time),
            revision=Revision.from_proto(message.revision) if message.HasField("revision") else None,
            source=SourceStatus.from_proto(message.source) if message.HasField("source") else None,
            active_provider_name=message.active_provider_name or None,
            provider_count=message.provider_count,
            origin=Origin(
                kind=origin.kind,
                connected=origin.connected,
                listening=origin.listening,
                server_version=origin.server_version,
                version_warning=origin.version_warning,
                failures=origin.failures,
                polled_changes=origin.polled_changes,
                lost_listeners=origin.lost_listeners,
                unreadable_keys=tuple(origin.unreadable_keys),
            ),
            watchers=Watchers(
                watchers.current, watchers.behind, watchers.starting, watchers.slowest_lag, watchers.resyncing
            ),
            deliveries=message.deliveries,
            folded_revisions=message.folded_revisions,
            writes=message.writes,
            refused_writes=message.refused_writes,
            mean_write_time=(
                message.mean_write_time.ToTimedelta().total_seconds() if message.HasField("mean_write_time") else None
            ),
            calls=message.calls,
            denials=MappingProxyType(dict(sorted(message.denials.items()))),
            certificate_expire_time=(
                from_timestamp(message.certificate_expire_time) if message.HasField("certificate_expire_time") else None
            ),
        )
