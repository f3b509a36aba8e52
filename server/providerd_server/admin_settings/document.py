"""The file ``admin_settings.json``: where it says what about a provider."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from providerd.cli.failures import ExitCode, Failure
from providerd.secret import Secret

# The columns it may fill, each with the names it may go by.
FIELD_NAMES: Mapping[str, tuple[str, ...]] = {
    "base_url": ("base_url", "api_base", "url"),
    "endpoint_path_template": ("endpoint", "endpoint_path", "endpoint_path_template"),
    "default_model": ("model", "default_model", "model_name"),
}

# Objects that may hold the settings of whichever provider was in use.
_SHARED_PLACES = ("llm", "llm_provider", "provider")


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """What the file says of one provider.

    Attributes:
        content: The whole file as it is; it holds the key.
        api_key: The key.
        fields: Values by the names of their columns; what the file does not say is not among them.
    """

    content: bytes = field(repr=False)
    api_key: Secret
    fields: Mapping[str, str]

    @property
    def key_fingerprint(self) -> str:
        """Tells keys apart without showing any of their characters: 16 hex digits of the key's SHA-256."""
        return "sha256:" + hashlib.sha256(self.api_key.reveal().encode()).hexdigest()[:16]


def load(path: Path, provider_name: str) -> AdminSettings:
    """Reads the file.

    Raises:
        Failure: It cannot be read, is no JSON object, or holds no usable key; the message quotes none of it.
    """
    content = _read(path)
    document = _parse(path, content)
    names = _key_names(provider_name)
    for place in _places(document, provider_name):
        if key := _value(path, place, names):
            fields = {column: _value(path, place, names) for column, names in FIELD_NAMES.items()}
            return AdminSettings(content, Secret(key), {name: value for name, value in fields.items() if value})
    raise Failure(
        f"no API key of {provider_name} in {path}: put it there as {names[0]} or {names[1]}", ExitCode.NOT_FOUND
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise Failure(
            f"{path} is not there: name the file, or run this in the directory that has it", ExitCode.USAGE
        ) from None
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}", ExitCode.USAGE) from None


def _parse(path: Path, content: bytes) -> Mapping[str, Any]:
    try:
        # Some editors put a byte order mark in front.
        document = json.loads(content.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        # The position and never the text: that may be the key.
        where = f"line {error.lineno} column {error.colno}"
        raise Failure(f"{path} is not JSON at {where}: {error.msg}; correct it there", ExitCode.INVALID) from None
    except UnicodeDecodeError as error:
        raise Failure(f"{path} is not UTF-8 at byte {error.start}: save it as UTF-8", ExitCode.INVALID) from None
    except (ValueError, RecursionError):
        raise Failure(f"{path} holds JSON that is too deep or too large a number to read", ExitCode.INVALID) from None
    if not isinstance(document, dict):
        raise Failure(f"{path} must hold one JSON object with the settings", ExitCode.INVALID)
    return document


def _key_names(provider_name: str) -> tuple[str, ...]:
    return ("api_key", f"{provider_name}_api_key", f"{provider_name.upper()}_API_KEY", "key")


def _places(document: Mapping[str, Any], provider_name: str) -> Iterator[Mapping[str, Any]]:
    """The objects that may hold the settings, the most specific first."""
    providers = document.get("providers")
    if isinstance(providers, dict):
        yield from _objects(providers.get(provider_name))
    yield from _objects(document.get(provider_name))
    for place in _objects(*(document.get(name) for name in _SHARED_PLACES), document):
        # The key of another provider would go to the wrong host.
        named = place.get("provider_name", place.get("provider"))
        if not isinstance(named, str) or named.casefold() == provider_name:
            yield place


def _objects(*values: Any) -> Iterator[Mapping[str, Any]]:
    return (value for value in values if isinstance(value, dict))


def _value(path: Path, place: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """The text that goes by one of the names; None when there is none. Empty text counts as none."""
    given = {name: place[name] for name in names if place.get(name) not in (None, "")}
    for name, value in given.items():
        if not isinstance(value, str) or not value.isascii() or not value.isprintable():
            raise Failure(f"{name} in {path} must be a string of printable ASCII: correct it", ExitCode.INVALID)
    if len(set(given.values())) > 1:
        raise Failure(f"{path} says different things in {' and '.join(given)}: keep one", ExitCode.INVALID)
    return next(iter(given.values()), None)
