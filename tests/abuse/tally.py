"""How many cases were tried of each kind, and what came of them, for the end of the run."""

from collections import Counter

import pytest


class Tally:
    """Counts for the whole run."""

    def __init__(self) -> None:
        self._tried: Counter[str] = Counter()
        self._accepted: Counter[str] = Counter()
        self._searched: dict[str, int] = {}

    def tried(self, kind: str, count: int = 1, *, wrongly_accepted: int = 0) -> None:
        """Adds cases of a kind."""
        self._tried[kind] += count
        self._accepted[kind] += wrongly_accepted

    def searched(self, where: str, hits: int) -> None:
        """Adds hits of canaries in a place; a place that was searched before keeps its hits."""
        self._searched[where] = self._searched.get(where, 0) + hits

    def counts(self) -> dict[str, dict[str, int]]:
        """All of it, for another process to add."""
        return {"tried": dict(self._tried), "accepted": dict(self._accepted), "searched": dict(self._searched)}

    def add(self, counts: dict[str, dict[str, int]]) -> None:
        """Adds what another process counted."""
        for kind, count in counts["tried"].items():
            self.tried(kind, count, wrongly_accepted=counts["accepted"][kind])
        for where, hits in counts["searched"].items():
            self.searched(where, hits)

    def report(self) -> list[str]:
        """The lines to print; none when nothing was tried."""
        if not self._tried:
            return []
        width = max(map(len, [*self._tried, *self._searched]))
        cases = [f"{kind:{width}}  {count:6,}  {self._accepted[kind]:4}" for kind, count in sorted(self._tried.items())]
        places = [f"{where:{width}}  {hits:6,}" for where, hits in sorted(self._searched.items())]
        return [
            f"{'hostile cases':{width}}   tried  wrongly accepted",
            *cases,
            f"{'all':{width}}  {self._tried.total():6,}  {self._accepted.total():4}",
            f"{'searched for canaries':{width}}    hits",
            *places,
            f"{'all':{width}}  {sum(self._searched.values()):6,}",
        ]


TALLY = pytest.StashKey[Tally]()
