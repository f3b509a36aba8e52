"""The knobs of a client."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypedDict

from providerd.channel import target_uri

DEFAULT_TARGET = "localhost:50051"


class ClientKeywords(TypedDict, total=False):
    """The keyword arguments of a client, for type checkers; ClientOptions says what each does."""

    include_credential: bool
    heartbeat_interval: float
    max_age: float | None
    name: str | None
    timeout: float
    watch: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """How a client behaves.

    Raises:
        ValueError: A value is out of range, or a target is not an address.
    """

    # Where the daemons are: "host:port", "unix:///path", or any gRPC target; several "ip:port" to spread over.
    targets: tuple[str, ...] = (DEFAULT_TARGET,)

    # Whether the watch brings the active provider's key. Daemons grant it on loopback and unix sockets only.
    include_credential: bool = False

    # Seconds between signs of life when nothing changes, 1 to 300; fewer where max_age needs it. The client calls its
    # value stale, and reconnects, after three of them without a message.
    heartbeat_interval: float = 15.0

    # Reads raise StaleError once the value is older than this many seconds. None serves the last value for ever;
    # it also is the faster read, because it needs no look at the clock. The client asks for heartbeats that are
    # frequent enough; below 4 s it takes a daemon that also polls its database more often than by default.
    max_age: float | None = None

    # What the daemon calls this client in its logs, as "billing-worker".
    name: str | None = None

    # Seconds a unary call may take, and the longest that entering the client waits for the first answer.
    timeout: float = 5.0

    # False opens no watch: only the calls work, and `active` raises.
    watch: bool = True

    def __post_init__(self) -> None:
        target_uri(self.targets)
        if not 1 <= self.heartbeat_interval <= 300:
            raise ValueError(f"heartbeat_interval must be 1 to 300 seconds, not {self.heartbeat_interval}")
        if self.max_age is not None and not self.max_age > 0:
            raise ValueError(f"max_age must be a positive number of seconds or None, not {self.max_age}")
        if not 0 < self.timeout < math.inf:
            raise ValueError(f"timeout must be a positive number of seconds, not {self.timeout}")

    @property
    def where(self) -> str:
        """The targets, as shown in messages."""
        return ", ".join(self.targets)

    @property
    def patience(self) -> float:
        """Seconds without a message after which the watch counts as lost."""
        return 3 * self.heartbeat

    @property
    def heartbeat(self) -> float:
        """Seconds between signs of life that the client asks for: as stated, or what max_age needs."""
        if self.max_age is None:
            return self.heartbeat_interval
        return min(self.heartbeat_interval, max(1.0, self.max_age / 3))
