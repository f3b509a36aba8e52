"""What a run of the rig comes to, in the shape that is printed at its end."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from tests.faults.load import Load

# Faults 1 to 35; those from 36 on are tried by tests/abuse.
FAULTS = 35


class Report:
    """Adds up the whole run."""

    def __init__(self) -> None:
        self._load = ""
        self._lines: list[str] = []
        self._outcomes: dict[str, list[str]] = {}
        self._counts: Counter[str] = Counter()

    def judged(self, load: Load, lost: Sequence[str], hits: int) -> None:
        """Adds what the checker said of one load: writes that are lost, and places where a canary was found."""
        self._counts += Counter(acknowledged=len(load.writes), lost=len(lost), hits=hits)

    def held(self, watchers: int, writes: float, reads: float, seconds: list[float]) -> None:
        """Says which load was held, and how long changes took from their commit to a watcher."""
        p50, p99 = (statistics.quantiles(seconds, n=100)[percent - 1] * 1000 for percent in (50, 99))
        self._load = (
            f"{watchers} watchers, {writes:.1f} writes/s, {reads:.0f} reads/s;"
            f" commit to client p50 {p50:.1f} ms, p99 {p99:.1f} ms"
        )

    def measured(self, line: str) -> None:
        """Adds a line of a run of its own."""
        self._lines.append(line)

    def outcome(self, fault: int, problem: str) -> None:
        """Adds how one test of a fault went; an empty problem means that it was survived."""
        self._outcomes.setdefault(str(fault), []).append(problem)

    def sums(self) -> dict[str, Any]:
        """All of it, for another process to add."""
        return {
            "load": self._load,
            "lines": self._lines,
            "outcomes": self._outcomes,
            "counts": dict(self._counts),
        }

    def add(self, sums: dict[str, Any]) -> None:
        """Adds what another process came to."""
        self._load = self._load or sums["load"]
        self._lines += sums["lines"]
        self._counts += Counter(sums["counts"])
        for fault, problems in sums["outcomes"].items():
            self._outcomes.setdefault(fault, []).extend(problems)

    def text(self, bad_inputs: tuple[int, int]) -> list[str]:
        """The lines; none when the rig did not run. ``bad_inputs`` are how many were tried, and wrongly accepted."""
        if not (self._outcomes or self._lines or self._load):
            return []
        short = {fault: next(filter(None, said)) for fault, said in self._outcomes.items() if any(said)}
        tried, accepted = bad_inputs
        return [
            f"load held: {self._load or 'not measured in this run'}",
            f"faults survived: {len(self._outcomes) - len(short)}/{FAULTS}, of {len(self._outcomes)} tried",
            *(f"  fault {fault} falls short: {short[fault]}" for fault in sorted(short, key=int)),
            f"bad inputs tried: {tried:,}, wrongly accepted: {accepted}" if tried else "bad inputs: not in this run",
            f"acknowledged writes: {self._counts['acknowledged']:,}, lost: {self._counts['lost']}",
            f"canary hits: {self._counts['hits']}",
            *self._lines,
        ]


REPORT = pytest.StashKey[Report]()


def counted(outcomes: Counter[str]) -> str:
    """Counts by name, in one line."""
    return ", ".join(f"{name} {count}" for name, count in sorted(outcomes.items()))


def percentile(values: Iterable[float], share: float) -> float:
    """The value that this share of all does not exceed."""
    ordered = sorted(values)
    return ordered[int(len(ordered) * share)]
