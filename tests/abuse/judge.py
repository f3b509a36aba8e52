"""Says whether an answer to a hostile case is what it must be."""

import asyncio
import re
from collections.abc import Iterable

import grpc

from tests.abuse.case import Answer, Case
from tests.abuse.tally import Tally

# What is nobody's business outside: the names of modules and libraries, source files, tracebacks and SQL. The names of
# the schema come from its catalog.
_INTERNALS = (
    r"Traceback|File \"|\.py\b|site-packages|/usr/lib|/tmp/|asyncpg|pydantic|structlog|cython|grpc\.aio|grpc\._"
    r"|providerd_server|Exception\b|Error:|object at 0x|\bat 0x[0-9a-f]{6}|sqlstate|pg_catalog|plpgsql|PL/pgSQL"
    r"|\bSELECT \w|\bINSERT INTO\b|\bDELETE FROM\b|\bUPDATE \w+ SET\b|ON CONFLICT"
)

_AT_ONCE = 48
_SHOWN = 8


class Judge:
    """Judges answers, and counts.

    Args:
        tally: Where to count.
        canaries: What must never come out.
        schema: The names of the tables and functions of the database.
    """

    def __init__(self, tally: Tally, canaries: Iterable[str], schema: Iterable[str]) -> None:
        self.tally = tally
        self.canaries = [canary.encode() for canary in canaries]
        self._internals = re.compile("|".join([_INTERNALS, *(rf"\b{re.escape(name)}\b" for name in schema)]))

    async def try_all(self, kind: str, cases: Iterable[Case], channel: grpc.aio.Channel) -> None:
        """Sends all cases, some at a time, and fails with those that were answered wrongly."""
        waiting = iter(cases)
        wrong: list[str] = []

        async def work() -> None:
            for case in waiting:
                wrong.extend(self.verdict(kind, case, await case.send(channel)))

        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
        complain(wrong)

    def verdict(self, kind: str, case: Case, answer: Answer) -> list[str]:
        """What is wrong with an answer; counts the case."""
        wrong = [f"{problem}: {answer.message[:300]!r}" for problem in self._problems(case, answer)]
        self.tally.tried(kind, wrongly_accepted=answer.code == "OK" and "OK" not in case.codes)
        return [f"{case.rpc.rpartition('/')[2]} {case.name}: {each}" for each in wrong]

    def leaks(self, seen: bytes) -> list[str]:
        """The canaries in a text."""
        return [f"shows {canary!r}" for canary in self.canaries if canary in seen]

    def _problems(self, case: Case, answer: Answer) -> list[str]:
        found = []
        if answer.code not in case.codes:
            found.append(f"answered {answer.code}, which is none of {', '.join(sorted(case.codes))}")
        elif answer.code in ("RESET", "CLOSED", "OK") or (answer.code in case.grpc_itself and answer.info is None):
            pass
        elif answer.info is None or answer.info.domain != "providerd":
            found.append(f"{answer.code} without a reason of the daemon's")
        elif case.reasons and answer.info.reason not in case.reasons:
            found.append(f"the reason is {answer.info.reason}, which is none of {', '.join(sorted(case.reasons))}")
        leaks = self.leaks(answer.everything)
        self.tally.searched("the answers to all hostile cases", len(leaks))
        return [*found, *leaks, *self._echoes(case, answer), *self._inside(case, answer)]

    def _inside(self, case: Case, answer: Answer) -> list[str]:
        text = answer.message + "\n" + answer.details.decode(errors="replace")
        # What the caller said itself tells it nothing.
        hits = {hit for hit in self._internals.findall(text) if hit.encode() not in case.request}
        return [f"tells of the inside: {hit!r}" for hit in sorted(hits)]

    @staticmethod
    def _echoes(case: Case, answer: Answer) -> list[str]:
        presented = [value if isinstance(value, bytes) else value.encode() for _, value in case.metadata]
        return [
            f"repeats what was presented: {each[:40]!r}"
            for value in presented
            for each in [value.strip().rpartition(b" ")[2]]
            if len(each) > 7 and each in answer.everything
        ]


def complain(wrong: list[str]) -> None:
    """Fails when there is something to complain of."""
    more = [f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
    assert not wrong, "\n".join([*wrong[:_SHOWN], *more])
