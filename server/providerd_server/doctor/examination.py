"""What a check finds, and running all of them: one that fails stops none but those that need it."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

import click

from providerd_server.failures import told_in_one_line

_MORE = "see docs/how-to/troubleshooting.md"
_REPORT = "run `providerd --debug doctor` and report the traceback"


class Outcome(enum.StrEnum):
    """How a check went, from the best to the worst."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check came to.

    Attributes:
        outcome: How it went.
        found: What was found, in one line without secrets.
        hint: What to do; empty where all is well.
    """

    outcome: Outcome
    found: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict, and the check that it is of."""

    check: str
    outcome: Outcome
    found: str
    hint: str


Look = Callable[[], "Verdict | Awaitable[Verdict | None] | None"]


@dataclass(frozen=True, slots=True)
class Check:
    """Something to look at.

    Attributes:
        name: What people call it.
        look: Looks at it; None says that there is no such thing here. What it raises is a problem.
        needs: The checks that must have found no problem before.
        hint: What to do about what ``look`` raises, where the end of its message does not say it.
    """

    name: str
    look: Look
    needs: tuple[str, ...] = ()
    hint: str = ""


class LostError(Exception):
    """What an earlier check had found well has failed since; the message says how.

    Attributes:
        check: That check.
    """

    def __init__(self, check: str, why: str) -> None:
        super().__init__(why)
        self.check = check


def ok(found: str) -> Verdict:
    """All is well."""
    return Verdict(Outcome.OK, found)


def warning(found: str, hint: str) -> Verdict:
    """It works, but not as it should."""
    return Verdict(Outcome.WARNING, found, hint)


def problem(found: str, hint: str) -> Verdict:
    """It does not work, or must not be left so."""
    return Verdict(Outcome.PROBLEM, found, hint)


def skipped(why: str, hint: str) -> Verdict:
    """It could not be looked at."""
    return Verdict(Outcome.SKIPPED, why, hint)


def worst(verdicts: Sequence[Verdict], otherwise: str) -> Verdict:
    """One verdict for all that was found, of the worst outcome among them; all is well where there is none."""
    if not verdicts:
        return ok(otherwise)
    ranks = list(Outcome)
    outcome = max((each.outcome for each in verdicts), key=ranks.index)
    hints = list(dict.fromkeys(each.hint for each in verdicts if each.hint))
    return Verdict(outcome, "; ".join(each.found for each in verdicts), "; ".join(hints))


def parted(message: str) -> tuple[str, str]:
    """What is wrong and what to do, from a message that says both, in this order."""
    for separator in ("; ", ": "):
        found, _, hint = message.rpartition(separator)
        if found:
            return found, hint
    return message, _MORE


async def examine(checks: Iterable[Check], *, debug: bool = False) -> list[Finding]:
    """Runs all checks in their order.

    Args:
        checks: What to look at.
        debug: Whether what nobody foresaw comes out as it is.
    """
    findings: list[Finding] = []
    failed: set[str] = set()
    for check in checks:
        lacking = next((each for each in check.needs if each in failed), None)
        verdict = _wanting(lacking) if lacking else await _looked(check, failed, debug=debug)
        if verdict is None:
            continue
        if lacking or verdict.outcome is Outcome.PROBLEM:
            failed.add(check.name)
        findings.append(Finding(check.name, verdict.outcome, verdict.found, verdict.hint))
    return findings


def _wanting(need: str) -> Verdict:
    return skipped(f"not looked at, for want of `{need}`", f"mend `{need}` first")


async def _looked(check: Check, failed: set[str], *, debug: bool) -> Verdict | None:
    try:
        with told_in_one_line():
            verdict = check.look()
            return await verdict if inspect.isawaitable(verdict) else verdict
    except click.ClickException as failure:
        message = failure.format_message()
        return problem(*((message, check.hint) if check.hint else parted(message)))
    except LostError as lost:
        failed.add(lost.check)
        return problem(
            f"the {lost.check} was lost meanwhile: {lost}", f"see that the {lost.check} is up, and run again"
        )
    except Exception as error:
        if debug:
            raise
        # Not its text, which may hold anything.
        return problem(f"the check itself failed: {type(error).__name__}", _REPORT)
