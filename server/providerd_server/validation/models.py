"""The models of a provider and their limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from providerd_server.errors import Violation
from providerd_server.validation.paths import path

_MOST = 500
_RULE = "must be 1 to 255 printable characters without surrounding white space"


def model_violations(content: Mapping[str, Any]) -> Iterator[Violation]:
    """What is wrong with the models, their capabilities and their limits."""
    default, supported = content["default_model"] or "", content["supported_models"]
    if default.strip() and not _is_model(default):
        yield Violation("provider.default_model", _RULE)
    if not isinstance(supported, list | None):
        yield Violation("provider.supported_models", "supported_models must be a JSON array of strings")
    elif supported:
        yield from _supported(supported)
        if default.strip() and default not in supported:
            yield Violation("provider.default_model", "must be one of supported_models")
    if not isinstance(content["model_capabilities"], dict | None):
        yield Violation("provider.model_capabilities", "model_capabilities must be a JSON object")
    yield from _limits(content["context_window_tokens"], content["max_output_tokens_limit"])


def _supported(models: list[Any]) -> Iterator[Violation]:
    field = "provider.supported_models"
    if len(models) > _MOST:
        yield Violation(field, f"must hold at most {_MOST} models")
    seen = set()
    for index, model in enumerate(models):
        if not isinstance(model, str) or not _is_model(model):
            yield Violation(path(field, index), _RULE)
        elif model in seen:
            yield Violation(path(field, index), "is in the list already")
        else:
            seen.add(model)


def _is_model(name: str) -> bool:
    return 0 < len(name) <= 255 and name.isprintable() and name == name.strip()


def _limits(window: int | None, output: int | None) -> Iterator[Violation]:
    for name, limit in (("context_window_tokens", window), ("max_output_tokens_limit", output)):
        if limit is not None and limit <= 0:
            yield Violation(f"provider.{name}", "must be positive")
    if window is not None and output is not None and output > window > 0:
        yield Violation("provider.max_output_tokens_limit", "must not be more than context_window_tokens")
