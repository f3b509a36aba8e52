"""Counts who is turned away, and keeps those who try again and again from filling the log."""

from __future__ import annotations

import time
from collections import Counter

import structlog

from providerd_server.errors import Kind, Refusal

log = structlog.get_logger(__name__)

# All that there are: they are shown before they happen, since nobody sees a count rise that appears.
_REASONS = (
    *("TOKEN_MISSING", "TOKEN_MALFORMED", "TOKEN_UNKNOWN", "TOKEN_EXPIRED", "CERTIFICATE_UNKNOWN"),
    *("SCOPE_MISSING", "CREDENTIAL_NEEDS_LOCAL_PEER"),
)

_WINDOW = 60.0
_MOST_HOSTS = 10_000


class Denials:
    """Tells of each denial, without anything that was presented.

    Args:
        most_failures: How many failed authentications a minute of one host are answered and logged one by one.
    """

    def __init__(self, most_failures: int) -> None:
        # By reason, since the start.
        self.counted: Counter[str] = Counter(dict.fromkeys(_REASONS, 0))
        self._most_failures = most_failures
        self._failures: dict[str, tuple[float, int]] = {}

    def denied(self, refusal: Refusal, *, method: str, host: str, principal: str = "") -> Refusal:
        """Counts and logs a denial; returns what to answer, which is shorter for a host that fails too often.

        Whoever fails is not made to wait, and whoever is known is let in all the same: tokens have 256 random bits, so
        that guessing is hopeless at any rate, and one broken neighbour must not lock out a whole host.
        """
        self.counted[refusal.reason] += 1
        failures = self._count(host) if refusal.kind is Kind.UNAUTHENTICATED else 0
        if failures > self._most_failures:
            return Refusal(
                Kind.RESOURCE_EXHAUSTED,
                "TOO_MANY_FAILURES",
                f"more than {self._most_failures} authentications from this host have failed within a minute",
                metadata={"limit": str(self._most_failures)},
            )
        hint = {"hint": "further ones of this minute are only counted"} if failures == self._most_failures else {}
        who = {"principal": principal} if principal else {}
        log.warning(
            "denied", rpc=method.rpartition("/")[2][:100], peer=host, reason=refusal.reason,
            denials=self.counted.total(), **who, **hint,
        )  # fmt: skip
        return refusal

    def lost(self, refusal: Refusal, *, principal: str) -> None:
        """Counts and logs that a stream ends because its principal may not go on."""
        self.counted[refusal.reason] += 1
        log.warning("a stream ends: access was taken away", principal=principal, reason=refusal.reason)

    def _count(self, host: str) -> int:
        now = time.monotonic()
        began, count = self._failures.pop(host, (now, 0))
        if now - began >= _WINDOW:
            began, count = now, 0
        # Put last, so that the first is the one that has been quiet for longest.
        self._failures[host] = (began, count + 1)
        if len(self._failures) > _MOST_HOSTS:
            del self._failures[next(iter(self._failures))]
        return count + 1
