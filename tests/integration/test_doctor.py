"""`providerd doctor` as a whole: a healthy daemon, what it prints, how it ends, and how long it takes."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from providerd.secret import Secret
from providerd_server.doctor.examination import Check, LostError, Outcome, examine, ok, problem, warning
from providerd_server.embedded import EmbeddedPostgres
from tests.cli import Cli, Terminal
from tests.conftest import Psql
from tests.daemon import running_daemon
from tests.integration.doctored import (
    NOWHERE,
    PASSPHRASE,
    PASSWORD,
    Findings,
    doctor,
    examined,
    printed,
    proxied,
    run_sql,
    store_key,
    through,
    with_password,
)

# What is found where all is well, but for the PostgreSQL of the tests, which has a known hole.
HEALTHY = {
    "versions": r"providerd [\d.]+, Python [\d.]+, grpcio [\d.]+, protobuf [\d.]+, asyncpg [\d.]+",
    "settings": r"4 from the environment; \d+ by default",
    "key ring": r"k-[0-9a-f]{8} encrypts",
    "passphrase": r"DB_ENCRYPTION_KEY, which is not the published one, and long enough",
    "allowed hosts": r"public names",
    "exposure": r"127\.0\.0\.1:\d+, with neither TLS nor tokens",
    "access file": r"none: .*",
    "certificate": r"none: TLS is off",
    "database": r"postgresql://providerd_test_daemon@/\S+ answers within [\d.]+ ms",
    "encryption": r"none, and the way stays on this machine",
    "pooler": r"none in between",
    "primary": r"takes writes",
    "connections": r"\d+ are free, and a daemon uses up to 7",
    "encoding": r"UTF8",
    "pgcrypto": r"1\.\d+, in the schema public",
    "clock": r"the database's is 0\.\d s (ahead of|behind) this machine's",
    "statement log": r"records no API keys",
    "LISTEN": r"a notification came back within [\d.]+ ms",
    "tables": r"all are there",
    "schema": r"triggers and constraints are there and at work",
    "role": r"providerd_test_daemon may do what the daemon does",
    "role's powers": r"providerd_test_daemon may do nothing beyond that",
    "strangers": r"PUBLIC, anon and authenticated may do nothing",
    "keys": r"1 of 4 providers have one; readable, under the current passphrase, and bound",
    "active provider": r"groq, model openai/gpt-oss-120b",
    "daemon": r"serves at 127\.0\.0\.1:\d+",
    "daemon's revision": r"revision 2, verified [\d.]+ s ago, version [\d.]+",
}


@pytest.fixture(scope="module")
def healthy(cluster: EmbeddedPostgres, psql: Psql, template: str) -> Iterator[tuple[str, str]]:
    """The URL of a database in order, and the address of a daemon over it."""
    import asyncio

    admin, dsn = cluster.dsn("postgres"), cluster.dsn("healthy")
    assert psql(admin, "-c", f"CREATE DATABASE healthy TEMPLATE {template} STRATEGY WAL_LOG").returncode == 0
    asyncio.run(store_key(dsn, "groq"))
    with running_daemon(dsn, DB_ENCRYPTION_KEY=PASSPHRASE) as daemon:
        yield dsn, daemon.address
    assert psql(admin, "-c", "DROP DATABASE healthy WITH (FORCE)").returncode == 0


@pytest.fixture(scope="module")
def found(healthy: tuple[str, str]) -> Findings:
    dsn, address = healthy
    done = doctor("--json", SUPABASE_DB_URL=with_password(dsn), PROVIDERD_LISTEN=address, PROVIDERD_LOG_LEVEL="debug")
    assert done.returncode == 0, done.stdout
    return printed(done)


@pytest.mark.parametrize("check", HEALTHY)
def test_all_is_well(found: Findings, check: str) -> None:
    assert found[check].outcome is Outcome.OK, found[check]
    assert re.fullmatch(HEALTHY[check], found[check].found), found[check]


def test_nothing_else_is_looked_at_and_what_is_not_well_is_no_problem(found: Findings) -> None:
    others = {name: found[name] for name in found.keys() - HEALTHY.keys()}
    assert set(others) == {"server version", "migrations"}
    assert others["server version"].outcome is Outcome.WARNING
    assert others["server version"].found == "PostgreSQL 18.1 has CVE-2026-2005 in pgcrypto"
    assert others["server version"].hint == "update it to 18.2 or newer"
    # The ledger is the owner's alone, as migrations/roles.sql leaves it.
    assert others["migrations"].outcome is Outcome.SKIPPED
    assert "providerd migrate status" in others["migrations"].hint


def test_it_disturbs_no_daemon(healthy: tuple[str, str], found: Findings) -> None:
    """It changes nothing, so there is no revision after those of the fixture."""
    again = printed(doctor("--json", SUPABASE_DB_URL=with_password(healthy[0]), PROVIDERD_LISTEN=healthy[1]))
    assert again["daemon's revision"].found.startswith("revision 2,")
    assert found["daemon's revision"].found.startswith("revision 2,")


def test_for_people_there_is_a_line_for_each_and_one_for_what_to_do(healthy: tuple[str, str]) -> None:
    done = doctor(SUPABASE_DB_URL=with_password(healthy[0]), PROVIDERD_LISTEN=healthy[1])
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["ok", "ok"]
    told = lines.index(next(line for line in lines if line.startswith("warning  server version")))
    assert lines[told + 1].strip() == "→ update it to 18.2 or newer"
    assert lines[-1] == "no problems, 1 warning, 27 ok, 1 skipped"


def test_outcomes_are_coloured_on_a_terminal(healthy: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Here:
        address = healthy[1]

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with Terminal(Cli(Here(), None, ""), "doctor", "--data-dir", "/nowhere") as terminal:  # type: ignore[arg-type]
        assert terminal.end() == 1
    assert "\x1b[32mok" in terminal.seen
    assert "\x1b[1;31mproblem" in terminal.seen


async def test_a_problem_is_exit_code_1_and_what_takes_it_is_skipped() -> None:
    done = doctor("--json", SUPABASE_DB_URL=with_password(NOWHERE, None))
    assert done.returncode == 1
    found = printed(done)
    assert found["database"].outcome is Outcome.PROBLEM
    assert found["database"].found.startswith("cannot connect to the database: ")
    assert "SUPABASE_DB_URL" in found["database"].hint
    for name in ("schema", "keys", "LISTEN", "daemon's revision"):
        assert found[name].outcome is Outcome.SKIPPED
        assert found[name].found == "not looked at, for want of `database`"
    assert found["passphrase"].outcome is Outcome.OK


async def test_a_database_that_is_black_holed_holds_nothing_up(database: str) -> None:
    async with proxied(database) as proxy:
        proxy.hold()
        began = time.monotonic()
        found = await examined(through(proxy, database), role=None)
        assert time.monotonic() - began < 10
    assert found["database"].outcome is Outcome.PROBLEM
    assert "no answer in time" in found["database"].found
    assert found["LISTEN"].outcome is Outcome.SKIPPED


async def test_a_database_that_is_lost_meanwhile_holds_nothing_up(database: str) -> None:
    async with proxied(database) as proxy:

        def hold(data: bytes) -> bytes:
            if b"pg_is_in_recovery" in data:
                proxy.hold()
            return data

        proxy.up.edit = hold
        began = time.monotonic()
        found = await examined(through(proxy, database), role=None)
        assert time.monotonic() - began < 10
    assert found["pooler"].outcome is Outcome.OK
    assert found["primary"].outcome is Outcome.PROBLEM
    assert found["primary"].found == "the database was lost meanwhile: no answer in time"
    assert found["keys"].outcome is Outcome.SKIPPED
    assert found["daemon"].outcome is Outcome.WARNING


@pytest.mark.parametrize(
    ("url", "check"),
    [
        (f"postgresql://u:{PASSWORD}/x@db.example/d", "settings"),
        (f"postgresql://u:{PASSWORD}@x@db.example/d", "database"),
    ],
)
async def test_a_url_that_cannot_be_read_is_told_without_its_password(url: str, check: str) -> None:
    found = await examined("", supabase_db_url=Secret(url))
    assert found[check].outcome is Outcome.PROBLEM
    assert "SUPABASE_DB_URL cannot be read" in found[check].found
    assert found["daemon's revision"].outcome is Outcome.SKIPPED


async def test_what_was_lost_is_looked_for_by_nobody_else() -> None:
    looked: list[str] = []

    def lose() -> None:
        raise LostError("first", "it went")

    def look() -> None:
        looked.append("x")

    found = await examine(
        [Check("first", lambda: ok("there")), Check("second", lose), Check("third", look, ("first",))]
    )
    assert [each.outcome for each in found] == [Outcome.OK, Outcome.PROBLEM, Outcome.SKIPPED]
    assert looked == []


async def test_a_check_that_fails_itself_is_a_problem_and_tells_no_secret() -> None:
    def fail() -> None:
        raise KeyError(PASSPHRASE)

    [found, then] = await examine([Check("one", fail), Check("two", lambda: warning("odd", "mend it"))])
    assert found.outcome is Outcome.PROBLEM
    assert found.found == "the check itself failed: KeyError"
    assert "--debug" in found.hint
    assert then.outcome is Outcome.WARNING
    with pytest.raises(KeyError):
        await examine([Check("one", fail)], debug=True)


async def test_a_problem_keeps_nothing_from_being_looked_at_that_does_not_take_it() -> None:
    found = await examine(
        [
            Check("one", lambda: problem("bad", "mend")),
            Check("two", lambda: ok("fine")),
            Check("three", lambda: ok("fine"), ("one",)),
            Check("four", lambda: ok("fine"), ("three",)),
            Check("five", lambda: None),
        ]
    )
    assert [each.outcome.value for each in found] == ["problem", "ok", "skipped", "skipped"]
    assert found[3].hint == "mend `three` first"


def test_json_is_a_list_of_what_was_found(tmp_path: Path) -> None:
    done = doctor("--json", "--data-dir", str(tmp_path / "none"))
    assert done.returncode == 1
    assert all(set(each) == {"check", "outcome", "found", "hint"} for each in json.loads(done.stdout))


async def test_it_runs_beside_changes(database: str) -> None:
    with running_daemon(database, DB_ENCRYPTION_KEY=PASSPHRASE) as daemon:
        for _ in range(3):
            await run_sql(database, "UPDATE llm_provider_configs SET description = gen_random_uuid()::text")
            found = await examined(database, listen=daemon.address)
            assert found["daemon's revision"].outcome is Outcome.OK
