"""What a write answers, given the states before and after it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from providerd.v1 import provider_pb2 as pb
from tests.model.model import State, predicted
from tests.model.rpcs import Request


def check(method: str, request: Request, before: State, after: State, answer: Any) -> None:
    """Wants the answer to tell of the change from ``before`` to ``after``."""
    if request.get("validate_only"):
        assert not answer.HasField("revision")
    else:
        assert answer.revision.number == after.revision
    _CHECKS[method](request, before, after, answer)


def told_changes(answer: Any) -> list[tuple[str, Iterable[pb.FieldChange]]]:
    """The changes that an answer lists, by provider."""
    if isinstance(answer, pb.ApplyConfigurationResponse):
        return [(diff.provider_name, diff.changes) for diff in answer.diffs]
    if isinstance(answer, pb.UpsertProviderResponse | pb.RollbackProviderResponse):
        return [(answer.provider.provider_name, answer.changes)]
    return []


def kinds(diffs: Iterable[pb.ProviderDiff]) -> dict[str, str]:
    """The kind of each difference."""
    return {diff.provider_name: pb.DiffKind.Name(diff.kind).removeprefix("DIFF_KIND_") for diff in diffs}


def differences(before: State, after: State) -> dict[str, str]:
    """The kinds of difference between two states, by provider."""
    found = {}
    for name in before.providers.keys() | after.providers.keys():
        old, new = before.providers.get(name), after.providers.get(name)
        if old is None:
            found[name] = "ADDED"
        elif new is None:
            found[name] = "REMOVED"
        elif not new.looks_like(old):
            found[name] = "CHANGED"
    return found


def _check_switch(request: Request, before: State, after: State, answer: pb.SwitchProviderResponse) -> None:
    old, new = before.active, after.active
    assert new is not None
    assert answer.HasField("previous") == (old is not None)
    assert old is None or predicted(answer.previous) == old.message
    assert predicted(answer.active) == new.message
    assert answer.switched == (old is None or old.identity != new.identity)
    assert [warning.reason for warning in answer.warnings] == ([] if new.key else ["PROVIDER_HAS_NO_KEY"])


def _check_saved(
    name: str, before: State, after: State, answer: pb.UpsertProviderResponse | pb.RollbackProviderResponse
) -> None:
    old, new = before.providers.get(name), after.providers[name]
    assert predicted(answer.provider) == new.message
    assert answer.created == (old is None)
    assert answer.changed == bool(answer.changes) == (old is None or not new.looks_like(old))


def _check_applied(request: Request, before: State, after: State, answer: pb.ApplyConfigurationResponse) -> None:
    assert answer.base_revision.number == before.revision
    assert kinds(answer.diffs) == differences(before, after)


def _check_deleted(request: Request, before: State, after: State, answer: pb.DeleteProviderResponse) -> None:
    assert predicted(answer.provider) == before.providers[request["provider_name"]].message


_CHECKS: Mapping[str, Callable[[Request, State, State, Any], None]] = {
    "SwitchProvider": _check_switch,
    "UpsertProvider": lambda request, *rest: _check_saved(request["provider"]["provider_name"], *rest),
    "RollbackProvider": lambda request, *rest: _check_saved(request["provider_name"], *rest),
    "ApplyConfiguration": _check_applied,
    "DeleteProvider": _check_deleted,
}
