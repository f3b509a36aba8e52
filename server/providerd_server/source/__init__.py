"""Where snapshots come from. The hub and the service know this interface, not what is behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from providerd_server.snapshot import Snapshot

Publish = Callable[[Snapshot], None]


@dataclass(frozen=True, slots=True)
class Condition:
    """How a source is, for those who look after it.

    Attributes:
        kind: What the truth is to it: "postgresql" or "upstream".
        connected: Whether the newest that it heard of the truth was an answer.
        listening: How hints arrive: "listening", "connecting", or "deaf" when none can; empty where there are none.
        counts: How often something has happened since the start: "failures"; of PostgreSQL "reads", "polled", changes
            that no hint told of, "lost", LISTEN connections, and "undecryptable", keys that could not be read; of an
            upstream "heard", something new.
        version: That of the server that holds the truth; empty where it is not known.
        warning: What is wrong with that version; empty when nothing is.
        unreadable: The providers whose keys cannot be read, by name.
    """

    kind: str
    connected: bool
    listening: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    version: str = ""
    warning: str = ""
    unreadable: tuple[str, ...] = ()


class Source(Protocol):
    """Follows the truth and publishes a snapshot of each new revision."""

    async def run(self, publish: Publish) -> None:
        """Follows until cancelled. Trouble with the truth is logged, waited out and never raised."""
        ...

    @property
    def age(self) -> float:
        """Seconds since the published snapshot was last verified to be the newest; inf before the first."""
        ...

    @property
    def is_stale(self) -> bool:
        """Whether the source itself cannot vouch for the published snapshot, however young that is."""
        ...

    @property
    def condition(self) -> Condition:
        """How it is."""
        ...

    async def verify(self) -> None:
        """Returns after a read that began after this call. Bound it: with the truth away it takes as long."""
        ...


class WritableSource(Source, Protocol):
    """A source whose truth this process changes, too."""

    def reconnect(self) -> None:
        """Gives up the connection that reads for a new one, since it takes too long."""
        ...


__all__ = ["Condition", "Publish", "Source", "WritableSource"]
