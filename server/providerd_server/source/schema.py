"""Whether a database has the schema whose triggers everything else relies on."""

from __future__ import annotations

from providerd_server.store.database import Connection

_TABLES = (
    "llm_provider_configs",
    "llm_provider_config_history",
    "llm_provider_store",
    "llm_provider_key_bindings",
)

_TRIGGERS = (
    "trg_lock_provider_store",
    "trg_note_provider_editor",
    "trg_refuse_provider_truncate",
    "trg_validate_provider_config",
    "trg_vet_provider_key",
    "trg_log_provider_config_change",
    "trg_prevent_active_provider_deletion",
    "trg_ensure_single_active_provider",
)

# tgenabled: O fires in normal sessions, A always, D never, R only on replicas.
# https://www.postgresql.org/docs/current/catalog-pg-trigger.html
_ENABLED = (
    "SELECT tgname FROM pg_trigger"
    " WHERE tgrelid = to_regclass('llm_provider_configs') AND NOT tgisinternal AND tgenabled IN ('O', 'A')"
)
_DISABLED = (
    "SELECT tgname FROM pg_trigger"
    " WHERE tgrelid = to_regclass('llm_provider_configs') AND NOT tgisinternal AND tgenabled NOT IN ('O', 'A')"
)
_MISSING_TABLES = "SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NULL"


class SchemaError(Exception):
    """The database lacks something that providerd relies on; the message says what to do."""


async def check_schema(connection: Connection) -> None:
    """Raises ``SchemaError`` unless all tables are there and all triggers are there and enabled."""
    missing = [row["name"] for row in await connection.fetch(_MISSING_TABLES, list(_TABLES))]
    if missing:
        raise SchemaError(f"missing table {', '.join(missing)}; run `providerd migrate up`")
    disabled = [row["tgname"] for row in await connection.fetch(_DISABLED)]
    if disabled:
        raise SchemaError(
            f"disabled trigger {', '.join(disabled)}: changes would go unnumbered;"
            " run ALTER TABLE llm_provider_configs ENABLE ALWAYS TRIGGER for each"
        )
    enabled = {row["tgname"] for row in await connection.fetch(_ENABLED)}
    absent = [name for name in _TRIGGERS if name not in enabled]
    if absent:
        raise SchemaError(
            f"missing trigger {', '.join(absent)};"
            " run `providerd migrate up`, then migrations/001 and 004 again, which restore them"
        )
