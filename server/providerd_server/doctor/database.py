"""Checks of the database as a server: whether it is reached, as what, and how well."""

from __future__ import annotations

import time

from providerd_server.doctor.case import PATIENCE, Case
from providerd_server.doctor.examination import Verdict, ok, parted, problem, warning, worst
from providerd_server.pgversion import OLDEST_MAJOR, version_warning
from providerd_server.settings import Settings
from providerd_server.source.listener import echo_seconds
from providerd_server.source.trouble import summary
from providerd_server.store.database import CONNECTION_ERRORS, Connection
from providerd_server.store.statement_logging import logging_warnings
from providerd_server.store.tls import Trust, is_local_way, is_verified_way

_SLOW = 0.1
_CLOCKS_APART = 5.0

# What a daemon has beside its pool: the connection that reads and the one that listens.
_BESIDE_POOL = 2

# numbackends is seen by every role, unlike the kind of other roles' sessions.
_FREE = """
SELECT least(
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0)
        - (SELECT sum(numbackends) FROM pg_stat_database),
    CASE WHEN r.rolconnlimit >= 0 THEN
        r.rolconnlimit - (SELECT count(*) FROM pg_stat_activity a WHERE a.usesysid = r.oid) END,
    CASE WHEN d.datconnlimit >= 0 THEN
        d.datconnlimit - (SELECT count(*) FROM pg_stat_activity a WHERE a.datid = d.oid) END
)::int
FROM pg_roles r, pg_database d WHERE r.rolname = session_user AND d.datname = current_database()
"""

_PGCRYPTO = """
SELECT extversion AS version, nspname AS schema,
    to_regprocedure('pgp_sym_encrypt(text, text, text)') IS NOT NULL AS seen
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'pgcrypto'
"""

_READ_ONLY = """
SELECT pg_is_in_recovery() AS standby, current_setting('transaction_read_only') = 'on' AS read_only,
    quote_ident(current_database()) AS name
"""


async def reached(case: Case) -> Verdict:
    """Whether it answers, and how fast."""
    seconds = await case.reach()
    found = f"{case.database.place} answers within {1000 * seconds:.1f} ms"
    if seconds > _SLOW:
        return warning(found, "run the daemon closer to its database: each write takes several round trips")
    return ok(found)


async def server_version(settings: Settings, connection: Connection) -> Verdict:
    """Whether it is new enough, and without known holes."""
    number = int(await connection.fetchval("SHOW server_version_num"))
    major, minor = divmod(number, 10_000)
    if major < OLDEST_MAJOR:
        return problem(f"PostgreSQL {major}.{minor}", f"move to PostgreSQL {OLDEST_MAJOR} or newer")
    if (told := version_warning(number)) is not None:
        found, update = parted(told)
        own = "the embedded one is for development: set SUPABASE_DB_URL to a server of your own"
        return warning(found, own if settings.database_url is None else update)
    return ok(f"PostgreSQL {major}.{minor}")


async def encryption(case: Case, connection: Connection) -> Verdict:
    """Whether others could read or change what is sent to it."""
    row = await connection.fetchrow("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    version = row["version"] if row and row["ssl"] else None
    if is_local_way(case.database.url):
        return ok(f"{version or 'none'}, and the way stays on this machine")
    if not is_verified_way(case.database.url, Trust.of(case.settings)):
        return warning(
            f"{version or 'none'}, and nobody has proved to be the database",
            "leave sslmode out of SUPABASE_DB_URL, unset PROVIDERD_DATABASE_INSECURE, and name the authority with"
            " PROVIDERD_DATABASE_CA_FILE",
        )
    if version is None:
        return warning(
            "verified up to a pooler, and none from there to the database",
            "connect to the database itself, or have the pooler use TLS",
        )
    return ok(f"{version}, verified")


async def pooler(case: Case, connection: Connection) -> Verdict:
    """Whether a pooler is in between, which takes sessions from one server process to another."""
    if case.database.pooled:
        return warning(
            "port 6543 is that of a transaction pooler: changes are polled for, and come seconds later",
            "use the direct address or the session pooler on port 5432 in SUPABASE_DB_URL",
        )
    # What answers for a server process makes up a number of its own for it.
    told: int = connection.get_server_pid()
    if told != await connection.fetchval("SELECT pg_backend_pid()"):
        return ok("one is in between; whether it hands out whole sessions, LISTEN tells")
    return ok("none in between")


async def primary(connection: Connection) -> Verdict:
    """Whether it takes writes."""
    row = await connection.fetchrow(_READ_ONLY)
    if row["standby"]:
        return problem(
            "a standby, which takes no writes",
            "name the primary in SUPABASE_DB_URL, or all hosts and target_session_attrs=read-write",
        )
    if row["read_only"]:
        return problem(
            "transactions are read-only by default",
            f"ALTER DATABASE {row['name']} RESET default_transaction_read_only, and the same for the role",
        )
    return ok("takes writes")


async def free_connections(settings: Settings, connection: Connection) -> Verdict:
    """Whether there are as many as a daemon uses."""
    free, used = await connection.fetchval(_FREE), settings.pool_size + _BESIDE_POOL
    found = f"{free} are free, and a daemon uses up to {used}"
    hint = "raise max_connections or the limit of the role, end what holds them, or lower PROVIDERD_POOL_SIZE"
    if free <= 0:
        return problem(found, hint)
    return warning(found, hint) if free < used else ok(found)


async def pgcrypto(connection: Connection) -> Verdict:
    """Whether keys can be encrypted."""
    row = await connection.fetchrow(_PGCRYPTO)
    role = await connection.fetchval("SELECT quote_ident(current_user)")
    if row is None:
        return problem("not installed", "as a role that may: CREATE EXTENSION pgcrypto")
    if not row["seen"]:
        return problem(
            f"in the schema {row['schema']}, where {role} does not look",
            f"ALTER ROLE {role} SET search_path = public, {row['schema']}; and GRANT USAGE ON SCHEMA {row['schema']}",
        )
    return ok(f"{row['version']}, in the schema {row['schema']}")


async def encoding(connection: Connection) -> Verdict:
    """Whether it takes every text."""
    found = await connection.fetchval("SHOW server_encoding")
    if found != "UTF8":
        return problem(found, "make a database WITH ENCODING 'UTF8' TEMPLATE template0, and move over with pg_dump")
    return ok(found)


async def clock(connection: Connection) -> Verdict:
    """How far its clock is from this machine's, as of the middle of a round trip."""
    # The first time the statement is prepared, which is a round trip of its own.
    for _ in range(2):
        before = time.time()
        there = await connection.fetchval("SELECT clock_timestamp()")
        after = time.time()
    apart = there.timestamp() - (before + after) / 2
    found = f"the database's is {abs(apart):.1f} s {'ahead of' if apart > 0 else 'behind'} this machine's"
    if abs(apart) > _CLOCKS_APART:
        return warning(found, "have NTP set both: tokens expire by this machine's, the history goes by the database's")
    return ok(found)


async def statement_log(connection: Connection) -> Verdict:
    """Whether the server would write keys into its log."""
    return worst([warning(*parted(each)) for each in await logging_warnings(connection)], "records no API keys")


async def listening(case: Case) -> Verdict:
    """Whether a notification arrives, as changes must."""
    try:
        seconds = await echo_seconds(case.database, PATIENCE)
    except CONNECTION_ERRORS as error:
        return problem(f"no further connection: {summary(error)}", "see what `connections` says, and run again")
    if seconds is None:
        return warning(
            f"no notification came back within {PATIENCE:g} s, so changes are polled for,"
            f" each {case.settings.poll_interval:g} s",
            "most often a transaction pooler is in between: use a direct or session-pooled address in SUPABASE_DB_URL",
        )
    return ok(f"a notification came back within {1000 * seconds:.1f} ms")
