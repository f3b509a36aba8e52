"""What each write RPC does to the table, read from the same request that the daemon is sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from tests.model.model import COLUMNS, DEFAULTS, Key, Provider, Refused, State, Table, violations

Request = Mapping[str, Any]

# What is wrong whatever the content, in an UpsertProvider request; provider_name stands for that of the provider.
WRONG_FORMS: Mapping[str, Request] = {
    "name": {"provider_name": "Not A Name"},
    "output only": {"update_mask": "displayName,isActive"},
    "all and more": {"update_mask": "*,description"},
    "no clearing": {"clear_api_key": False},
    "key with blanks": {"new_api_key": " canary-blank"},
    "long reason": {"reason": "r" * 1001},
}

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


def after(method: str, request: Request, states: Mapping[int, State]) -> State:
    """The state after a write on the newest of ``states``.

    Raises:
        Refused: It is refused, and so changes nothing.
    """
    newest = states[max(states)]
    table = Table(newest)
    if len(request.get("reason", "")) > 1000:
        raise _invalid("reason")
    _WRITES[method](table, request, states)
    return table.committed()


def reason(method: str, request: Request) -> str:
    """What the history says of why."""
    given: str = request["reason"]
    return f"rollback to revision {request['revision_number']}: {given}" if method == "RollbackProvider" else given


def _switch(table: Table, request: Request, states: Mapping[int, State]) -> None:
    _check_revision(request, states)
    _make_active(table, request["provider_name"])


def _upsert(table: Table, request: Request, _: Mapping[int, State]) -> None:
    given = dict(request["provider"])
    name = given.pop("provider_name")
    before = table.providers.get(name)
    _check_version(request, before)
    fields = _violated_by_form(name, request)
    content = _merged(before, given, _mask(given, request))
    fields += [f"provider.{column}" for column in violations(content)]
    if not (content["base_url"] or "https://").startswith("https://"):
        fields.append("provider.base_url")
    if fields:
        raise _invalid(*fields)
    key = before.key if before else None
    if request.get("clear_api_key"):
        key = None
    elif "new_api_key" in request:
        # The same key again is no change, unless it is to go elsewhere.
        same = key is not None and key.text == request["new_api_key"] and before.may_become(content, key)
        key = key if same else Key(request["new_api_key"])
    _save(table, name, content, key)


def _delete(table: Table, request: Request, _: Mapping[int, State]) -> None:
    name = request["provider_name"]
    if (before := table.providers.get(name)) is None:
        raise _not_found()
    _check_version(request, before)
    if before.is_active:
        raise _active()
    table.delete(name)


def _rollback(table: Table, request: Request, states: Mapping[int, State]) -> None:
    name, number = request["provider_name"], request["revision_number"]
    before = table.providers.get(name)
    _check_version(request, before)
    if number not in states:
        raise Refused("OUT_OF_RANGE", "REVISION_UNKNOWN")
    then = states[number].providers.get(name)
    if then is None or (before is not None and before.identity != then.identity):
        raise _not_found()
    _save(table, name, then.content, before.key if before else None)


def _apply(table: Table, request: Request, states: Mapping[int, State]) -> None:
    _check_revision(request, states)
    stated: dict[str, Mapping[str, Any]] = {}
    fields = []
    for index, provider in enumerate(request["providers"]):
        name = provider["provider_name"]
        fields += [f"providers[{index}].provider_name"] if name in stated else []
        stated[name] = _merged(None, provider, set(COLUMNS))
        fields += [f"providers[{index}].{column}" for column in violations(stated[name])]
    if fields:
        raise _invalid(*fields)
    for name, content in sorted(stated.items()):
        before = table.providers.get(name)
        # The active one is disabled last, when another has taken its place.
        enabled = content["is_enabled"] or (before is not None and before.is_active)
        _save(table, name, {**content, "is_enabled": enabled}, before.key if before else None)
    if "active_provider_name" in request:
        _make_active(table, request["active_provider_name"])
    for name, content in sorted(stated.items()):
        _save(table, name, content, table.providers[name].key)
    for name in sorted(table.providers.keys() - stated.keys()) if request.get("delete_missing") else ():
        if table.providers[name].is_active:
            raise _active()
        table.delete(name)


_WRITES: Mapping[str, Callable[[Table, Request, Mapping[int, State]], None]] = {
    "SwitchProvider": _switch,
    "UpsertProvider": _upsert,
    "DeleteProvider": _delete,
    "RollbackProvider": _rollback,
    "ApplyConfiguration": _apply,
}


def _save(table: Table, name: str, content: Mapping[str, Any], key: Key | None) -> None:
    before = table.providers.get(name)
    if before is not None and before.is_active and not content["is_enabled"]:
        raise _active()
    if before is not None and not before.may_become(content, key):
        raise Refused("FAILED_PRECONDITION", "KEY_BOUND_TO_DESTINATION")
    if before is None:
        table.insert(name, content, key=key)
    else:
        table.update(name, **content, key=key)


def _make_active(table: Table, name: str) -> None:
    target = table.providers.get(name)
    if target is None:
        raise _not_found()
    if not target.enabled:
        raise Refused("FAILED_PRECONDITION", "PROVIDER_DISABLED")
    table.update(name, is_active=True)


def _mask(given: Mapping[str, Any], request: Request) -> set[str]:
    if "update_mask" not in request:
        return set(given)
    paths = _paths(request)
    return set(COLUMNS) if "*" in paths else set(paths)


def _paths(request: Request) -> list[str]:
    mask = FieldMask()
    mask.FromJsonString(request.get("update_mask", ""))
    return list(mask.paths)


def _merged(before: Provider | None, given: Mapping[str, Any], mask: set[str]) -> dict[str, Any]:
    return {
        column: given.get(column, DEFAULTS.get(column)) if before is None or column in mask else before.content[column]
        for column in COLUMNS
    }


def _violated_by_form(name: str, request: Request) -> list[str]:
    paths = _paths(request)
    wrong = {
        "provider.provider_name": not _NAME.fullmatch(name),
        "update_mask": "is_active" in paths or ("*" in paths and len(paths) > 1),
        "clear_api_key": request.get("clear_api_key") is False,
        "new_api_key": request.get("new_api_key", "-") != request.get("new_api_key", "-").strip(),
    }
    return [field for field, is_wrong in wrong.items() if is_wrong]


def _check_revision(request: Request, states: Mapping[int, State]) -> None:
    expected = request.get("expected_revision")
    if expected is not None and expected["number"] != max(states):
        raise Refused("ABORTED", "REVISION_MISMATCH")


def _check_version(request: Request, before: Provider | None) -> None:
    expected = request.get("expected_config_version")
    if expected is not None and expected != (before.version if before else 0):
        raise Refused("ABORTED", "CONFIG_VERSION_MISMATCH")


def _invalid(*fields: str) -> Refused:
    return Refused("INVALID_ARGUMENT", "INVALID_FIELDS", *fields)


def _not_found() -> Refused:
    return Refused("NOT_FOUND", "PROVIDER_NOT_FOUND")


def _active() -> Refused:
    return Refused("FAILED_PRECONDITION", "PROVIDER_ACTIVE")
