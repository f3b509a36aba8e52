"""Checks of who may do what in the database: the role of the daemon, and everybody else."""

from __future__ import annotations

from providerd_server.doctor.case import Case
from providerd_server.doctor.examination import Verdict, ok, problem, warning, worst
from providerd_server.store.database import Connection

_CONFIGS = "llm_provider_configs"
_HISTORY = "llm_provider_config_history"
_STORE = "llm_provider_store"
_BINDINGS = "llm_provider_key_bindings"

# What migrations/roles.sql grants to providerd_daemon; a test compares them.
NEEDED_ON_TABLES = {_CONFIGS: ("SELECT", "INSERT", "UPDATE", "DELETE"), _HISTORY: ("SELECT",), _STORE: ("SELECT",)}
NEEDED_SEQUENCE = "llm_provider_configs_id_seq"
NEEDED_FUNCTIONS = ("lock_provider_store", "switch_active_provider", "prune_provider_history", "get_active_provider")

_LACKING = """
SELECT t.name || ': ' || wanted AS lacks FROM unnest($1::text[], $2::text[]) AS t (name, wanted)
WHERE NOT has_table_privilege(t.name, wanted)
UNION ALL SELECT $3 || ': USAGE' WHERE NOT has_sequence_privilege($3, 'USAGE')
UNION ALL SELECT f.name || ': EXECUTE' FROM unnest($4::text[]) AS f (name) WHERE NOT EXISTS (
    SELECT FROM pg_proc p WHERE p.proname = f.name AND p.pronamespace = 'public'::regnamespace
        AND has_function_privilege(p.oid, 'EXECUTE'))
UNION ALL SELECT DISTINCT t.name || ': a policy' FROM unnest($1::text[]) AS t (name)
WHERE row_security_active(t.name) AND NOT EXISTS (
    SELECT FROM pg_policy, unnest(polroles) AS granted (role) WHERE polrelid = t.name::regclass
        AND (granted.role = 0 OR pg_has_role(granted.role, 'USAGE')))
"""

_POWERS = """
SELECT current_user AS role, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb,
    (SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass($1)) AS owner,
    has_table_privilege($2, 'INSERT, UPDATE, DELETE, TRUNCATE') AS writes_history,
    has_table_privilege($3, 'INSERT, UPDATE, DELETE, TRUNCATE') AS numbers,
    has_schema_privilege('public', 'CREATE') AS creates
FROM pg_roles WHERE rolname = current_user
"""
_TOO_MUCH = {
    "rolsuper": "is a superuser",
    "owner": "owns the tables",
    "rolbypassrls": "bypasses row security",
    "rolcreaterole": "may create roles",
    "rolcreatedb": "may create databases",
    "writes_history": "may write history",
    "numbers": "may number revisions",
    "creates": "may create objects in the schema public",
}
# What has one of these has the rights that follow from it, too.
_IMPLIES = {"rolsuper": set(_TOO_MUCH), "owner": {"writes_history", "numbers", "creates"}}

_STRANGERS = """
WITH grantees (name) AS (
    SELECT 'public' UNION ALL SELECT rolname::text FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
)
SELECT g.name AS grantee, t.name AS thing FROM grantees g, unnest($1::text[]) AS t (name)
WHERE has_any_column_privilege(g.name, t.name, 'SELECT, INSERT, UPDATE')
    OR has_table_privilege(g.name, t.name, 'DELETE, TRUNCATE')
UNION ALL
SELECT g.name, p.proname FROM grantees g, pg_proc p
WHERE p.proname = ANY($2::text[]) AND p.pronamespace = 'public'::regnamespace
    AND has_function_privilege(g.name, p.oid, 'EXECUTE')
ORDER BY 1, 2
"""
_UNGUARDED = (
    "SELECT t.name FROM unnest($1::text[]) AS t (name) JOIN pg_class c ON c.oid = t.name::regclass"
    " WHERE NOT c.relrowsecurity"
)


async def rights(connection: Connection) -> Verdict:
    """Whether the role has what the daemon needs."""
    pairs = [(table, right) for table, granted in NEEDED_ON_TABLES.items() for right in granted]
    rows = await connection.fetch(
        _LACKING,
        [table for table, _ in pairs],
        [right for _, right in pairs],
        NEEDED_SEQUENCE,
        list(NEEDED_FUNCTIONS),
    )
    role = await connection.fetchval("SELECT quote_ident(current_user)")
    if rows:
        return problem(
            f"{role} lacks {', '.join(row['lacks'] for row in rows)}",
            f"as the owner run migrations/roles.sql, and GRANT providerd_daemon TO {role}",
        )
    return ok(f"{role} may do what the daemon does")


async def powers(case: Case, connection: Connection) -> Verdict:
    """Whether the role may do more than the daemon does."""
    row = await connection.fetchrow(_POWERS, _CONFIGS, _HISTORY, _STORE)
    if case.settings.database_url is None:
        return ok(f"{row['role']}, who owns the embedded database")
    had = [power for power in _TOO_MUCH if row[power]]
    implied = {each for power in had for each in _IMPLIES.get(power, set()) if each != power}
    if told := [_TOO_MUCH[power] for power in had if power not in implied]:
        return warning(
            f"{row['role']} {', '.join(told)}, so whoever has its password may, too",
            "as the owner run migrations/roles.sql, CREATE ROLE providerd_app LOGIN IN ROLE providerd_daemon, and name"
            " that in SUPABASE_DB_URL",
        )
    return ok(f"{row['role']} may do nothing beyond that")


async def strangers(connection: Connection) -> Verdict:
    """Whether anybody may see or do anything without having been granted it."""
    tables = [_CONFIGS, _HISTORY, _STORE, _BINDINGS]
    found = [
        problem(
            f"{row['grantee'].replace('public', 'PUBLIC')} may use {row['thing']}",
            "as the owner run migrations/roles.sql, which takes it back",
        )
        for row in await connection.fetch(_STRANGERS, tables, list(NEEDED_FUNCTIONS))
    ]
    found += [
        problem(f"{row['name']} has no row security", f"ALTER TABLE {row['name']} ENABLE ROW LEVEL SECURITY")
        for row in await connection.fetch(_UNGUARDED, tables)
    ]
    return worst(found, "PUBLIC, anon and authenticated may do nothing")
