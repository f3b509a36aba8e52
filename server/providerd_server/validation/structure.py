"""The two documents against their JSON Schemas, in words of our own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from providerd_server import schemas
from providerd_server.errors import Violation
from providerd_server.validation.paths import path

_TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}

# What to say for each keyword, given its value in the schema. The others are explained in the schema itself.
_WORDS: Mapping[str, Callable[[Any], str]] = {
    "type": lambda types: (
        f"must be {_one_of([_TYPES[name] for name in ([types] if isinstance(types, str) else types)])}"
    ),
    "enum": lambda values: f"must be {_one_of(values)}",
    "const": lambda value: f"must be {json.dumps(value)}",
    "minLength": lambda _: "must not be empty",
    "maxLength": lambda most: f"must be at most {most:,} characters",
    "minItems": lambda _: "must not be empty",
    "maxItems": lambda most: f"must hold at most {most:,} items",
    "uniqueItems": lambda _: "must hold nothing twice",
    "minProperties": lambda _: "must not be empty",
    "maxProperties": lambda most: f"must hold at most {most:,} members",
}


def structure_violations(column: str, document: Any) -> Iterator[Violation]:
    """Where the document in ``column`` departs from its schema. The founding document's rules keep its messages."""
    if document is None:
        yield Violation(f"provider.{column}", "is required")
        return
    for error in schemas.validator(column).iter_errors(document):
        yield from _violations(column, error)


# Errors are Any here: the library's types allow for attributes that are not set yet, which is never so by now.


def _violations(column: str, error: Any) -> Iterator[Violation]:
    root, steps = f"provider.{column}", list(error.absolute_path)
    if error.validator == "required":
        # There is one error for each missing member, and none says which.
        for name in error.validator_value:
            if name not in error.instance:
                yield Violation(path(root, *steps, name), _missing(column, steps, name))
    elif error.validator == "additionalProperties":
        known = error.schema["properties"]
        for name in error.instance:
            if name not in known:
                yield Violation(path(root, *steps, name), f"is not known here; known are {', '.join(known)}")
    else:
        if "propertyNames" in error.absolute_schema_path:
            steps.append(error.instance)
        yield Violation(path(root, *steps), _words(column, steps, error))


def _missing(column: str, steps: list[str | int], name: str) -> str:
    section = schemas.SECTIONS[column]
    if not steps:
        return f'{column} must contain "{name}" {"object" if name == section else "field"}'
    if steps == [section]:
        return f'{column} must contain "{name}" in "{section}"'
    return "is required"


def _words(column: str, steps: list[str | int], error: Any) -> str:
    section = schemas.SECTIONS[column]
    if error.validator == "type" and not steps:
        return f"{column} must be a JSON object"
    if error.validator == "type" and steps == [section]:
        return f'{column} must contain "{section}" object'
    words = _WORDS.get(error.validator)
    text: str = words(error.validator_value) if words else error.schema["x-violation"]
    return text


def _one_of(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
