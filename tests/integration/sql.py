"""What the tests of the schema share: the migration files, connections, and a provider to insert."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

MIGRATIONS = Path(__file__).parents[2] / "migrations"
CREATE = MIGRATIONS / "001_create_llm_provider_configs.sql"
SEED = MIGRATIONS / "002_seed_initial_providers.sql"
KEYS = MIGRATIONS / "004_keys_and_access.sql"
ROLES = MIGRATIONS / "roles.sql"
ROLLBACK = MIGRATIONS / "999_rollback_llm_provider_configs.sql"
FILES = sorted(MIGRATIONS.glob("0*.sql"))

REQUEST: dict[str, Any] = {
    "version": "1.0",
    "payload_structure": {
        "model": {"source": "param:model_name", "required": True},
        "messages": {"source": "param:messages", "required": True},
    },
}
RESPONSE: dict[str, Any] = {
    "version": "1.0",
    "extraction_rules": {
        "text_content": {"type": "string", "paths": ["text"]},
        "usage_stats": {"type": "object", "fields": {}},
    },
}


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that speaks JSON, closed at the end."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
        yield connection
    finally:
        await connection.close()


@contextmanager
def refused(sqlstate: str, message: str | None = None) -> Iterator[pytest.ExceptionInfo[asyncpg.PostgresError]]:
    """Wants what runs inside to be refused by the database, for this reason and in these words."""
    with pytest.raises(asyncpg.PostgresError) as caught:
        yield caught
    assert caught.value.sqlstate == sqlstate
    assert message is None or caught.value.args[0].splitlines()[0] == message


async def insert_provider(db: asyncpg.Connection, name: str | None = "mine", **columns: Any) -> int:
    """Inserts a valid provider, but for what ``columns`` say otherwise, and returns its id."""
    values: dict[str, Any] = {
        "provider_name": name,
        "display_name": "Mine",
        "base_url": "https://api.example.com",
        "endpoint_path_template": "/v1/chat",
        "default_model": "small",
        "request_builder_config": REQUEST,
        "response_extractor_config": RESPONSE,
        **columns,
    }
    places = ", ".join(f"${n}" for n in range(1, len(values) + 1))
    return await db.fetchval(
        f"INSERT INTO llm_provider_configs ({', '.join(values)}) VALUES ({places}) RETURNING id", *values.values()
    )


async def enable_all(db: asyncpg.Connection) -> None:
    await db.execute("UPDATE llm_provider_configs SET is_enabled = TRUE")


async def revision(db: asyncpg.Connection) -> int:
    return await db.fetchval("SELECT revision FROM llm_provider_store")


async def history_since(db: asyncpg.Connection, known: int) -> list[tuple[str, str]]:
    """What was recorded after a revision, in order: (provider, action)."""
    rows = await db.fetch(
        "SELECT provider_name, action FROM llm_provider_config_history WHERE revision > $1 ORDER BY revision, id",
        known,
    )
    return [(row["provider_name"], row["action"]) for row in rows]


async def active_names(db: asyncpg.Connection) -> list[str]:
    rows = await db.fetch("SELECT provider_name FROM llm_provider_configs WHERE is_active")
    return [row["provider_name"] for row in rows]
