"""The JSON Schemas of a provider's two documents, which docs/reference/provider-configuration.md explains.

Each is named after the column it describes. Its keyword ``x-violation`` is ours: what to tell people about a value that
breaks ``pattern``, ``format``, ``not`` or ``anyOf``, for which no general words exist.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from providerd_server.schemas.jmespaths import is_jmespath
from providerd_server.schemas.patterns import is_shell_pattern

# Each document has one section with required entries.
SECTIONS = {"request_builder_config": "payload_structure", "response_extractor_config": "extraction_rules"}


@cache
def schema(column: str) -> dict[str, Any]:
    """The JSON Schema of the document in ``column``."""
    text = files(__name__).joinpath(f"{column}.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


@cache
def validator(column: str) -> Validator:
    """The validator of the document in ``column``, made once."""
    made: Validator = _Draft202012(schema(column), format_checker=_FORMATS)
    return made


def _pattern(_: Validator, pattern: str, instance: object, __: object) -> Iterator[ValidationError]:
    # JSON Schema means ECMA 262, whose "$" is the end of the text; Python's also matches before a last line break.
    if isinstance(instance, str) and not re.search(pattern.removesuffix("$") + r"\Z", instance):
        yield ValidationError("does not match")


_Draft202012: Any = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]

_FORMATS = FormatChecker(formats=())
_FORMATS.checks("jmespath")(is_jmespath)
_FORMATS.checks("shell-pattern")(is_shell_pattern)
