"""How long and how hard: the short form that every run of the suite takes, or the full one."""

import os
from typing import TypeVar

T = TypeVar("T")

FULL = os.environ.get("PROVIDERD_FAULTS") == "full"


def scaled(short: T, full: T) -> T:
    """The one of two that this run is about."""
    return full if FULL else short


# The base load.
WATCHERS = scaled(20, 200)
WRITES_PER_SECOND = 5.0
READS_PER_SECOND = scaled(20.0, 200.0)

# Seconds between signs of life that the watchers of the rig ask for.
HEARTBEAT = 2.0

# The full form is of daemons as they come; in the short one they look more often, so that less has to be waited for.
SETTINGS = scaled(
    {"PROVIDERD_POLL_INTERVAL": "0.5", "PROVIDERD_PROBE_INTERVAL": "0.5", "PROVIDERD_STALE_AFTER": "2"}, {}
)
