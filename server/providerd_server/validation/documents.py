"""What holds for every JSON document of a provider."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from providerd_server.errors import Violation
from providerd_server.validation.paths import path

LARGEST = 64 * 1024
DEEPEST = 32


def size_problem(document: Any) -> str | None:
    """What is wrong with the size of a document, if anything is."""
    if _is_deeper(document, DEEPEST):
        return f"must be nested at most {DEEPEST} levels deep"
    encoded = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass")
    return None if len(encoded) <= LARGEST else f"must be at most {LARGEST // 1024} KiB as compact JSON"


def nul_violations(document: Any, field: str) -> Iterator[Violation]:
    """The texts that jsonb cannot store: https://www.postgresql.org/docs/current/datatype-json.html."""
    if isinstance(document, str) and "\0" in document:
        yield Violation(field, "must hold no NUL character")
    elif isinstance(document, dict):
        for key, value in document.items():
            if "\0" in key:
                yield Violation(path(field, key), "must have a name without a NUL character")
            yield from nul_violations(value, path(field, key))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from nul_violations(value, path(field, index))


def _is_deeper(document: Any, levels: int) -> bool:
    # Level by level: a recursion would end where Python's stack does.
    level = [document]
    for _ in range(levels + 1):
        containers = [value for value in level if isinstance(value, dict | list)]
        level = [child for each in containers for child in (each.values() if isinstance(each, dict) else each)]
        if not containers:
            return False
    return True
