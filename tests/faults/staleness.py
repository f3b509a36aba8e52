"""How long watchers did not have what was committed already."""

import itertools
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from tests.faults.checker import Delivered
from tests.faults.truth import Truth


def active_changes(truth: Truth, since: float = 0.0, before: float = math.inf) -> list[int]:
    """The revisions that changed the active provider and were committed in this time; the others are not pushed."""
    return [
        revision
        for revision, content in truth.active.items()
        if content != truth.active.get(revision - 1) and since <= truth.committed_at[revision] < before
    ]


def waits(told: Sequence[Delivered], truth: Truth, revisions: Iterable[int]) -> Iterator[float]:
    """The seconds from the commit of each of these revisions until a watcher had it, or one that is newer."""
    numbers = list(itertools.accumulate((message.number for message in told), max))
    for revision in revisions:
        place = bisect_left(numbers, revision)
        if place < len(numbers):
            yield told[place].at - truth.committed_at[revision]
