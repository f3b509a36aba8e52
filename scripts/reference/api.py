"""docs/reference/api.md, from the comments and types of protos/, as buf reads them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)
from scripts.reference import errors, markdown
from scripts.reference.markdown import code, link, prose, table

_FILE = "providerd/v1/provider.proto"
_BUF = Path(sys.executable).with_name("buf")

# Field numbers in descriptor.proto, of which the paths of comments are made:
# https://github.com/protocolbuffers/protobuf/blob/main/src/google/protobuf/descriptor.proto
_MESSAGE, _ENUM, _SERVICE, _SYNTAX = 4, 5, 6, 12
_FIELD = _METHOD = _VALUE = 2

_CALLING = """\
The daemon answers reflection, so grpcurl needs no files:

```console
grpcurl -plaintext -d '{"provider_name": "groq"}' localhost:50051 providerd.v1.ProviderService/GetProvider
```

In JSON a field goes by its name here or in lowerCamelCase, and 64-bit integers are strings
([ProtoJSON](https://protobuf.dev/programming-guides/json/)). What a reason means and what to do about it is in
[errors](errors.md). Beside this service the daemon serves `grpc.health.v1.Health` and `grpc.reflection.v1`."""


def page() -> str:
    """Returns the page."""
    return _Api(_descriptors()).page()


def _descriptors() -> FileDescriptorProto:
    built = subprocess.run([_BUF, "build", "protos", "-o", "-"], capture_output=True, check=True)  # noqa: S603
    files = FileDescriptorSet.FromString(built.stdout).file
    return next(file for file in files if file.name == _FILE)


class _Api:
    def __init__(self, file: FileDescriptorProto) -> None:
        self._file = file
        self._comments = {
            tuple(each.path): [*each.leading_detached_comments, each.leading_comments]
            for each in file.source_code_info.location
        }
        self._messages = {f".{file.package}.{each.name}": each for each in file.message_type}
        self._enums = {f".{file.package}.{each.name}": each for each in file.enum_type}
        self._reasons = {each.name for each in errors.reasons()}

    def page(self) -> str:
        service = self._file.service[0]
        methods = list(enumerate(service.method))
        shared = [each for each in self._reachable() if not each.name.endswith(("Request", "Response"))]
        return markdown.page(
            f"# The API: `{self._file.package}.{service.name}`",
            f"Source: `protos/{self._file.name}`.",
            self._comment(_SYNTAX),
            _CALLING,
            table(
                ("RPC", "What it does"),
                [(link(each.name), _first_sentence(self._comment(_SERVICE, 0, _METHOD, i))) for i, each in methods],
            ),
            "## RPCs",
            *(self._method(i, each) for i, each in methods),
            "## Messages",
            *(self._message(each) if isinstance(each, DescriptorProto) else self._enum(each) for each in shared),
        )

    def _method(self, index: int, method: MethodDescriptorProto) -> str:
        stream = ", a stream of" if method.server_streaming else ""
        parts = [f"### {method.name}", self._comment(_SERVICE, 0, _METHOD, index)]
        for kind, name in (("Request", method.input_type), (f"Answer{stream}", method.output_type)):
            message = self._messages[name]
            parts += [f"**{kind}** `{message.name}`: {self._comment(*self._path(message))}", self._fields(message)]
        return markdown.page(*parts)

    def _message(self, message: DescriptorProto) -> str:
        return markdown.page(f"### {message.name}", self._comment(*self._path(message)), self._fields(message))

    def _enum(self, enum: EnumDescriptorProto) -> str:
        path = self._path(enum)
        rows = [
            (code(value.name), str(value.number), self._comment(*path, _VALUE, i)) for i, value in enumerate(enum.value)
        ]
        return markdown.page(f"### {enum.name}", self._comment(*path), table(("Value", "Number", "Meaning"), rows))

    def _fields(self, message: DescriptorProto) -> str:
        path = self._path(message)
        return table(
            ("Field", "Type", "Meaning"),
            [
                (code(field.name), self._type(message, field), self._comment(*path, _FIELD, i))
                for i, field in enumerate(message.field)
            ],
        )

    def _type(self, message: DescriptorProto, field: FieldDescriptorProto) -> str:
        for entry in message.nested_type:
            if entry.options.map_entry and field.type_name.endswith(f".{message.name}.{entry.name}"):
                return f"map of {' to '.join(self._type(entry, each) for each in entry.field)}"
        if field.type_name.startswith(f".{self._file.package}."):
            name = link(field.type_name.rpartition(".")[2])
        else:
            scalar = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
            name = code(field.type_name.removeprefix(".") or scalar)
        if field.label == FieldDescriptorProto.LABEL_REPEATED:
            return f"repeated {name}"
        if field.proto3_optional:
            return f"optional {name}"
        return (
            f"{name}, one of `{message.oneof_decl[field.oneof_index].name}`" if field.HasField("oneof_index") else name
        )

    def _comment(self, *path: int) -> str:
        text = prose("\n\n".join(part.strip() for part in self._comments.get(path, []) if part.strip()))
        # Reasons are told apart from enum values and the like by being among those that the daemon answers.
        return re.sub(
            r"\b[A-Z]+(?:_[A-Z]+)+\b",
            lambda found: link(found[0], "errors.md") if found[0] in self._reasons else found[0],
            text,
        )

    def _path(self, part: DescriptorProto | EnumDescriptorProto) -> tuple[int, int]:
        if isinstance(part, DescriptorProto):
            return _MESSAGE, list(self._file.message_type).index(part)
        return _ENUM, list(self._file.enum_type).index(part)

    def _reachable(self) -> Iterator[DescriptorProto | EnumDescriptorProto]:
        """The messages and enums that the fields of requests and answers are of, in the order of their names."""
        found: dict[str, DescriptorProto | EnumDescriptorProto] = {}
        waiting = [name for each in self._file.service[0].method for name in (each.input_type, each.output_type)]
        while waiting:
            name = waiting.pop()
            part = self._messages.get(name) or self._enums.get(name)
            if part is not None and name not in found:
                found[name] = part
                waiting += [field.type_name for field in getattr(part, "field", ())]
        return (found[name] for name in sorted(found))


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].removesuffix(".") + "."
