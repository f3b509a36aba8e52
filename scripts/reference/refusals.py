"""Every answer the daemon refuses a request with, read from the calls of ``Refusal`` in its source."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path("server/providerd_server")


class UnreadableError(Exception):
    """A refusal is written in a way that cannot be read here; the message says where."""


@dataclass(frozen=True, slots=True)
class Site:
    """One place that refuses.

    Attributes:
        kind: The name of the gRPC status code.
        reason: The UPPER_SNAKE reason.
        message: What it says, with {names} for what is different each time; empty when PostgreSQL says it.
        metadata: The names of what goes with it.
        module: The path of the module, relative to the source.
        sqlstate: What PostgreSQL says that makes the daemon refuse; empty for refusals of its own.
    """

    kind: str
    reason: str
    message: str
    metadata: tuple[str, ...]
    module: str
    sqlstate: str = ""


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of ``Refusal`` in a function; the arguments of the function may be what a caller passed."""

    node: ast.Call
    helper: ast.FunctionDef | ast.AsyncFunctionDef | None
    module: str


def sites(source: Path = SOURCE) -> list[Site]:
    """Returns every place that refuses, in order of reasons.

    Raises:
        UnreadableError: One of them has no reason that can be told by reading.
    """
    modules = {
        str(path.relative_to(source)): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(source.rglob("*.py"))
    }
    found = {
        site
        for name, tree in modules.items()
        for call in _refusals(tree, name)
        for site in (_of_table(call, tree) or _of_call(call, modules))
    }
    return sorted(found, key=lambda site: (site.reason, site.module, site.sqlstate, site.message))


def warnings(source: Path = SOURCE) -> list[tuple[str, str]]:
    """Returns the reason and the message of each warning that an answer may carry, in order.

    Raises:
        UnreadableError: One of them is not written as ``message = …`` right before ``pb.Warning(reason="…")``.
    """
    found = {}
    for path in sorted(source.rglob("*.py")):
        for body in _bodies(ast.parse(path.read_text(encoding="utf-8"))):
            for before, statement in zip([None, *body], body, strict=False):
                for call in _calls(statement, "Warning"):
                    reason = {each.arg: each.value for each in call.keywords}.get("reason")
                    if not isinstance(reason, ast.Constant) or not isinstance(before, ast.Assign):
                        raise UnreadableError(f"{path.name}:{call.lineno}: write message = … right before the Warning")
                    found[str(reason.value)] = _text(before.value, {})
    return sorted(found.items())


def _refusals(tree: ast.Module, module: str) -> Iterator[_Call]:
    def visit(node: ast.AST, helper: ast.FunctionDef | ast.AsyncFunctionDef | None) -> Iterator[_Call]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call) and _called(child) == "Refusal":
                yield _Call(child, helper, module)
            inner = child if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else helper
            yield from visit(child, inner)

    yield from visit(tree, None)


def _of_call(call: _Call, modules: Mapping[str, ast.Module]) -> list[Site]:
    """The sites of a call: one for each different set of texts that callers of its function pass."""
    bindings = list(_bindings(call, modules)) or [{}]
    return [_site(call, bound) for bound in bindings]


def _site(call: _Call, bound: Mapping[str, ast.expr]) -> Site:
    where = f"{call.module}:{call.node.lineno}"
    arguments = dict(zip(("kind", "reason", "message"), call.node.args, strict=False))
    arguments |= {each.arg: each.value for each in call.node.keywords if each.arg}
    kind, reason = arguments["kind"], _resolved(arguments["reason"], bound)
    if not isinstance(kind, ast.Attribute) or not isinstance(reason, ast.Constant):
        raise UnreadableError(f"{where}: write the kind and the reason of a Refusal where it is made")
    return Site(kind.attr, str(reason.value), _text(arguments["message"], bound), _keys(arguments, where), call.module)


def _of_table(call: _Call, tree: ast.Module) -> list[Site]:
    """The sites of ``kind, reason = TABLE[state]``: the entries of a dictionary of SQLSTATEs in the same module."""
    if not isinstance(call.node.args[0], ast.Name) or call.node.args[0].id != "kind":
        return []
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    entries = [
        (constants[key.id] if isinstance(key, ast.Name) else key, value.elts)
        for table in constants.values()
        if isinstance(table, ast.Dict)
        for key, value in zip(table.keys, table.values, strict=True)
        if isinstance(value, ast.Tuple)
    ]
    return [
        Site(kind.attr, str(reason.value), "", (), call.module, str(state.value))
        for state, (kind, reason) in entries
        if isinstance(state, ast.Constant) and isinstance(kind, ast.Attribute) and isinstance(reason, ast.Constant)
    ]


def _bindings(call: _Call, modules: Mapping[str, ast.Module]) -> Iterator[dict[str, ast.expr]]:
    """What callers pass to the function of a call, as far as it is text."""
    if call.helper is None:
        return
    names = [each.arg for each in call.helper.args.args]
    # A private function has callers in its own module only.
    places = [modules[call.module]] if call.helper.name.startswith("_") else modules.values()
    for tree in places:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _called(node) == call.helper.name:
                yield {name: value for name, value in zip(names, node.args, strict=False) if _is_text(value)}


def _bodies(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    return (body for node in ast.walk(tree) if isinstance(body := getattr(node, "body", None), list))


def _calls(statement: ast.stmt, name: str) -> Iterator[ast.Call]:
    """The calls in a simple statement; those in a compound one belong to its own bodies."""
    if not hasattr(statement, "body"):
        yield from (node for node in ast.walk(statement) if isinstance(node, ast.Call) and _called(node) == name)


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _resolved(node: ast.expr, bound: Mapping[str, ast.expr]) -> ast.expr:
    return bound.get(node.id, node) if isinstance(node, ast.Name) else node


def _text(node: ast.expr, bound: Mapping[str, ast.expr]) -> str:
    """A message as a template: what is only known when it is said stands in braces."""
    node = _resolved(node, bound)
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, bound) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        inner = _resolved(node.value, bound)
        return _text(inner, bound) if _is_text(inner) else f"{{{_shown(inner)}}}"
    if isinstance(node, ast.IfExp):
        return f"{_text(node.body, bound)} / {_text(node.orelse, bound)}"
    return f"{{{_shown(node)}}}"


def _shown(node: ast.expr) -> str:
    return ast.unparse(node).removeprefix("self.").lstrip("_")


def _keys(arguments: Mapping[str, ast.expr], where: str) -> tuple[str, ...]:
    metadata = arguments.get("metadata")
    if metadata is None:
        return ()
    if not isinstance(metadata, ast.Dict):
        raise UnreadableError(f"{where}: write the metadata of a Refusal as a dictionary")
    return tuple(str(key.value) for key in metadata.keys if isinstance(key, ast.Constant))
