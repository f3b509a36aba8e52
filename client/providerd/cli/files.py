"""Files that people give: read as text of a bounded size, and told of without what they hold."""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING, Any

from providerd.cli.failures import ExitCode, Failure

if TYPE_CHECKING:
    from collections.abc import Iterable

# As much as a message of the API takes; a configuration is some kilobytes.
MAX_SIZE = 4 * 1024 * 1024

_KEY_FIELDS = frozenset({"apikey", "newapikey", "apikeyencrypted", "credential"})


def read_text(file: IO[str]) -> str:
    """Returns what a file holds.

    Raises:
        Failure: It is not UTF-8, or too large.
    """
    try:
        text = file.read(MAX_SIZE + 1)
    except UnicodeDecodeError:
        raise Failure(f"{file.name} is not text in UTF-8", ExitCode.INVALID) from None
    if len(text) > MAX_SIZE:
        raise Failure(f"{file.name} is larger than {MAX_SIZE // 1024 // 1024} MiB", ExitCode.INVALID)
    return text


def parse_json(text: str, name: str) -> Any:
    """Returns the JSON in a text.

    Raises:
        Failure: It is not JSON; the message has the line and not the text, which may be a secret.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f" in line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else ""
        raise Failure(f"{name} is not JSON{where}", ExitCode.INVALID) from None


def refuse_keys(fields: Iterable[Any], name: str) -> None:
    """Makes sure that none of the fields is one for a key.

    Raises:
        Failure: One is.
    """
    if keys := sorted(field for field in fields if isinstance(field, str) and _is_for_key(field)):
        raise Failure(
            f"{name} holds {', '.join(keys)}, but keys do not belong in files: remove it, "
            "and set the key with `providerd set-key`",
            ExitCode.INVALID,
        )


def _is_for_key(field: str) -> bool:
    return field.replace("_", "").replace("-", "").lower() in _KEY_FIELDS
