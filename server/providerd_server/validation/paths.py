"""The paths that violations name their fields by."""

from __future__ import annotations

_LONGEST = 100


def path(root: str, *steps: str | int) -> str:
    """The path of a value in a document: ``root.key`` for members, ``root[0]`` for items."""
    return root + "".join(f"[{step}]" if isinstance(step, int) else f".{shown(step)}" for step in steps)


def shown(key: str) -> str:
    """A key as a message can show it: printable, and not longer than a name needs to be."""
    cut = key if len(key) <= _LONGEST else key[: _LONGEST - 1] + "…"
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in cut)
