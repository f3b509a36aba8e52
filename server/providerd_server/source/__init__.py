"""Where snapshots come from. The hub and the service know this interface, not what is behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from providerd_server.snapshot import Snapshot

Publish = Callable[[Snapshot], None]


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

    async def verify(self) -> None:
        """Returns after a read that began after this call. Bound it: with the truth away it takes as long."""
        ...


class WritableSource(Source, Protocol):
    """A source whose truth this process changes, too."""

    def reconnect(self) -> None:
        """Gives up the connection that reads for a new one, since it takes too long."""
        ...


__all__ = ["Publish", "Source", "WritableSource"]
