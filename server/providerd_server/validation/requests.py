"""The rules of request_builder_config that a JSON Schema cannot say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from providerd_server.errors import Violation
from providerd_server.validation.address import leads_down, placeholders, template_problems
from providerd_server.validation.credentials import IN_CLEAR, looks_secret
from providerd_server.validation.entries import STRUCTURE, Entry, entries_of, fillable, structure_of
from providerd_server.validation.headers import MOST, VALUE_RULE, is_value, name_problem
from providerd_server.validation.paths import path, shown

_ROOT = "provider.request_builder_config"
_DOTTED = re.compile(r"[^.\s]+(?:\.[^.\s]+){0,15}")
_QUERY = re.compile(r"[!-~]+")
# RFC 3986, section 3.3, without percent signs: whoever builds the request encodes.
_SEGMENTS = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/-]+")


def request_violations(content: Mapping[str, Any]) -> Iterator[Violation]:
    """What is wrong with the targets, the bounds and the overrides of a request."""
    config = content["request_builder_config"]
    entries = entries_of(config)
    yield from _targets(entries, content)
    yield from (Violation(entry.field, _clash(other)) for entry, other in _clashes(entries))
    if sum(entry.place == "header" for entry in entries) > MOST:
        yield Violation(STRUCTURE, f"must hold at most {MOST} entries with in: header")
    for name, entry in structure_of(config).items():
        if isinstance(entry, dict):
            yield from _bounds(path(STRUCTURE, name), entry)
            yield from _path_values(path(STRUCTURE, name), entry)
            yield from _constants(path(STRUCTURE, name), entry)
    if isinstance(config, dict):
        yield from _overrides(config, entries, content)
        yield from _stream(config)


def _targets(entries: Iterable[Entry], content: Mapping[str, Any]) -> Iterator[Violation]:
    for entry in entries:
        if problem := _target_problem(entry, content):
            yield Violation(entry.field, problem)


def _target_problem(entry: Entry, content: Mapping[str, Any]) -> str | None:
    if entry.place == "body" and not _DOTTED.fullmatch(entry.target):
        return "must be a dotted path of at most 16 parts without white space, such as a.b"
    if entry.place == "query" and not _QUERY.fullmatch(entry.target):
        return "must be a name in ASCII without white space"
    if entry.place in ("query", "header") and entry.constant is not None and looks_secret(entry.target, entry.constant):
        return IN_CLEAR
    if entry.place == "path" and entry.target not in placeholders(content["endpoint_path_template"] or ""):
        return "must be a {placeholder} of endpoint_path_template"
    if entry.place == "header":
        return name_problem(entry.target, content) or _constant_problem(entry.target, content["additional_headers"])
    return None


def _constant_problem(name: str, constants: Any) -> str | None:
    if isinstance(constants, dict) and name.lower() in {constant.lower() for constant in constants}:
        return "is one of additional_headers already; give the entry a default instead"
    return None


def _clashes(entries: Iterable[Entry]) -> Iterator[tuple[Entry, Entry]]:
    """Each entry that goes where an earlier one goes, or in the body above or below it, with that earlier one."""
    at: dict[tuple[str, ...], Entry] = {}
    below: dict[tuple[str, ...], Entry] = {}
    for entry in entries:
        target = entry.target.lower() if entry.place == "header" else entry.target
        parts = target.split(".", 15) if entry.place == "body" else [target]
        prefixes = [(entry.place, *parts[:count]) for count in range(1, len(parts) + 1)]
        other = next((at[prefix] for prefix in prefixes if prefix in at), None) or below.get(prefixes[-1])
        if other is not None:
            yield entry, other
        at.setdefault(prefixes[-1], entry)
        for prefix in prefixes:
            below.setdefault(prefix, entry)


def _clash(other: Entry) -> str:
    return f"must not be at, above or below the target of {shown(other.name)}"


def _bounds(field: str, entry: Mapping[str, Any]) -> Iterator[Violation]:
    low, high = (bound if _is_number(bound) else None for bound in (entry.get("min"), entry.get("max")))
    if low is None and high is None:
        return
    if low is not None and high is not None and low > high:
        yield Violation(path(field, "max"), "must not be below min")
    for key in ("default", "value"):
        if key not in entry:
            continue
        if not _is_number(entry[key]):
            yield Violation(path(field, key), "must be a number, for it has bounds")
        elif (low is not None and entry[key] < low) or (high is not None and entry[key] > high):
            yield Violation(path(field, key), "must be within min and max")


def _path_values(field: str, entry: Mapping[str, Any]) -> Iterator[Violation]:
    certain = entry.get("required") is True or "default" in entry or "value" in entry
    if entry.get("in") == "path" and not certain:
        yield Violation(path(field, "required"), "must be true, or have a default: a path cannot go without its value")


def _constants(field: str, entry: Mapping[str, Any]) -> Iterator[Violation]:
    """What a text that is stored would do to the request line or the headers."""
    for key in ("value", "default"):
        text = entry.get(key)
        if entry.get("in") in ("header", "query", "path") and isinstance(text, list | dict):
            yield Violation(path(field, key), "must be a text, a number or a boolean outside the body")
        if not isinstance(text, str):
            continue
        if entry.get("in") == "header" and not is_value(text):
            yield Violation(path(field, key), f"must be what a header may hold: {VALUE_RULE}")
        # It stands between two slashes or other characters of the template: it may hold slashes and not begin with one.
        if entry.get("in") == "path" and not (_SEGMENTS.fullmatch(text) and leads_down(f"/{text}/")):
            yield Violation(path(field, key), "must be a path without '/' at either end, empty or dot segments, or '%'")


def _overrides(config: Mapping[str, Any], entries: list[Entry], content: Mapping[str, Any]) -> Iterator[Violation]:
    overrides = config.get("model_overrides")
    for pattern, override in overrides.items() if isinstance(overrides, dict) else ():
        if not isinstance(override, dict):
            continue
        field = path(_ROOT, "model_overrides", pattern)
        drop = override["drop"] if isinstance(override.get("drop"), list) else []
        rename = override["rename"] if isinstance(override.get("rename"), dict) else {}
        yield from _unknown(field, drop, rename, structure_of(config))
        kept = [entry for entry in entries if entry.name not in drop]
        yield from _renamed(path(field, "rename"), kept, rename, content)


def _unknown(field: str, drop: list[Any], rename: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[Violation]:
    names = [(index, name) for index, name in enumerate(drop) if isinstance(name, str)]
    fields = [path(field, "drop", index) for index, name in names if name not in known]
    fields += [path(field, "rename", name) for name in rename if name not in known]
    yield from (Violation(each, "must be the name of an entry of payload_structure") for each in fields)


def _renamed(
    field: str, entries: list[Entry], rename: Mapping[str, Any], content: Mapping[str, Any]
) -> Iterator[Violation]:
    moved = {
        entry.name: replace(entry, target=rename[entry.name], field=path(field, entry.name))
        for entry in entries
        if isinstance(rename.get(entry.name), str) and rename[entry.name]
    }
    yield from _targets(moved.values(), content)
    if moved:
        for pair in _clashes(moved.get(entry.name, entry) for entry in entries):
            # Of two that stay where they are it is said already.
            guilty = next((entry for entry in pair if entry.name in moved), None)
            if guilty is not None:
                yield Violation(guilty.field, _clash(pair[1] if guilty is pair[0] else pair[0]))


def _stream(config: Mapping[str, Any]) -> Iterator[Violation]:
    stream = config["stream"] if isinstance(config.get("stream"), dict) else {}
    template, query = stream.get("endpoint_path_template"), stream.get("query")
    if isinstance(template, str):
        for problem in template_problems(template, fillable(config)):
            yield Violation(path(_ROOT, "stream", "endpoint_path_template"), problem)
    for name, value in query.items() if isinstance(query, dict) else ():
        if looks_secret(name, value):
            yield Violation(path(_ROOT, "stream", "query", name), IN_CLEAR)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
