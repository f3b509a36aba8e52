"""Migrations and roles on a database like one of Supabase.

Its owner is no superuser but may create roles, pgcrypto is in a schema of its own, and whatever the owner makes in
public is granted to the roles of the web: https://supabase.com/docs/guides/database/postgres/roles
"""

from collections.abc import Iterator

import asyncpg
import pytest

from tests.conftest import Psql
from tests.integration.database_server import database_server, server_directory
from tests.integration.sql import FILES, ROLES, connected, refused
from tests.integration.test_schema_roles import CONFIGS, SET_KEY, TABLES, granted

OWNER, DAEMON, READER = "postgres", "the_daemon", "the_reader"
WEB = ["anon", "authenticated", "service_role"]

PROJECT = f"""
CREATE ROLE {OWNER} LOGIN CREATEROLE;
CREATE ROLE anon LOGIN;
CREATE ROLE authenticated LOGIN;
CREATE ROLE service_role LOGIN BYPASSRLS;
CREATE SCHEMA extensions;
CREATE EXTENSION pgcrypto SCHEMA extensions;
GRANT USAGE ON SCHEMA extensions TO anon, authenticated, service_role;
GRANT ALL ON SCHEMA extensions TO {OWNER} WITH GRANT OPTION;
ALTER SCHEMA public OWNER TO {OWNER};
SET ROLE {OWNER};
GRANT USAGE ON SCHEMA public TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON SEQUENCES TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON FUNCTIONS TO anon, authenticated, service_role;
"""
LOGINS = f"""
CREATE ROLE {DAEMON} LOGIN;
ALTER ROLE {DAEMON} SET search_path = public, extensions;
GRANT providerd_daemon TO {DAEMON};
CREATE ROLE {READER} LOGIN;
GRANT providerd_reader TO {READER};
SET search_path = public, extensions;
{SET_KEY.replace("$1", "'groq'")};
"""


class Project:
    """Where each role reaches the database."""

    def __init__(self, dsn: str) -> None:
        self._place = dsn.partition("@")[2]

    def url(self, role: str) -> str:
        return f"postgresql://{role}@{self._place}"


@pytest.fixture(scope="module")
def project(psql: Psql) -> Iterator[Project]:
    with (
        server_directory() as directory,
        database_server(directory, {}, hba="local all all trust\n") as server,
    ):
        project = Project(server.dsn())
        assert psql(server.dsn(), input=PROJECT).returncode == 0
        for file in [*FILES, ROLES, ROLES]:
            done = psql(project.url(OWNER), "-f", str(file))
            assert done.returncode == 0, done.stderr
        assert "not granted to providerd_daemon: permission denied for parameter" in done.stderr
        assert psql(project.url(OWNER), input=LOGINS).returncode == 0
        yield project


@pytest.mark.parametrize("web", WEB)
async def test_the_roles_of_the_web_see_nothing(project: Project, web: str) -> None:
    async with connected(project.url(OWNER)) as owner:
        assert await granted(owner, web) == set()
    async with connected(project.url(web)) as db:
        for table in TABLES:
            with refused("42501"):
                await db.execute(f"SELECT count(*) FROM {table}")
        for call in ("get_active_provider()", "switch_active_provider('groq')", "lock_provider_store()"):
            with refused("42501"):
                await db.execute(f"SELECT {call}")


async def test_what_the_owner_makes_otherwise_is_granted_to_them(project: Project) -> None:
    async with connected(project.url(OWNER)) as owner:
        await owner.execute("CREATE TABLE another_application ()")
        assert "another_application: SELECT" in await granted(owner, "anon")
        await owner.execute("DROP TABLE another_application")


async def test_the_daemon_encrypts_and_decrypts(project: Project) -> None:
    async with connected(project.url(DAEMON)) as db:
        await db.execute(SET_KEY, "chatgpt")
        stored = f"SELECT api_key_encrypted FROM {CONFIGS} WHERE provider_name = 'chatgpt'"
        assert await db.fetchval(f"SELECT pgp_sym_decrypt(decode(({stored}), 'hex'), 'p')") == "sk-clear"
        assert await db.fetchval("SELECT pg_has_role('providerd_daemon', 'USAGE')")


async def test_the_reader_sees_no_key(project: Project) -> None:
    async with connected(project.url(READER)) as db:
        assert await db.fetchval("SELECT has_api_key FROM get_active_provider()")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await db.execute(f"SELECT api_key_encrypted FROM {CONFIGS}")
