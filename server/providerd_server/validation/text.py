"""The rules of single texts."""

from __future__ import annotations

import re
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
# Free text, as opposed to what has a shape of its own; whether it may have several lines.
_FREE = {"display_name": False, "description": True, "auth_scheme": False}
_REQUIRED = ("display_name", "base_url", "endpoint_path_template", "default_model")

# What fakes a line of a log, reorders what a terminal shows, or is there without being seen: controls, line separators,
# Bidi_Control (https://www.unicode.org/reports/tr9/), format characters and tags. The joiners U+200C and U+200D and the
# variation selectors stay: scripts and emoji need them.
_DECEPTIVE = re.compile(
    "[\0-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_CLEAN = "must hold no control characters, nor invisible ones or such as change the direction of text"


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
    long = [
        Violation(field, f"must be at most {most:,} characters") for field, text, most in bounds if len(text) > most
    ]
    return long + [Violation(field, _CLEAN) for field, text, _ in bounds if _DECEPTIVE.search(text)]


def content_text(content: Mapping[str, Any]) -> Iterator[Violation]:
    """What is wrong with the lengths of a provider's texts, and with the characters of those that are free."""
    for name in _REQUIRED:
        if not (content[name] or "").strip():
            yield Violation(f"provider.{name}", "is required")
    for name, longest in _LONGEST.items():
        text = content[name] or ""
        if len(text) > longest:
            yield Violation(f"provider.{name}", f"must be at most {longest:,} characters")
    for name, has_lines in _FREE.items():
        text = content[name] or ""
        if _DECEPTIVE.search(re.sub(r"[\n\t]", "", text) if has_lines else text):
            yield Violation(f"provider.{name}", _CLEAN)
