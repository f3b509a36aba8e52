"""The rules of single texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from providerd_server.errors import Violation

NAME_SHAPE = r"[a-z0-9][a-z0-9._-]{0,99}"
NAME_RULE = "must be 1 to 100 lower-case letters, digits, '.', '_' or '-', starting with a letter or digit"

# Column widths of the schema; the others are TEXT and bounded here so that no row grows without end.
_LONGEST = {
    "display_name": 255,
    "description": 10_000,
    "auth_scheme": 50,
    "auth_header_template": 1_000,
    "base_url": 2_000,
    "endpoint_path_template": 2_000,
    "default_model": 255,
}
_REQUIRED = ("display_name", "base_url", "endpoint_path_template", "default_model")


def name_violations(provider_name: str, field: str = "provider_name") -> list[Violation]:
    """What is wrong with the name in a request that asks for a provider by name."""
    if not provider_name:
        return [Violation(field, "must be the name of a provider")]
    if len(provider_name) > 100 or not provider_name.isprintable():
        return [Violation(field, NAME_RULE)]
    return []


def text_violations(reason: str, actor: str) -> list[Violation]:
    """What is wrong with the reason and the actor that a write brings for the history."""
    bounds = (("reason", reason, 1000), ("actor", actor, 255))
    return [
        Violation(field, f"must be at most {longest:,} characters and hold no NUL")
        for field, text, longest in bounds
        if len(text) > longest or "\0" in text
    ]


def content_text(content: Mapping[str, Any]) -> Iterator[Violation]:
    """What is wrong with the lengths of a provider's texts."""
    for name in _REQUIRED:
        if not (content[name] or "").strip():
            yield Violation(f"provider.{name}", "is required")
    for name, longest in _LONGEST.items():
        text = content[name] or ""
        if len(text) > longest:
            yield Violation(f"provider.{name}", f"must be at most {longest:,} characters")
        if "\0" in text:
            yield Violation(f"provider.{name}", "must hold no NUL character")
