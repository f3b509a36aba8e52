"""The whole configuration as a file: YAML or JSON, without keys and without what the daemon sets itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import IO, TYPE_CHECKING, Any

import yaml

from providerd.cli.failures import ExitCode, Failure
from providerd.cli.files import parse_json, read_text, refuse_keys
from providerd.cli.output import revision_json, sorted_json
from providerd.content import snake_case
from providerd.provider import Revision

if TYPE_CHECKING:
    from providerd.history import ConfigurationAt
    from providerd.provider import Provider

_OUTPUT_ONLY = frozenset(
    {"is_active", "config_version", "create_time", "update_time", "updated_by", "has_key", "key_fingerprint"}
)
_FIELDS = frozenset({"active", "revision", "providers"})


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a file states.

    Attributes:
        providers: The content of each, as it is written.
        active: Which one is to be active; None leaves that as it is.
        revision: The one that was exported; None when the file does not say.
    """

    providers: list[Mapping[str, Any]]
    active: str | None
    revision: Revision | None


def dump(configuration: ConfigurationAt, kind: str) -> str:
    """Returns a configuration as "yaml" or "json". Equal ones give equal text."""
    content: dict[str, Any] = {
        "revision": revision_json(configuration.revision),
        "active": configuration.active_provider_name,
        "providers": [_content(provider) for provider in configuration.providers],
    }
    if kind == "json":
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def load(file: IO[str]) -> Configuration:
    """Reads a configuration.

    Raises:
        Failure: The file is not one; the message says where, and never what it holds.
    """
    content = _parse(read_text(file), file.name)
    if not isinstance(content, dict) or not isinstance(content.get("providers"), list):
        raise _wrong(file, "must be a mapping with a list of `providers`, as `providerd export` writes it")
    refuse_keys(content, file.name)
    if unknown := [name for name in content if name not in _FIELDS]:
        raise _wrong(file, f"has {len(unknown)} unknown field(s); there are {', '.join(sorted(_FIELDS))}")
    for number, provider in enumerate(content["providers"], start=1):
        if not isinstance(provider, dict) or not all(isinstance(name, str) for name in provider):
            raise _wrong(file, f"must have a mapping of field names to values as provider {number}")
        refuse_keys(provider, f"{file.name}, provider {number},")
    active = content.get("active")
    if active is not None and not isinstance(active, str):
        raise _wrong(file, "must have the name of a provider as `active`, or null")
    providers = [_stated(provider) for provider in content["providers"]]
    return Configuration(providers, active, _revision(content.get("revision"), file))


def _content(provider: Provider) -> dict[str, Any]:
    return {
        name: sorted_json(value)
        for name, value in provider.to_dict().items()
        # Empty text and lists are what fields that are left out mean.
        if name not in _OUTPUT_ONLY and value not in ("", [])
    }


def _stated(provider: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in provider.items() if snake_case(name) not in _OUTPUT_ONLY}


def _parse(text: str, name: str) -> Any:
    suffix = PurePath(name).suffix
    if suffix == ".json" or (suffix not in (".yaml", ".yml") and text.lstrip().startswith("{")):
        return parse_json(text, name)
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            # A few of them can stand for gigabytes.
            if isinstance(event, yaml.AliasEvent):
                raise Failure(f"{name} has an alias{_at(event.start_mark)}: write it out", ExitCode.INVALID)
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        raise Failure(f"{name} is not YAML{_at(error.problem_mark)}", ExitCode.INVALID) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise Failure(f"{name} is not YAML", ExitCode.INVALID) from None


def _at(mark: Any) -> str:
    return "" if mark is None else f" in line {mark.line + 1}, column {mark.column + 1}"


def _revision(value: Any, file: IO[str]) -> Revision | None:
    match value:
        case None:
            return None
        case {"store_id": str(store_id), "number": int(number)}:
            return Revision(store_id, number)
    raise _wrong(file, "must have `store_id` and `number` as `revision`, or no revision")


def _wrong(file: IO[str], rule: str) -> Failure:
    return Failure(f"{file.name} {rule}", ExitCode.INVALID)
