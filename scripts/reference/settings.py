"""docs/reference/settings.md, from the daemon's settings class and the flags of ``serve``."""

from __future__ import annotations

import types
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from pydantic import AliasChoices
from pydantic.fields import FieldInfo
from scripts.reference import markdown
from scripts.reference.markdown import code, prose, table

from providerd.secret import Secret
from providerd_server.commands import serve
from providerd_server.settings import PUBLISHED_PASSPHRASE, Settings

_INTRODUCTION = """\
A setting is looked up in this order, and the first place that has it wins:

1. the flag of `providerd serve`, where there is one;
2. the environment;
3. the file `.env` in the working directory.

Upper and lower case are the same in names, and an empty value counts as not given. A wrong setting ends the daemon
before it serves, with one line that names it. `providerd serve --print-config` shows every setting, its value with
secrets masked, and where it comes from. The commands that work on the database themselves (`migrate`, `psql`,
`import admin-settings`) read the same settings; the program as a client has [a few of its own](cli.md)."""

_NAMES: dict[Any, str] = {
    str: "text", Secret: "secret text", int: "integer", float: "number", bool: "true or false", Path: "path",
    timedelta: "duration",
}  # fmt: skip

_HEAD = ("Name", "Flag", "Value", "Default", "Meaning")


def page() -> str:
    """Returns the page."""
    fields = Settings.model_fields
    flags = {parameter.name: parameter for parameter in serve.params if isinstance(parameter, click.Option)}
    rows = {name: _row(name, field, flags.get(name)) for name, field in fields.items()}
    return markdown.page(
        "# Settings of the daemon",
        "Source: `server/providerd_server/settings.py`.",
        _INTRODUCTION,
        "## The database",
        _database(),
        table(_HEAD, [rows[name] for name, field in fields.items() if _alias(field)]),
        "## Everything else",
        table(_HEAD, [rows[name] for name, field in fields.items() if not _alias(field)]),
    )


def _database() -> str:
    # As the daemon itself makes it of the least it takes.
    url = Settings.model_construct(supabase_db_host="HOST").database_url
    shown = url.reveal() if url else ""
    return (
        "`SUPABASE_DB_URL` names the database as a whole, beginning with `postgresql://`. Without it the other "
        f"`SUPABASE_DB_*` name its parts: `SUPABASE_DB_HOST=HOST` alone means `{shown}`, and each "
        "of several, separated by commas, has the port of `SUPABASE_DB_PORT`. With neither, the daemon runs "
        "an embedded PostgreSQL of its own in `PROVIDERD_DATA_DIR`. `DB_ENCRYPTION_KEY` is the passphrase of the "
        f"stored API keys; its default, `{PUBLISHED_PASSPHRASE}`, is published and protects nothing."
    )


def _row(name: str, field: FieldInfo, flag: click.Option | None) -> Sequence[str]:
    return (
        code(_alias(field) or f"PROVIDERD_{name.upper()}"),
        code(" / ".join([*flag.opts, *flag.secondary_opts])) if flag else "",
        _type(field) + _bounds(field),
        code(_shown(name, field.default)),
        prose(field.description or ""),
    )


def _alias(field: FieldInfo) -> str:
    """The name that the founding document gives a setting; empty for all others."""
    return str(field.validation_alias.choices[0]) if isinstance(field.validation_alias, AliasChoices) else ""


def _type(field: FieldInfo) -> str:
    return _type_name(field.annotation)


def _type_name(kind: Any) -> str:
    if get_origin(kind) is Annotated:
        return _type_name(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(_type_name(part) for part in get_args(kind) if part is not type(None))
    if get_origin(kind) is Literal:
        return ", ".join(code(value) for value in get_args(kind))
    if get_origin(kind) is list:
        return "list"
    return _NAMES[kind]


def _bounds(field: FieldInfo) -> str:
    signs = {"gt": "above", "ge": "at least", "le": "at most"}
    bounds = [
        f"{word} {getattr(each, sign):,}"
        for each in field.metadata
        for sign, word in signs.items()
        if getattr(each, sign, None) is not None
    ]
    return f", {', '.join(bounds)}" if bounds else ""


def _shown(name: str, value: object) -> str:
    if isinstance(value, Secret):
        return "published"
    if name == "socket_mode":
        return f"{value:04o}"
    if isinstance(value, list):
        return ",".join(value)
    return "" if value is None else str(value)
