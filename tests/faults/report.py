"""What a run of the rig comes to, in the shape that is printed at its end."""

import statistics
from collections import Counter
from typing import Any

# Faults 1 to 35; those from 36 on are tried by tests/abuse.
FAULTS = 35


class Report:
    """Adds up the whole run."""

    def __init__(self) -> None:
        self.load = ""
        self.lines: list[str] = []
        self._outcomes: dict[int, list[str]] = {}
        self._acknowledged = 0
        self._lost = 0
        self._hits = 0

    def judged(self, load: Any, lost: list[str], problems: list[str]) -> None:
        """Adds what the checker said of one load."""
        self._acknowledged += len(load.writes)
        self._lost += len(lost)

    def searched(self, hits: int) -> None:
        """Adds places where a canary was found."""
        self._hits += hits

    def held(self, watchers: int, writes: float, reads: float, seconds: list[float]) -> None:
        """Says which load was held, and how long changes took from their commit to a watcher."""
        p50, p99 = (statistics.quantiles(seconds, n=100)[percent - 1] * 1000 for percent in (50, 99))
        self.load = (
            f"{watchers} watchers, {writes:.1f} writes/s, {reads:.0f} reads/s;"
            f" commit to client p50 {p50:.1f} ms, p99 {p99:.1f} ms"
        )

    def measured(self, line: str) -> None:
        """Adds a line of a run of its own."""
        self.lines.append(line)

    def outcome(self, fault: int, problem: str) -> None:
        """Adds how one fault went; nothing said means that it was survived."""
        self._outcomes.setdefault(fault, []).append(problem)

    def text(self, bad_inputs: tuple[int, int] | None) -> list[str]:
        """The lines; none when no fault was tried. ``bad_inputs`` are those tried and those wrongly accepted."""
        if not self._outcomes:
            return []
        short = {fault: next(filter(None, said)) for fault, said in sorted(self._outcomes.items()) if any(said)}
        tried, accepted = bad_inputs or (0, 0)
        return [
            f"load held: {self.load or 'not measured in this run'}",
            f"faults survived: {len(self._outcomes) - len(short)}/{FAULTS} ({len(self._outcomes)} tried)",
            *(f"  fault {fault} falls short: {problem}" for fault, problem in short.items()),
            f"bad inputs tried: {tried:,}, wrongly accepted: {accepted}"
            if bad_inputs
            else "bad inputs: not in this run",
            f"acknowledged writes: {self._acknowledged:,}, lost: {self._lost}",
            f"canary hits: {self._hits}",
            *self.lines,
        ]


def counted(outcomes: Counter[str]) -> str:
    """Counts by name, in one line."""
    return ", ".join(f"{name} {count}" for name, count in sorted(outcomes.items()))
