"""The rules of a provider's content, checked all at once before the database would say its first.

They are stricter than the schema's triggers, which are the last line. docs/reference/provider-configuration.md lists
them for people. No description repeats a value, which may be a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from providerd_server.errors import Violation
from providerd_server.validation.address import address_violations
from providerd_server.validation.documents import nul_violations, size_problem
from providerd_server.validation.headers import header_violations
from providerd_server.validation.hosts import STRICT, HostPolicy
from providerd_server.validation.models import model_violations
from providerd_server.validation.report import reported
from providerd_server.validation.requests import request_violations
from providerd_server.validation.structure import structure_violations
from providerd_server.validation.text import NAME_RULE, NAME_SHAPE, content_text, name_violations, text_violations

__all__ = [
    "NAME_RULE", "NAME_SHAPE", "STRICT", "HostPolicy", "content_violations", "name_violations", "reported",
    "text_violations",
]  # fmt: skip

_CONFIGS = ("request_builder_config", "response_extractor_config")
_JSON = (*_CONFIGS, "additional_headers", "model_capabilities", "supported_models")


def content_violations(content: Mapping[str, Any], hosts: HostPolicy = STRICT) -> list[Violation]:
    """Every rule that ``content``, with the names of the table's content columns, breaks.

    ``hosts`` says where keys may be sent. Fields are paths such as
    ``provider.request_builder_config.payload_structure.model.source``.
    """
    problems = {name: size_problem(content[name]) for name in _JSON}
    # What is too large or too deep is not looked into any further.
    fit = {name: None if problems.get(name) else value for name, value in content.items()}
    return [
        *content_text(fit),
        *(Violation(f"provider.{name}", problem) for name, problem in problems.items() if problem),
        *(each for name in _JSON for each in nul_violations(fit[name], f"provider.{name}")),
        *address_violations(fit, hosts),
        *header_violations(fit),
        *(each for name in _CONFIGS if not problems[name] for each in structure_violations(name, fit[name])),
        *request_violations(fit),
        *model_violations(fit),
    ]
