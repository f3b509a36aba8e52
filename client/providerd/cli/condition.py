"""What can be said about a daemon, for people and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from dataclasses import fields as fields_of
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from providerd.cli import output
from providerd.document import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from providerd.daemon_status import DaemonStatus
    from providerd.errors import ProviderdError

Pair = tuple[str, str]


@dataclass
class Condition:
    """How a daemon is. Fields that only an answer brings are None without one."""

    server: str
    # How it is talked to, as "mutual TLS", and as whom.
    transport: str
    identity: str
    # Something answered, if only with a refusal.
    reachable: bool = False
    # Reads and watches are answered.
    serving: bool = False
    stale: bool | None = None
    # Seconds since the daemon last verified that the database is at this revision.
    age: float | None = None
    revision: dict[str, Any] | None = None
    active_provider: str | None = None
    # Not from a sidecar, which knows the active one only.
    providers: int | None = None
    # Whom a sidecar follows; only from one.
    upstream: str | None = None
    # What it says of itself; older ones do not.
    daemon: DaemonStatus | None = None
    error: ProviderdError | None = None

    def as_json(self) -> dict[str, Any]:
        """Returns it as `status --json` prints it."""
        names = ("server", "transport", "identity", "reachable", "serving", "stale", "age", "revision")
        known = {name: getattr(self, name) for name in names}
        known["active_provider"] = self.active_provider
        known |= {"upstream": self.upstream} if self.upstream else {"providers": self.providers}
        return known | {"daemon": self.daemon and _daemon_json(self.daemon)}

    def pairs(self) -> list[Pair]:
        """Returns it as names and values, a pair a line."""
        pairs = [
            ("server", self.server),
            ("transport", self.transport),
            ("identity", self.identity),
            ("reachable", _yes(self.reachable)),
            ("serving", _yes(self.serving)),
        ]
        if self.serving:
            pairs += [
                ("source", f"{'stale' if self.stale else 'fresh'}, verified {self.age:.1f} s ago"),
                ("active", self.active_provider or "none"),
                ("revision", str(self.revision["number"]) if self.revision else "none"),
                ("upstream", self.upstream) if self.upstream else ("providers", str(self.providers)),
            ]
        return pairs if self.daemon is None else [*pairs, *_daemon_pairs(self.daemon)]


def _daemon_json(daemon: DaemonStatus) -> dict[str, Any]:
    # What other fields say already is left out.
    said = {"revision", "source", "active_provider_name", "provider_count"}
    fields = {each.name: plain(getattr(daemon, each.name)) for each in fields_of(daemon) if each.name not in said}
    return fields | {"origin": asdict(daemon.origin), "watchers": asdict(daemon.watchers)}


def _daemon_pairs(daemon: DaemonStatus) -> Iterator[Pair]:
    origin, watchers = daemon.origin, daemon.watchers
    yield "version", f"{daemon.version}, up {_duration((datetime.now(UTC) - daemon.start_time).total_seconds())}"
    yield "origin", _origin(daemon)
    if origin.listening:
        yield "listen", _listening(daemon)
    if origin.version_warning:
        yield "warning", origin.version_warning
    if origin.unreadable_keys:
        yield "keys", f"cannot be read: {', '.join(origin.unreadable_keys)}"
    yield (
        "watchers",
        _joined(
            f"{watchers.current} up to date",
            f"{watchers.behind} behind, the slowest by {output.counted(watchers.slowest_lag, 'revision')}"
            if watchers.behind
            else "",
            f"{watchers.resyncing} yet to hear of another store" if watchers.resyncing else "",
            f"{watchers.starting} starting" if watchers.starting else "",
        ),
    )
    yield (
        "delivered",
        _joined(
            output.counted(daemon.deliveries, "message"),
            f"{output.counted(daemon.folded_revisions, 'revision')} folded" if daemon.folded_revisions else "",
        ),
    )
    mean = daemon.mean_write_time
    yield (
        "writes",
        _joined(
            f"{daemon.writes} made" + ("" if mean is None else f" in {mean * 1000:.1f} ms on average"),
            f"{daemon.refused_writes} refused" if daemon.refused_writes else "",
        ),
    )
    if daemon.denials:
        yield "denied", ", ".join(f"{reason} {count}" for reason, count in daemon.denials.items())
    if (ends := daemon.certificate_expire_time) is not None:
        yield "certificate", f"ends {plain(ends)}"


def _origin(daemon: DaemonStatus) -> str:
    origin = daemon.origin
    name = "PostgreSQL" if origin.kind == "postgresql" else origin.kind
    return _joined(
        f"{name} {origin.server_version}".strip(),
        "connected" if origin.connected else "away",
        f"failed {output.counted(origin.failures, 'time')}" if origin.failures else "",
    )


def _listening(daemon: DaemonStatus) -> str:
    origin = daemon.origin
    return _joined(
        "only polls find changes" if origin.listening == "deaf" else origin.listening,
        f"lost {output.counted(origin.lost_listeners, 'time')}" if origin.lost_listeners else "",
        f"{output.counted(origin.polled_changes, 'change')} found by a poll" if origin.polled_changes else "",
    )


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _duration(seconds: float) -> str:
    """Returns a time span in its two largest units, as "3 h 12 min"."""
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    whole = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in units:
        count, whole = divmod(whole, size)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def _yes(value: bool) -> str:
    return "yes" if value else "no"
