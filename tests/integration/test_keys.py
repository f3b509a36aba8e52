"""Keys at rest: in the founding document's format, strongly made, and read only where they belong."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest
import structlog

from providerd.secret import Secret
from providerd_server.store import Database, Store, Transactions
from providerd_server.store.keys import Keys
from providerd_server.store.sealed import SealedKey
from tests.daemon import DAEMON_ROLE, as_role
from tests.integration.keyed import (
    API_KEY,
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


@pytest.fixture
async def db(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the daemon has it: JSON comes as text."""
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


@pytest.fixture
async def sealed(db: asyncpg.Connection, database: str) -> str:
    """The name of a provider whose key the daemon has stored, with ``OLD``."""
    await store_by_daemon(database, "groq", API_KEY, OLD)
    return "groq"


async def store_by_daemon(
    dsn: str, name: str, api_key: str, *passphrases: str, knowing: Sequence[Any] = (), **options: bool
) -> None:
    """Stores a key with a daemon's code that knows the keys of the rows ``knowing``."""
    database = Database(Secret(as_role(dsn, DAEMON_ROLE)))
    pool = await database.create_pool()
    transactions = Transactions(database, pool)
    keys = Keys(ring(*passphrases), **options)
    async with transactions.connection() as connection:
        await keys.learn(connection, knowing)
    store = Store(transactions, keys)

    def same(before: Any) -> dict[str, Any]:
        return {column: getattr(before, column) for column in before.__slots__}

    await store.upsert(name, same, new_api_key=Secret(api_key), reason="", actor="test")
    await pool.close()


async def test_the_daemon_makes_strong_messages_that_plain_sql_reads(db: asyncpg.Connection, sealed: str) -> None:
    row = await row_of(db, sealed)
    message = bytes.fromhex(row["api_key_encrypted"])
    # RFC 9580, 5.3 and 3.7.1.3: version 4, AES-256, iterated and salted S2K, SHA-256, 8 bytes of salt, the count.
    assert message[2:6] == bytes([4, 9, 3, 8])
    count = message[14]
    assert (16 + (count & 15)) << ((count >> 4) + 6) == 32 << 20
    assert await decrypted_by_sql(db, sealed, OLD) == API_KEY


async def test_two_messages_of_one_key_are_different(db: asyncpg.Connection) -> None:
    keys = Keys(ring(OLD))
    first, second = [await keys.encrypt(db, Secret(API_KEY)) for _ in range(2)]
    assert first != second


async def test_a_key_stored_by_the_daemon_is_tagged_and_bound(db: asyncpg.Connection, sealed: str) -> None:
    row = await row_of(db, sealed)
    assert row["api_key_id"] == ring(OLD).current.id
    found = SealedKey.in_row(row)
    assert found is not None
    assert found.is_bound_by(ring(OLD).current)
    assert not found.is_bound_by(ring(NEW).current)


@pytest.mark.parametrize("passphrase", [OLD, NEW])
async def test_a_key_stored_by_plain_sql_is_read_with_any_passphrase_of_the_ring(
    db: asyncpg.Connection, passphrase: str
) -> None:
    await by_sql(db, "groq", API_KEY, passphrase)
    row = await row_of(db, "groq")
    assert (row["api_key_id"], row["api_key_mac"]) == (None, None)
    assert (await learned(db, NEW, OLD)).of(row) == Secret(API_KEY)


async def test_a_daemon_may_be_told_to_read_no_key_without_a_seal(db: asyncpg.Connection, sealed: str) -> None:
    await by_sql(db, "openrouter", "sk-of-another", OLD)
    keys = Keys(ring(OLD), require_seals=True)
    with structlog.testing.capture_logs() as logs:
        await keys.learn(db, await rows_of(db))
    assert keys.of(await row_of(db, sealed)) == Secret(API_KEY)
    unsealed = await row_of(db, "openrouter")
    assert keys.of(unsealed) is None
    assert keys.is_unreadable(unsealed)
    (told,) = logs
    assert (told["provider_name"], told["log_level"]) == ("openrouter", "error")
    assert told["reason"] == "it has no seal, and this daemon reads no key without one"
    assert told["hint"].startswith("run `providerd keys rotate`")
    assert told["hint"].endswith("or set the key anew")


@pytest.mark.parametrize("require_seals", [False, True])
async def test_the_same_key_again_is_sealed_where_seals_are_required(
    db: asyncpg.Connection, database: str, require_seals: bool
) -> None:
    await by_sql(db, "groq", API_KEY, OLD)
    rows = await rows_of(db)
    await store_by_daemon(database, "groq", API_KEY, OLD, knowing=rows, require_seals=require_seals)
    found = SealedKey.in_row(await row_of(db, "groq"))
    assert found is not None
    assert found.is_bound_by(ring(OLD).current) is require_seals


async def test_a_key_under_the_previous_passphrase_is_read(db: asyncpg.Connection, sealed: str) -> None:
    assert (await learned(db, NEW, OLD)).of(await row_of(db, sealed)) == Secret(API_KEY)


FLIPPED = (
    "UPDATE llm_provider_configs SET {more} api_key_encrypted = encode(set_byte(decode(api_key_encrypted, 'hex'), 40,"
    " get_byte(decode(api_key_encrypted, 'hex'), 40) # 1), 'hex') WHERE provider_name = 'groq'"
)
TRUNCATED = (
    "UPDATE llm_provider_configs SET {more} api_key_encrypted = left(api_key_encrypted, 60)"
    " WHERE provider_name = 'groq'"
)
SET = "UPDATE llm_provider_configs SET {} WHERE provider_name = 'groq'"
UNTAGGED = "api_key_id = NULL, api_key_mac = NULL,"
DOES_NOT_FIT = "its seal does not fit: the row was changed outside"
UNDECRYPTABLE = "no passphrase of the key ring decrypts it, or it is damaged"
UNKNOWN = "it is encrypted with {}, which is not in the key ring"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param(FLIPPED.format(more=""), DOES_NOT_FIT, id="flipped bit"),
        pytest.param(FLIPPED.format(more=UNTAGGED), UNDECRYPTABLE, id="flipped bit, unbound"),
        pytest.param(TRUNCATED.format(more=""), DOES_NOT_FIT, id="truncated"),
        pytest.param(TRUNCATED.format(more=UNTAGGED), UNDECRYPTABLE, id="truncated, unbound"),
        pytest.param(SET.format(f"{UNTAGGED} api_key_encrypted = 'c30d04 not hex'"), UNDECRYPTABLE, id="no message"),
        pytest.param(SET.format("base_url = 'https://evil.example'"), DOES_NOT_FIT, id="another host"),
        pytest.param(SET.format("base_url = 'http://api.groq.com'"), DOES_NOT_FIT, id="another scheme"),
        pytest.param(SET.format("base_url = 'https://api.groq.com:444'"), DOES_NOT_FIT, id="another port"),
        pytest.param(SET.format("endpoint_path_template = '@evil.example/v1'"), DOES_NOT_FIT, id="a path that is none"),
        pytest.param(
            SET.format(
                "request_builder_config = request_builder_config"
                """ || '{"stream": {"endpoint_path_template": "@evil.example/v1"}}'"""
            ),
            DOES_NOT_FIT,
            id="a streaming path that is none",
        ),
        pytest.param(SET.format("provider_name = 'renamed'"), DOES_NOT_FIT, id="another name"),
        pytest.param(SET.format("api_key_mac = repeat('0', 64)"), DOES_NOT_FIT, id="another seal"),
        pytest.param(SET.format("api_key_id = 'k-00000000'"), UNKNOWN.format("k-00000000"), id="unknown id"),
        pytest.param(SET.format("api_key_id = NULL, base_url = 'https://h'"), DOES_NOT_FIT, id="no id, another host"),
    ],
)
async def test_damage_blocks_the_key_and_no_other(
    db: asyncpg.Connection, sealed: str, damage: str, reason: str
) -> None:
    await by_sql(db, "openrouter", "sk-of-another", OLD)
    whole = await row_of(db, sealed)
    await past_the_triggers(db, damage)
    with structlog.testing.capture_logs() as logs:
        keys = await learned(db, NEW, OLD)
        await keys.learn(db, await rows_of(db))
    damaged = next(row for row in await rows_of(db) if row["id"] == whole["id"])
    assert keys.of(damaged) is None
    assert keys.is_unreadable(damaged)
    assert keys.of(await row_of(db, "openrouter")) == Secret("sk-of-another")
    (told,) = logs
    assert told["event"] == "the key of a provider cannot be decrypted"
    assert told["log_level"] == "error"
    assert (told["provider_name"], told["key_id"]) == (damaged["provider_name"], damaged["api_key_id"])
    assert told["reason"] == reason
    assert "set the key anew" in told["hint"]
    assert damaged["api_key_encrypted"] not in str(told)


async def test_a_key_moved_to_another_row_is_not_read_there(db: asyncpg.Connection, database: str, sealed: str) -> None:
    await store_by_daemon(database, "openrouter", "sk-of-another", OLD)
    await past_the_triggers(
        db,
        "UPDATE llm_provider_configs c SET api_key_encrypted = o.api_key_encrypted, api_key_id = o.api_key_id,"
        " api_key_mac = o.api_key_mac FROM llm_provider_configs o"
        " WHERE (c.provider_name, o.provider_name) IN (('groq', 'openrouter'), ('openrouter', 'groq'))",
    )
    with structlog.testing.capture_logs() as logs:
        keys = await learned(db, OLD)
    assert [keys.of(await row_of(db, name)) for name in ("groq", "openrouter")] == [None, None]
    assert {(told["provider_name"], told["reason"]) for told in logs} == {
        ("groq", DOES_NOT_FIT),
        ("openrouter", DOES_NOT_FIT),
    }


async def test_another_passphrase_opens_nothing(db: asyncpg.Connection, sealed: str) -> None:
    await by_sql(db, "openrouter", "sk-of-another", OLD)
    with structlog.testing.capture_logs() as logs:
        keys = await learned(db, NEW)
    assert [keys.of(await row_of(db, name)) for name in ("groq", "openrouter")] == [None, None]
    reasons = {told["provider_name"]: told["reason"] for told in logs}
    assert reasons == {"groq": UNKNOWN.format(ring(OLD).current.id), "openrouter": UNDECRYPTABLE}


async def test_a_binding_is_checked_again_whenever_the_row_changes(db: asyncpg.Connection, sealed: str) -> None:
    keys = await learned(db, OLD)
    assert keys.of(await row_of(db, sealed)) == Secret(API_KEY)
    await past_the_triggers(db, SET.format("base_url = 'https://evil.example'"))
    moved = await row_of(db, sealed)
    assert keys.of(moved) is None
    await keys.learn(db, await rows_of(db))
    assert keys.of(moved) is None
    assert keys.is_unreadable(moved)


async def test_what_is_known_is_not_decrypted_again(db: asyncpg.Connection, sealed: str) -> None:
    keys = await learned(db, OLD)
    await db.execute(SET.format("display_name = 'Another'"))
    rows = await rows_of(db)
    await db.close()
    await keys.learn(db, rows)
    assert [keys.of(row) for row in rows if row["provider_name"] == sealed] == [Secret(API_KEY)]
    with pytest.raises(asyncpg.InterfaceError):
        await Keys(ring(OLD)).learn(db, rows)


async def test_what_is_gone_is_forgotten(db: asyncpg.Connection, sealed: str) -> None:
    keys = await learned(db, OLD)
    before = await rows_of(db)
    await db.execute(SET.format("api_key_encrypted = NULL"))
    await keys.learn(db, await rows_of(db))
    await db.close()
    assert not any(keys.of(row) or keys.is_unreadable(row) for row in before)
    with pytest.raises(asyncpg.InterfaceError):
        await keys.learn(db, before)


async def test_plain_sql_that_changes_a_key_takes_its_tags_away(db: asyncpg.Connection, sealed: str) -> None:
    await by_sql(db, sealed, "sk-anew", NEW)
    row = await row_of(db, sealed)
    assert (row["api_key_id"], row["api_key_mac"]) == (None, None)
    assert (await learned(db, NEW, OLD)).of(row) == Secret("sk-anew")


async def test_renaming_by_plain_sql_unbinds_the_key_and_keeps_it(db: asyncpg.Connection, sealed: str) -> None:
    await db.execute(SET.format("provider_name = 'renamed'"))
    row = await row_of(db, "renamed")
    assert row["api_key_mac"] is None
    assert (await learned(db, NEW, OLD)).of(row) == Secret(API_KEY)
