"""The entries of payload_structure, as far as they have the right shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from providerd_server.validation.paths import path

STRUCTURE = "provider.request_builder_config.payload_structure"

_PLACES = ("body", "path", "query", "header")


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one parameter goes.

    Attributes:
        name: The logical name.
        place: The part of the request: body, path, query or header.
        target: Where in that part.
        field: The path of what says so.
        constant: What is stored to go there: the value or the default; None without.
    """

    name: str
    place: str
    target: str
    field: str
    constant: Any = None


def structure_of(config: Any) -> Mapping[str, Any]:
    """The entries by name, whatever they are."""
    structure = config.get("payload_structure") if isinstance(config, dict) else None
    return structure if isinstance(structure, dict) else {}


def entries_of(config: Any) -> list[Entry]:
    """The entries whose target is known."""
    found = []
    for name, entry in structure_of(config).items():
        if not isinstance(entry, dict):
            continue
        place, target = entry.get("in", "body"), entry.get("target", name)
        if place in _PLACES and isinstance(target, str) and target:
            steps = (name, "target") if "target" in entry else (name,)
            constant = entry.get("value", entry.get("default"))
            found.append(Entry(name, place, target, path(STRUCTURE, *steps), constant))
    return found


def fillable(config: Any) -> set[str]:
    """The placeholders of a path that can have a value: the model, and what entries with ``in: path`` fill."""
    return {"model", *(entry.target for entry in entries_of(config) if entry.place == "path")}
