"""Keeps API keys, which travel as bind parameters, out of PostgreSQL's own logs, or says that it cannot.

Sources: https://www.postgresql.org/docs/current/runtime-config-logging.html,
https://www.postgresql.org/docs/current/auto-explain.html and https://github.com/pgaudit/pgaudit
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from providerd_server.store.database import Connection

# The last column says whether any role may. A verbose plan quotes the arguments of functions, and a printed plan holds
# them too; a setting of a module that is not loaded is NULL here, and left alone.
_QUIET = """
SELECT set_config(name, quiet, false)
FROM (VALUES
    ('log_parameter_max_length_on_error', '0', true),
    ('debug_print_plan', 'off', true),
    ('log_parameter_max_length', '0', false),
    ('auto_explain.log_parameter_max_length', '0', false),
    ('auto_explain.log_verbose', 'off', false)
) AS settings (name, quiet, free)
WHERE current_setting(name, true) <> quiet AND (free OR {may_set});
"""

_SETTINGS = """
SELECT name, setting FROM pg_settings
WHERE name LIKE 'log\\_%' OR name LIKE 'auto\\_explain.%' OR name LIKE 'pgaudit.%' OR name = 'debug_print_plan'
"""


class QuietConnection(asyncpg.Connection):
    """A connection that stays quiet in a pool, which resets all settings on release: in the same round trip."""

    def get_reset_query(self) -> str:
        """What a pool runs on release."""
        return f"{asyncpg.Connection.get_reset_query(self)}\n{_quiet_query(self)}"


async def keep_quiet(connection: asyncpg.Connection) -> None:
    """Keeps the bind parameters of a new connection out of the server's logs, as far as its role may say so."""
    await connection.execute(_quiet_query(connection))


async def logging_warnings(connection: Connection) -> list[str]:
    """What to tell the operator of a server that would write API keys into its logs, in the session of ``connection``.

    One line for each: which setting, and what to do.
    """
    role = await connection.fetchval("SELECT quote_ident(current_user)")
    return warnings_of({row["name"]: row["setting"] for row in await connection.fetch(_SETTINGS)}, role)


def warnings_of(settings: Mapping[str, str], role: str) -> list[str]:
    """The warnings for settings as ``pg_settings`` has them. ``role`` is quoted as SQL wants it."""
    found = []
    if _length(settings, "log_parameter_max_length") and (logged := _logged_by(settings)):
        found.append((logged, "log_parameter_max_length = 0"))
    if _length(settings, "log_parameter_max_length_on_error"):
        found.append(("log_parameter_max_length_on_error", "log_parameter_max_length_on_error = 0"))
    if float(settings.get("auto_explain.log_min_duration", "-1")) >= 0:
        if _length(settings, "auto_explain.log_parameter_max_length"):
            found.append(("auto_explain.log_min_duration", "auto_explain.log_parameter_max_length = 0"))
        if settings.get("auto_explain.log_verbose") == "on":
            found.append(("auto_explain.log_verbose", "auto_explain.log_verbose = off"))
    if settings.get("pgaudit.log_parameter") == "on":
        found.append(("pgaudit.log_parameter", "pgaudit.log_parameter = off"))
    if settings.get("debug_print_plan") == "on":
        found.append(("debug_print_plan", "debug_print_plan = off"))
    return [
        f"with {cause}, PostgreSQL writes API keys and the passphrase into its log:"
        f" as a superuser run ALTER ROLE {role} SET {remedy}, then restart providerd"
        for cause, remedy in found
    ]


def _logged_by(settings: Mapping[str, str]) -> str:
    """The settings that have statements logged together with their bind parameters."""
    sampled = float(settings.get("log_statement_sample_rate", "1")) > 0
    causes = {
        "log_statement": settings.get("log_statement") == "all",
        "log_min_duration_statement": float(settings.get("log_min_duration_statement", "-1")) >= 0,
        "log_min_duration_sample": float(settings.get("log_min_duration_sample", "-1")) >= 0 and sampled,
        "log_transaction_sample_rate": float(settings.get("log_transaction_sample_rate", "0")) > 0,
    }
    return ", ".join(f"{name}={settings[name]}" for name, logs in causes.items() if logs)


def _length(settings: Mapping[str, str], name: str) -> bool:
    """Whether parameters are logged at any length; what lacks the setting, as an older auto_explain does, logs none."""
    return settings.get(name, "0") != "0"


def _quiet_query(connection: asyncpg.Connection) -> str:
    # Since PostgreSQL 15 a role can be granted to set what only superusers could.
    granted = connection.get_server_version().major >= 15
    may_set = "has_parameter_privilege(name, 'SET')" if granted else "current_setting('is_superuser')::boolean"
    return _QUIET.format(may_set=may_set)
