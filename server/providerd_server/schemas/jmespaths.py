"""JMESPath expressions: https://jmespath.org/specification.html."""

from __future__ import annotations

from typing import Any

import jmespath
from jmespath.functions import Functions


def is_jmespath(expression: object) -> bool:
    """Whether a string can be evaluated as it is written; a leading ``$.`` is stripped. What is no string passes."""
    if not isinstance(expression, str):
        return True
    try:
        tree = jmespath.compile(expression.removeprefix("$.")).parsed
    except (ValueError, RecursionError):
        return False
    nodes: list[Any] = [tree]
    while nodes:
        node = nodes.pop()
        if not _can_be_evaluated(node):
            return False
        nodes += [child for child in node["children"] if isinstance(child, dict)]
    return True


def _can_be_evaluated(node: dict[str, Any]) -> bool:
    # The library itself finds these out only when it evaluates.
    if node["type"] == "slice":
        return bool(node["children"][2] != 0)
    if node["type"] == "function_expression":
        function = Functions.FUNCTION_TABLE.get(node["value"])
        return function is not None and _takes(function["signature"], len(node["children"]))
    return True


def _takes(signature: tuple[dict[str, Any], ...], count: int) -> bool:
    return count >= len(signature) if signature[-1].get("variadic") else count == len(signature)
