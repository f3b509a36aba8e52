"""The statements on ``llm_provider_configs`` that several writes need."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from providerd_server.store.database import Connection
from providerd_server.store.rows import CONTENT_COLUMNS, JSON_COLUMNS, KEY_COLUMNS, SELECT_LIST
from providerd_server.store.sealed import SealedKey

_FIND = f"SELECT {SELECT_LIST} FROM llm_provider_configs p WHERE p.provider_name = $1"  # noqa: S608 - constants only
_FIND_AND_ACTIVE = f"SELECT {SELECT_LIST} FROM llm_provider_configs p WHERE p.is_active OR p.provider_name = $1"  # noqa: S608
_FIND_ALL = f"SELECT {SELECT_LIST} FROM llm_provider_configs p ORDER BY p.provider_name"  # noqa: S608
_SWITCH = "SELECT switch_active_provider($1, $2)"
_DELETE = "DELETE FROM llm_provider_configs WHERE provider_name = $1"
_REPLACE_KEY = (
    "UPDATE llm_provider_configs AS p SET api_key_encrypted = $3, api_key_id = $4, api_key_mac = $5"  # noqa: S608
    f" WHERE p.provider_name = $1 AND p.api_key_encrypted = $2 RETURNING {SELECT_LIST}"
)


async def find(connection: Connection, provider_name: str) -> Any:
    """The row of a provider; None when there is none of that name."""
    return await connection.fetchrow(_FIND, provider_name)


async def find_with_active(connection: Connection, provider_name: str) -> list[Any]:
    """The rows of a provider and of the active one, which may be the same."""
    rows: list[Any] = await connection.fetch(_FIND_AND_ACTIVE, provider_name)
    return rows


async def find_all(connection: Connection) -> list[Any]:
    """The rows of all providers, in order of their names."""
    rows: list[Any] = await connection.fetch(_FIND_ALL)
    return rows


async def switch(connection: Connection, provider_name: str, actor: str) -> None:
    """Makes a provider the active one."""
    await connection.execute(_SWITCH, provider_name, actor or None)


async def delete(connection: Connection, provider_name: str) -> None:
    """Deletes a provider."""
    await connection.execute(_DELETE, provider_name)


async def save(
    connection: Connection,
    provider_name: str,
    content: Mapping[str, Any],
    key: SealedKey | None,
    actor: str,
    *,
    new: bool,
) -> Any:
    """Inserts or updates a provider with its key and all of its content columns, and returns its row."""
    values = [_to_sql(column, content[column]) for column in CONTENT_COLUMNS]
    parts = (key.ciphertext, key.key_id, key.mac) if key else (None, None, None)
    return await connection.fetchrow(_INSERT if new else _UPDATE, provider_name, actor or None, *parts, *values)


async def replace_key(connection: Connection, old: SealedKey, new: SealedKey) -> Any:
    """Puts a key in the place of another, and returns the row; None when the other is not there any more."""
    return await connection.fetchrow(
        _REPLACE_KEY, old.provider_name, old.ciphertext, new.ciphertext, new.key_id, new.mac
    )


def _to_sql(column: str, value: Any) -> Any:
    return json.dumps(value) if column in JSON_COLUMNS and value is not None else value


def _statement(template: str) -> str:
    columns = ("provider_name", "updated_by", *KEY_COLUMNS, *CONTENT_COLUMNS)
    places = [f"${i}::jsonb" if column in JSON_COLUMNS else f"${i}" for i, column in enumerate(columns, start=1)]
    pairs = [f"{column} = {place}" for column, place in zip(columns, places, strict=True)][1:]
    return template.format(
        columns=", ".join(columns), places=", ".join(places), pairs=", ".join(pairs), row=SELECT_LIST
    )


_INSERT = _statement("INSERT INTO llm_provider_configs AS p ({columns}) VALUES ({places}) RETURNING {row}")
_UPDATE = _statement("UPDATE llm_provider_configs AS p SET {pairs} WHERE p.provider_name = $1 RETURNING {row}")
