"""`providerd keys`: what it says of the keys, and that it moves them all, without the owner's rights."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from providerd.secret import Secret
from providerd_server.embedded import EmbeddedPostgres
from providerd_server.settings import PUBLISHED_PASSPHRASE
from providerd_server.store import Database, Transactions
from providerd_server.store.rotation import Rotation
from providerd_server.store.sealed import SealedKey
from tests.conftest import Psql
from tests.daemon import DAEMON_ROLE, PROVIDERD, as_role, clean_environment, running_daemon
from tests.docs_runner import ROOT, Shell, check
from tests.integration.keyed import (
    NEW,
    OLD,
    by_sql,
    decrypted_by_sql,
    learned,
    past_the_triggers,
    ring,
    row_of,
    rows_of,
)
from tests.integration.sql import REQUEST, RESPONSE, insert_provider, revision

RING = {"DB_ENCRYPTION_KEY": NEW, "DB_ENCRYPTION_KEY_PREVIOUS": OLD}
SEALING = {"DB_ENCRYPTION_KEY": OLD, "DB_ENCRYPTION_KEY_PREVIOUS": ""}
NAMES = ["a", "b", "c", "d", "e"]
HERE = "https://api.example.com:443"


def keys(dsn: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs `providerd keys` as the daemon's account, with the new passphrase and the old one."""
    done = subprocess.run(
        [PROVIDERD, "keys", *arguments],
        env={**clean_environment(), "SUPABASE_DB_URL": as_role(dsn, DAEMON_ROLE), **RING, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    for secret in (NEW, OLD, "sk-"):
        assert secret not in done.stdout + done.stderr
    return done


@pytest.fixture
async def db(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to five providers with keys under the old passphrase, beside those of the seed without."""
    connection = await asyncpg.connect(database)
    for name in NAMES:
        documents = {"request_builder_config": json.dumps(REQUEST), "response_extractor_config": json.dumps(RESPONSE)}
        await insert_provider(connection, name, **documents)
        await by_sql(connection, name, f"sk-{name}", OLD)
    yield connection
    await connection.close()


async def by_name(db: asyncpg.Connection, passphrase: str) -> dict[str, str]:
    return {name: await decrypted_by_sql(db, name, passphrase) for name in NAMES}


async def test_without_keys_there_is_nothing_to_do(database: str) -> None:
    status = keys(database, "status")
    assert status.returncode == 0, status.stderr
    assert status.stdout.splitlines()[0].split() == ["provider", "encryption", "key", "current", "bound", "decrypts"]
    assert "groq" in status.stdout
    rotated = keys(database, "rotate")
    assert rotated.returncode == 0
    assert rotated.stdout == f"done: re-encrypted 0 keys; 0 decrypt with {ring(NEW).current.id} alone\n"


async def test_status_tells_every_kind_of_key(database: str, db: asyncpg.Connection) -> None:
    old, new = ring(OLD).current.id, ring(NEW).current.id
    assert keys(database, "rotate", **SEALING).returncode == 0
    await by_sql(db, "b", "sk-b", OLD)
    await by_sql(db, "c", "sk-c", NEW)
    await by_sql(db, "d", "sk-d", "a passphrase nobody remembers")
    status = keys(database, "status", "--json")
    assert status.returncode == 1
    found = {each.pop("provider_name"): each for each in json.loads(status.stdout)}
    kept: dict[str, Any] = {"has_key": True, "problem": None, "is_readable": True, "needs_attention": True}
    kept["destination"] = HERE
    assert found["a"] == {**kept, "key_id": old, "is_current": False, "is_bound": True}
    assert found["b"] == {**kept, "key_id": old, "is_current": False, "is_bound": False}
    assert found["c"] == {**kept, "key_id": new, "is_current": True, "is_bound": False}
    assert found["d"]["key_id"] is None
    assert not found["d"]["is_readable"]
    assert "no passphrase of the key ring decrypts it" in found["d"]["problem"]
    assert (found["groq"]["has_key"], found["groq"]["needs_attention"]) == (False, False)
    assert "the key of provider 'd' cannot be read" in status.stderr
    rows = {line.split()[0]: line.split()[1:] for line in keys(database, "status").stdout.splitlines()}
    assert rows["a"] == [old, "no", "yes", "yes"]
    assert rows["d"] == ["unknown", "no", "no", "no"]
    assert rows["groq"] == ["none", "-", "-", "-"]


async def test_rotation_moves_and_binds_every_key(database: str, db: asyncpg.Connection) -> None:
    before = await revision(db)
    rotated = keys(database, "rotate", "--batch-size", "2", "--reason", "leaver", "--actor", "ann")
    assert rotated.returncode == 0, rotated.stderr
    assert rotated.stdout.splitlines() == [
        f"sealed what had no seal: a, for {HERE}",
        f"sealed what had no seal: b, for {HERE}",
        "re-encrypted 2, 3 left",
        f"sealed what had no seal: c, for {HERE}",
        f"sealed what had no seal: d, for {HERE}",
        "re-encrypted 4, 1 left",
        f"sealed what had no seal: e, for {HERE}",
        "re-encrypted 5, 0 left",
        f"done: re-encrypted 5 keys; 5 decrypt with {ring(NEW).current.id} alone",
    ]
    assert await revision(db) == before + 3
    assert await by_name(db, NEW) == {name: f"sk-{name}" for name in NAMES}
    found = [SealedKey.in_row(row) for row in await rows_of(db) if row["provider_name"] in NAMES]
    assert all(sealed is not None and sealed.is_bound_by(ring(NEW).current) for sealed in found)
    history = await db.fetch(
        "SELECT DISTINCT action, reason, changed_by FROM llm_provider_config_history WHERE revision > $1", before
    )
    assert [tuple(entry) for entry in history] == [("key_changed", "key rotation: leaver", "ann")]
    assert keys(database, "status", DB_ENCRYPTION_KEY_PREVIOUS="").returncode == 0
    assert keys(database, "rotate").stdout.startswith("done: re-encrypted 0 keys; 5 decrypt")
    assert await revision(db) == before + 3


async def test_a_dry_run_changes_nothing(database: str, db: asyncpg.Connection) -> None:
    assert keys(database, "rotate", **SEALING).returncode == 0
    await by_sql(db, "d", "sk-d", OLD)
    before, number = await rows_of(db), await revision(db)
    planned = keys(database, "rotate", "--dry-run")
    assert planned.returncode == 0
    assert planned.stdout.splitlines() == [
        f"would seal what has no seal: d, for {HERE}",
        "would re-encrypt 5 of 5 keys: a, b, c, d, e",
    ]
    assert await rows_of(db) == before
    assert await revision(db) == number


async def test_what_cannot_be_read_is_reported_and_left_alone(database: str, db: asyncpg.Connection) -> None:
    await by_sql(db, "b", "sk-b", "a passphrase nobody remembers")
    assert keys(database, "rotate", "--dry-run").returncode == 4
    assert keys(database, "rotate").returncode == 4
    await past_the_triggers(
        db, "UPDATE llm_provider_configs SET base_url = 'https://evil.example' WHERE provider_name = 'd'"
    )
    before = [await row_of(db, name) for name in ("b", "d")]
    rotated = keys(database, "rotate")
    assert rotated.returncode == 4
    assert "the key of provider 'b' is left alone: no passphrase of the key ring" in rotated.stderr
    assert "the key of provider 'd' is left alone: its seal does not fit" in rotated.stderr
    assert rotated.stderr.splitlines()[-1].startswith("error: left alone: the keys of b, d;")
    assert "3 decrypt with" in rotated.stdout
    assert [await row_of(db, name) for name in ("b", "d")] == before
    status = keys(database, "status", DB_ENCRYPTION_KEY_PREVIOUS="")
    assert status.returncode == 1


async def test_a_row_that_the_schema_no_longer_takes_holds_up_no_other(database: str, db: asyncpg.Connection) -> None:
    await past_the_triggers(db, "UPDATE llm_provider_configs SET http_method = 'FETCH' WHERE provider_name = 'c'")
    rotated = keys(database, "rotate")
    assert rotated.returncode == 4
    assert "the key of provider 'c' is left alone: it cannot be stored anew: " in rotated.stderr
    assert "http_method must be GET, POST, PUT or PATCH" in rotated.stderr
    assert "done: re-encrypted 4 keys; 4 decrypt with" in rotated.stdout
    assert await decrypted_by_sql(db, "c", OLD) == "sk-c"


MOVED = "UPDATE llm_provider_configs SET {} api_key_mac = NULL WHERE provider_name = 'd'"
STOLEN = (
    "UPDATE llm_provider_configs d SET base_url = 'https://evil.example', api_key_mac = NULL,"
    " api_key_id = c.api_key_id, api_key_encrypted = c.api_key_encrypted"
    " FROM llm_provider_configs c WHERE c.provider_name = 'c' AND d.provider_name = 'd'"
)
ELSEWHERE = "it has no seal and was stored for another destination than {}; find out who moved it past the triggers"


@pytest.mark.parametrize("current", [OLD, NEW])
@pytest.mark.parametrize(
    ("statement", "told"),
    [
        pytest.param(
            MOVED.format("base_url = 'https://evil.example',"),
            ELSEWHERE.format("https://evil.example:443"),
            id="another host",
        ),
        pytest.param(
            MOVED.format("api_key_id = NULL, base_url = 'https://api.example.com:8443',"),
            ELSEWHERE.format("https://api.example.com:8443"),
            id="another port, and as if plain SQL had stored it",
        ),
        pytest.param(STOLEN, "it has no seal and was stored for another provider", id="another provider"),
    ],
)
async def test_a_key_moved_past_the_triggers_gets_no_seal(
    database: str, db: asyncpg.Connection, statement: str, told: str, current: str
) -> None:
    """What the owner of the tables could do before: have the rotation itself hide that a seal was taken away."""
    assert keys(database, "rotate", DB_ENCRYPTION_KEY=current, DB_ENCRYPTION_KEY_PREVIOUS=OLD).returncode == 0
    whole = await row_of(db, "d")
    await past_the_triggers(db, statement)
    before, number = await rows_of(db), await revision(db)
    planned = keys(database, "rotate", "--dry-run")
    assert planned.returncode == 4
    assert f"the key of provider 'd' is left alone: {told}" in planned.stderr
    assert (await rows_of(db), await revision(db)) == (before, number)
    rotated = keys(database, "rotate")
    assert rotated.returncode == 4
    assert f"the key of provider 'd' is left alone: {told}" in rotated.stderr
    assert rotated.stderr.splitlines()[-1].startswith("error: left alone: the keys of d;")
    assert "4 decrypt with" in rotated.stdout
    assert "sealed what had no seal" not in rotated.stdout
    assert await row_of(db, "d") == next(row for row in before if row["provider_name"] == "d")
    # Put right, it is a key like any other without a seal.
    await past_the_triggers(
        db,
        f"UPDATE llm_provider_configs SET base_url = '{whole['base_url']}', api_key_id = NULL, api_key_mac = NULL,"
        f" api_key_encrypted = '{whole['api_key_encrypted']}' WHERE provider_name = 'd'",
    )
    mended = keys(database, "rotate")
    assert mended.returncode == 0, mended.stderr
    assert f"sealed what had no seal: d, for {HERE}\n" in mended.stdout
    assert await by_name(db, NEW) == {name: f"sk-{name}" for name in NAMES}


async def test_who_forges_what_the_database_knows_is_seen_all_the_same(database: str, db: asyncpg.Connection) -> None:
    await past_the_triggers(db, MOVED.format("base_url = 'https://evil.example',"))
    await db.execute("DELETE FROM llm_provider_key_bindings")
    for arguments, told in ((["--dry-run"], "would seal what has no seal"), ([], "sealed what had no seal")):
        rotated = keys(database, "rotate", *arguments)
        assert rotated.returncode == 0
        assert f"{told}: d, for https://evil.example:443\n" in rotated.stdout


async def test_a_renamed_provider_has_its_key_sealed_again(database: str, db: asyncpg.Connection) -> None:
    assert keys(database, "rotate").returncode == 0
    await db.execute(r"UPDATE llm_provider_configs SET provider_name = E'd\x1b[2J' WHERE provider_name = 'd'")
    rotated = keys(database, "rotate")
    assert rotated.returncode == 0, rotated.stderr
    # And a name is not what the terminal obeys.
    assert rf"sealed what had no seal: d\x1b[2J, for {HERE}" in rotated.stdout.splitlines()
    assert keys(database, "status").returncode == 0


async def test_a_key_that_changes_meanwhile_is_not_overwritten(database: str, db: asyncpg.Connection) -> None:
    assert keys(database, "rotate", **SEALING).returncode == 0
    settings = Database(Secret(as_role(database, DAEMON_ROLE)), lock_timeout=30, write_timeout=60)
    pool = await settings.create_pool()
    told: list[int] = []
    rotation = Rotation(Transactions(settings, pool), ring(NEW, OLD))
    async with db.transaction():
        await db.execute("SELECT lock_provider_store()")
        running = asyncio.create_task(
            rotation.run(batch_size=5, reason="r", actor="a", progress=lambda moved, *_: told.append(moved))
        )
        await until_queued(db)
        # All five are read and encrypted anew by now, and wait to be written.
        await by_sql(db, "b", "sk-changed", OLD)
    rotated = await running
    await pool.close()
    assert told == [4, 5]
    assert (rotated.moved, rotated.verified, rotated.problems) == (5, 5, {})
    assert await by_name(db, NEW) == {**{name: f"sk-{name}" for name in NAMES}, "b": "sk-changed"}


async def until_queued(db: asyncpg.Connection) -> None:
    async with asyncio.timeout(30):
        # Not pg_stat_activity, which stays what it was for as long as this transaction lasts.
        while not await db.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("weak", [PUBLISHED_PASSPHRASE, "fifteen letters"])
async def test_rotation_to_a_weak_passphrase_is_for_development(
    database: str, db: asyncpg.Connection, weak: str
) -> None:
    before = await rows_of(db)
    refused = keys(database, "rotate", DB_ENCRYPTION_KEY=weak)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: keys are encrypted with")
    assert weak not in refused.stderr
    assert await rows_of(db) == before
    told = keys(database, "rotate", DB_ENCRYPTION_KEY=weak, PROVIDERD_DEV="true")
    assert told.returncode == 0
    assert "[WEAK_PASSPHRASE]" in told.stderr
    # And away from it again.
    assert keys(database, "rotate", DB_ENCRYPTION_KEY_PREVIOUS=weak).returncode == 0
    assert await by_name(db, NEW) == {name: f"sk-{name}" for name in NAMES}


async def test_passphrases_move_into_a_file_and_take_names(
    database: str, db: asyncpg.Connection, tmp_path: Path
) -> None:
    assert keys(database, "rotate").returncode == 0
    file = tmp_path / "keys"
    file.write_text(f"spring = {NEW}\nwinter = {OLD}\n")
    file.chmod(0o600)
    named: dict[str, Any] = {
        "DB_ENCRYPTION_KEY": "",
        "DB_ENCRYPTION_KEY_PREVIOUS": "",
        "PROVIDERD_ENCRYPTION_KEYS_FILE": str(file),
    }
    assert keys(database, "status", **named).returncode == 0
    file.write_text(f"summer = a passphrase of the summer\nspring = {NEW}\n")
    assert keys(database, "status", **named).returncode == 1
    assert keys(database, "rotate", **named).returncode == 0
    assert {row["api_key_id"] for row in await rows_of(db) if row["api_key_encrypted"]} == {"summer"}
    file.write_text("summer = a passphrase of the summer\n")
    assert keys(database, "status", **named).returncode == 0


async def test_it_works_on_the_embedded_database_of_a_running_daemon(open_directory: Path) -> None:
    data_dir = str(open_directory / "data")
    with running_daemon("", PROVIDERD_DATA_DIR=data_dir, DB_ENCRYPTION_KEY=OLD):
        status = keys("", "status", "--data-dir", data_dir)
        assert status.returncode == 0, status.stderr
        assert "groq" in status.stdout


def test_a_database_that_is_away_is_7(tmp_path: Path) -> None:
    done = keys(f"postgresql://u@/d?host={tmp_path}", "status")
    assert done.returncode == 7
    assert done.stderr.count("\n") == 1


async def test_a_daemon_with_both_passphrases_reads_through_it_all(database: str, db: asyncpg.Connection) -> None:
    with running_daemon(database, **RING) as daemon:
        assert keys(database, "rotate").returncode == 0
        found = await learned(db, NEW)
        assert all(found.of(row) for row in await rows_of(db) if row["provider_name"] in NAMES)
        daemon.stop()
        assert "cannot be decrypted" not in daemon.log.read_text()


def test_the_how_to_says_what_happens(database: str, tmp_path: Path, cluster: EmbeddedPostgres, psql: Psql) -> None:
    for name in ("google_ai", "groq"):
        stored = psql(
            database,
            "-c",
            f"UPDATE llm_provider_configs SET api_key_encrypted = pgp_sym_encrypt('sk-{name}', '{OLD}')"
            f" WHERE provider_name = '{name}'",
        )
        assert stored.returncode == 0, stored.stderr
    with running_daemon(database, **RING) as daemon:
        shell = Shell(tmp_path, daemon.address, cluster, {**RING, "SUPABASE_DB_URL": as_role(database, DAEMON_ROLE)})
        assert check(ROOT / "docs/how-to/rotate-keys.md", shell) == 4
