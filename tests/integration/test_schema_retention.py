"""Who may prune the history can prune its oldest part only, and leaves a trace."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.conftest import Psql
from tests.daemon import DAEMON_ROLE, as_role
from tests.integration.sql import FILES, KEYS, ROLES, connected, refused

AGE = "UPDATE llm_provider_config_history SET changed_at = now() - $1::text::interval WHERE revision <= $2"
COUNT = "SELECT count(*) FROM llm_provider_config_history"


@pytest.fixture
async def owner(database: str) -> AsyncIterator[asyncpg.Connection]:
    """The owner of a database with a past: five revisions after the first, all of groq."""
    async with connected(database) as db:
        for turn in range(5):
            await db.execute("UPDATE llm_provider_configs SET description = $1 WHERE provider_name = 'groq'", str(turn))
        yield db


@pytest.fixture
async def daemon(database: str) -> AsyncIterator[asyncpg.Connection]:
    """Logged in as the daemon is."""
    async with connected(as_role(database, DAEMON_ROLE)) as db:
        yield db


async def trace(db: asyncpg.Connection) -> dict[str, Any]:
    return dict(await db.fetchrow("SELECT pruned_entries, pruned_by, pruned_at FROM llm_provider_store"))


@pytest.mark.parametrize(
    "before", ["'infinity'", "NULL", "now()", "now() + interval '1 year'", "now() - interval '1 day'"]
)
async def test_what_is_young_is_not_forgotten_whoever_asks(
    owner: asyncpg.Connection, daemon: asyncpg.Connection, before: str
) -> None:
    # Revision 1 created groq, and 2 to 6 changed it; 1 to 3 are old enough, and 4 is by an hour not.
    await owner.execute(AGE, "29 days 23 hours", 4)
    await owner.execute(AGE, "30 days 1 hour", 3)
    everything = await owner.fetchval(COUNT)
    for db in (daemon, owner):
        await db.execute(f"SELECT prune_provider_history({before})")
    # The third is what the fourth builds on, and so are the creations of the other providers.
    assert await owner.fetchval(COUNT) == everything - 2
    kept = await owner.fetch("SELECT revision FROM llm_provider_config_history WHERE provider_name = 'groq' ORDER BY 1")
    assert [row["revision"] for row in kept] == [3, 4, 5, 6]
    assert await owner.fetchval("SELECT oldest_revision FROM llm_provider_store") == 4


async def test_the_owner_says_for_how_long(owner: asyncpg.Connection, daemon: asyncpg.Connection) -> None:
    await owner.execute(AGE, "1 year", 5)
    await owner.execute("UPDATE llm_provider_store SET shortest_retention = '2 years'")
    assert await daemon.fetchval("SELECT prune_provider_history('infinity')") == 0
    await owner.execute("UPDATE llm_provider_store SET shortest_retention = '0'")
    assert await daemon.fetchval("SELECT prune_provider_history('infinity')") == 4
    with refused("23514"):
        await owner.execute("UPDATE llm_provider_store SET shortest_retention = '-1 day'")
    with refused("23502"):
        await owner.execute("UPDATE llm_provider_store SET shortest_retention = NULL")


async def test_a_longer_time_than_the_shortest_is_kept(owner: asyncpg.Connection, daemon: asyncpg.Connection) -> None:
    await owner.execute(AGE, "60 days", 6)
    assert await daemon.fetchval("SELECT prune_provider_history(now() - interval '90 days')") == 0


async def test_a_trace_says_who_forgot_how_much_and_when(owner: asyncpg.Connection, daemon: asyncpg.Connection) -> None:
    await owner.execute(AGE, "1 year", 6)
    assert await trace(owner) == {"pruned_entries": 0, "pruned_by": None, "pruned_at": None}
    assert await daemon.fetchval("SELECT prune_provider_history(now(), 3)") == 3
    first = await trace(daemon)
    assert (first["pruned_entries"], first["pruned_by"]) == (3, DAEMON_ROLE)
    assert await owner.fetchval("SELECT prune_provider_history(now())") == 1
    second = await trace(owner)
    assert (second["pruned_entries"], second["pruned_by"]) == (4, "providerd")
    assert second["pruned_at"] > first["pruned_at"]
    # To forget nothing is nothing to tell of.
    assert await daemon.fetchval("SELECT prune_provider_history(now())") == 0
    assert await trace(owner) == second


async def test_the_log_of_the_server_knows_every_pruning_and_psql_is_told_of_the_bound(
    psql: Psql, database: str, owner: asyncpg.Connection
) -> None:
    await owner.execute(AGE, "1 year", 6)
    prune = "SET client_min_messages = {}; SELECT prune_provider_history({})"
    done = psql(database, "-c", prune.format("log", "now() - interval '90 days', 4"))
    assert "LOG:  providerd: providerd pruned 4 entries of the history, up to " in done.stderr
    assert "NOTICE" not in done.stderr
    done = psql(database, "-c", prune.format("notice", "'infinity'"))
    assert "NOTICE:  pruning up to " in done.stderr
    assert "only, as shortest_retention of llm_provider_store says" in done.stderr


async def test_003_run_again_alone_takes_the_right_to_prune_away_and_004_brings_it_back(
    psql: Psql, database: str, owner: asyncpg.Connection, daemon: asyncpg.Connection
) -> None:
    await owner.execute("UPDATE llm_provider_store SET shortest_retention = '7 days'")
    assert psql(database, "-f", str(FILES[FILES.index(KEYS) - 1])).returncode == 0
    with refused("42501"):
        await daemon.execute("SELECT prune_provider_history('infinity')")
    for file in (KEYS, ROLES):
        assert psql(database, "-f", str(file)).returncode == 0
    assert await daemon.fetchval("SELECT prune_provider_history('infinity')") == 0
    assert str(await owner.fetchval("SELECT shortest_retention FROM llm_provider_store")) == "7 days, 0:00:00"
