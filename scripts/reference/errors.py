"""docs/reference/errors.md, from what the daemon's source refuses and what the schema raises."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import grpc
from scripts.reference import markdown, refusals
from scripts.reference.comments import MIGRATIONS
from scripts.reference.markdown import code, link, table
from scripts.reference.refusals import Site

from providerd import errors as sdk
from providerd.cli import failures
from providerd_server.errors import Kind

# What holds for every refusal of a code, and so for those whose message says nothing of what to do.
ADVICE = {
    Kind.INVALID_ARGUMENT: "Correct the fields that the error lists; the same request fails again.",
    Kind.NOT_FOUND: "Ask for something that exists.",
    Kind.FAILED_PRECONDITION: "Change what stands in the way first.",
    Kind.ABORTED: "Somebody else was faster: read again, decide anew, send that.",
    Kind.OUT_OF_RANGE: "Ask for a revision within the range that the error names.",
    Kind.PERMISSION_DENIED: "Ask for less, or from where it is allowed.",
    Kind.UNAUTHENTICATED: "Show a token or a certificate that the daemon knows.",
    Kind.RESOURCE_EXHAUSTED: "Ask for less at once, or try again later, with a growing and random pause.",
    Kind.UNAVAILABLE: "Try again, with a growing and random pause. The only code that invites an automatic retry.",
    Kind.INTERNAL: "Look into the daemon's log; report it when it is a defect.",
    Kind.UNIMPLEMENTED: "Use a daemon that is new enough.",
}

_INTRODUCTION = """\
Every refusal of the daemon is a gRPC status code with a message for people and, in the trailer
`grpc-status-details-bin`, a `google.rpc.Status` for programs. It holds a `google.rpc.ErrorInfo` with the domain
`providerd`, a reason to branch on, and as metadata every value that the message names; and for
[INVALID_FIELDS](#invalid_fields) a `google.rpc.BadRequest` with a violation for each field. The SDK raises it as an
exception with `reason`, `metadata` and `violations`; the program prints `error: MESSAGE [REASON]` and ends with the
exit code of the status code. Reasons are part of the API and do not change; messages may.

Words in braces below stand for what is different each time. gRPC itself answers some calls without a reason:
UNAVAILABLE when nobody listens there, DEADLINE_EXCEEDED when the caller's time is over, RESOURCE_EXHAUSTED for a
request above `PROVIDERD_MAX_REQUEST_BYTES` ([settings](settings.md)), UNIMPLEMENTED for a method that the daemon does
not know."""

_IMPORTER = "admin_settings/"


@dataclass(frozen=True, slots=True)
class Reason:
    """Everything that one reason is said with."""

    name: str
    kind: str
    sites: tuple[Site, ...]


@dataclass(frozen=True, slots=True)
class Raised:
    """An error that the schema raises on its own; ``message`` has a % for what is different each time."""

    state: str
    message: str
    hint: str
    column: str


def page() -> str:
    """Returns the page."""
    raised = {each.state: each for each in schema_errors()}
    importer = [site for site in refusals.sites() if site.module.startswith(_IMPORTER)]
    return markdown.page(
        "# Errors",
        "Source: every `Refusal` in `server/providerd_server`, and every `RAISE EXCEPTION` in `migrations/`.",
        _INTRODUCTION,
        "## Status codes",
        _codes(),
        "## Reasons",
        table(("Reason", "Code"), [(link(each.name), each.kind) for each in reasons()]),
        *(_reason(each, raised) for each in reasons()),
        "## Warnings",
        "Answers of SwitchProvider may carry warnings: what was asked for is done, and there is something to know.",
        table(("Reason", "Says"), [(code(name), message) for name, message in refusals.warnings()]),
        "## SQLSTATEs of the schema",
        "Whoever changes the tables by SQL gets these from PostgreSQL. A `%` stands for what is different each time.",
        table(
            ("SQLSTATE", "Message", "Column", "Hint"),
            [(code(each.state), each.message, code(each.column), each.hint) for each in raised.values()],
        ),
        'The detail of `PD003` is a JSON array of all violations, `[{"column": …, "message": …}]`.',
        "## Refusals of the importer",
        "`providerd import admin-settings` works on the database itself and says these in one line, without a reason:",
        table(("Says", "Code"), [(site.message, site.kind) for site in importer]),
    )


def reasons() -> list[Reason]:
    """Returns the reasons that the daemon answers with, in order.

    Raises:
        ValueError: A reason goes with more than one code, which no program could branch on.
    """
    found = []
    own = [site for site in refusals.sites() if not site.module.startswith(_IMPORTER)]
    for name, group in itertools.groupby(own, key=lambda site: site.reason):
        sites = tuple(group)
        kinds = {site.kind for site in sites}
        if len(kinds) != 1:
            raise ValueError(f"{name} goes with {', '.join(sorted(kinds))}: give each a reason of its own")
        found.append(Reason(name, kinds.pop(), sites))
    return found


def schema_errors(migrations: Path = MIGRATIONS) -> list[Raised]:
    """Returns what the migrations raise with a SQLSTATE of their own, in order."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(migrations.glob("*.sql")))
    found = []
    for statement in re.finditer(r"RAISE EXCEPTION\s+(?:'((?:[^']|'')*)'[^;]*?)?\bUSING\b(.*?);\n", text, re.DOTALL):
        options = dict(re.findall(r"(\w+) = '((?:[^']|'')*)'", statement[2]))
        if "ERRCODE" in options:
            message = statement[1] or "the first violation"
            found.append(Raised(options["ERRCODE"], message, options.get("HINT", ""), options.get("COLUMN", "")))
    return sorted(found, key=lambda each: each.state)


def _codes() -> str:
    exceptions = {each.code: each.__name__ for each in vars(sdk).values() if _is_rpc_error(each)}
    return table(
        ("Code", "SDK", "Exit code", "What to do"),
        [
            (
                kind.name,
                code(exceptions[status]),
                str(failures._BY_STATUS.get(status, failures.ExitCode.UNEXPECTED).value),
                ADVICE[kind],
            )
            for kind in Kind
            for status in [grpc.StatusCode[kind.name]]
        ],
    )


def _is_rpc_error(each: object) -> bool:
    return isinstance(each, type) and issubclass(each, sdk.RpcError) and each.code is not None


def _reason(reason: Reason, raised: dict[str, Raised]) -> str:
    says = dict.fromkeys(_said(site, raised) for site in reason.sites)
    metadata = dict.fromkeys(key for site in reason.sites for key in site.metadata)
    return markdown.page(
        f"### {reason.name}",
        f"{reason.kind}. Metadata: {_listed(metadata) or 'none'}.",
        table(("Meaning", "What to do"), [(what, do or ADVICE[Kind[reason.kind]]) for what, do in says]),
    )


def _said(site: Site, raised: dict[str, Raised]) -> tuple[str, str]:
    """What is wrong, and what to do: messages say both, with a semicolon between."""
    if site.sqlstate:
        error = raised[site.sqlstate]
        return f"{error.message} (SQLSTATE {site.sqlstate})", error.hint
    what, _, do = site.message.rpartition("; ")
    return (what, f"{do[0].upper()}{do[1:]}.") if what else (site.message, "")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(code(name) for name in names)
