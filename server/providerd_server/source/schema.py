"""Whether a database has the schema whose triggers everything else relies on."""

from __future__ import annotations

from providerd_server.store.database import Connection

_CONFIGS = "llm_provider_configs"
_HISTORY = "llm_provider_config_history"
_STORE = "llm_provider_store"
_BINDINGS = "llm_provider_key_bindings"

_TRIGGERS = {
    _CONFIGS: (
        "trg_lock_provider_store",
        "trg_note_provider_editor",
        "trg_refuse_provider_truncate",
        "trg_validate_provider_config",
        "trg_vet_provider_key",
        "trg_log_provider_config_change",
        "trg_prevent_active_provider_deletion",
        "trg_ensure_single_active_provider",
    ),
    _HISTORY: ("trg_refuse_provider_truncate", "trg_trim_provider_snapshot"),
    _STORE: ("trg_refuse_provider_truncate",),
    _BINDINGS: ("trg_refuse_provider_truncate",),
}

# Without them a ciphertext could pass for another one, or be used under a seal that is none.
_CONSTRAINTS = (
    "llm_provider_configs_api_key_id_is_a_name",
    "llm_provider_configs_api_key_is_framed_plainly",
    "llm_provider_configs_api_key_mac_is_of_a_key",
)

_MISSING_TABLES = "SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NULL"

# tgenabled: O fires in normal sessions, A always, D never, R only on replicas.
# https://www.postgresql.org/docs/current/catalog-pg-trigger.html
_FOUND_TRIGGERS = """
SELECT name AS relation, tgname AS trigger, tgenabled IN ('O', 'A') AS fires
FROM unnest($1::text[]) AS name JOIN pg_trigger ON tgrelid = to_regclass(name) WHERE NOT tgisinternal
ORDER BY name, tgname
"""

# Before PostgreSQL 18 every constraint is enforced, and the catalog does not say so.
# https://www.postgresql.org/docs/current/catalog-pg-constraint.html
_FOUND_CONSTRAINTS = """
SELECT conname FROM pg_constraint c
WHERE conrelid = to_regclass($1) AND contype = 'c' AND coalesce(to_jsonb(c) ->> 'conenforced', 'true') = 'true'
"""

_RESTORE = "run `providerd migrate up`, then migrations/001 and 004 again, which restore them"


class SchemaError(Exception):
    """The database lacks something that providerd relies on; the message says what to do."""


async def check_schema(connection: Connection) -> None:
    """Checks that what keeps the configurations, their keys and their history in order is there and at work.

    Raises:
        SchemaError: A table, a trigger or a constraint is missing, or a trigger is disabled.
    """
    await check_tables(connection)
    await _check_triggers(connection)
    constraints = {row["conname"] for row in await connection.fetch(_FOUND_CONSTRAINTS, _CONFIGS)}
    if absent := [name for name in _CONSTRAINTS if name not in constraints]:
        raise SchemaError(f"missing constraint {', '.join(absent)} on {_CONFIGS}; {_RESTORE}")


async def check_tables(connection: Connection) -> None:
    """Checks that the tables are there, whatever keeps them in order.

    Raises:
        SchemaError: One is missing.
    """
    missing = [row["name"] for row in await connection.fetch(_MISSING_TABLES, list(_TRIGGERS))]
    if missing:
        raise SchemaError(f"missing table {', '.join(missing)}; run `providerd migrate up`")


async def _check_triggers(connection: Connection) -> None:
    found = await connection.fetch(_FOUND_TRIGGERS, list(_TRIGGERS))
    for relation, wanted in _TRIGGERS.items():
        here = {row["trigger"]: row["fires"] for row in found if row["relation"] == relation}
        if disabled := [name for name in wanted if not here.get(name, True)]:
            raise SchemaError(
                f"disabled trigger {', '.join(disabled)} on {relation}: changes would go unnumbered or unchecked;"
                f" run ALTER TABLE {relation} ENABLE ALWAYS TRIGGER for each"
            )
        if absent := [name for name in wanted if name not in here]:
            raise SchemaError(f"missing trigger {', '.join(absent)} on {relation}; {_RESTORE}")
