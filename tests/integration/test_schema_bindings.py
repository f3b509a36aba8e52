"""A key stays with its provider and with the place it is sent to; only a key given again may go elsewhere."""

import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.conftest import Psql
from tests.integration.sql import FILES, KEYS, REQUEST, connected, insert_provider, refused, revision

CASES: list[dict[str, str]] = json.loads((Path(__file__).parents[1] / "destinations.json").read_text())
BOUND = (
    "Provider mine has a key, which is bound to its scheme, host and port: give the key again along with the new "
    "base_url"
)
SWAPPED = "The key stored for provider {} is that of another provider"
MAC = "a1" * 32


async def keyed(db: asyncpg.Connection, name: str = "mine", **columns: Any) -> int:
    """Inserts a provider with a key of its own."""
    return await insert_provider(db, name, api_key_encrypted=await sealed(db), **columns)


async def sealed(db: asyncpg.Connection) -> str:
    return await db.fetchval("SELECT encode(pgp_sym_encrypt('sk-clear', 'p'), 'hex')")


async def ciphertext(db: asyncpg.Connection, name: str = "mine") -> str:
    return await db.fetchval("SELECT api_key_encrypted FROM llm_provider_configs WHERE provider_name = $1", name)


async def change(db: asyncpg.Connection, name: str = "mine", **columns: Any) -> None:
    pairs = ", ".join(f"{column} = ${n}" for n, column in enumerate(columns, start=2))
    await db.execute(f"UPDATE llm_provider_configs SET {pairs} WHERE provider_name = $1", name, *columns.values())


async def binding(db: asyncpg.Connection, name: str = "mine") -> tuple[str | None, str | None]:
    row = await db.fetchrow("SELECT api_key_id, api_key_mac FROM llm_provider_configs WHERE provider_name = $1", name)
    return row["api_key_id"], row["api_key_mac"]


async def test_destinations_are_as_the_table_has_them(database: str) -> None:
    async with connected(database) as db:
        for case in CASES:
            found = await db.fetchval("SELECT provider_destination($1, $2)", case["base_url"], case["template"])
            assert found == case["destination"], case


async def test_what_is_no_plain_url_never_equals_what_is_one() -> None:
    plain = {case["destination"] for case in CASES if " " not in case["destination"]}
    whole = {case["destination"] for case in CASES if case["destination"] == f"{case['base_url']} {case['template']}"}
    assert len(plain) + len(whole) == len({case["destination"] for case in CASES})
    assert plain
    assert whole


@pytest.mark.parametrize(
    "moved",
    [
        {"base_url": "https://evil.example"},
        {"base_url": "https://127.0.0.1"},
        {"base_url": "https://api.example.com:8443"},
        {"base_url": "https://api.example.com@evil.example"},
        {"base_url": "https://api.example.com."},
        {"endpoint_path_template": ".evil.example/v1"},
        {"endpoint_path_template": "//evil.example/v1"},
        {"request_builder_config": REQUEST | {"stream": {"endpoint_path_template": "@evil.example/v1"}}},
    ],
    ids=str,
)
async def test_a_key_does_not_follow_to_another_destination(database: str, moved: dict[str, Any]) -> None:
    async with connected(database) as db:
        await keyed(db)
        before = await revision(db)
        with refused("PD007", BOUND) as caught:
            await change(db, **moved)
        assert caught.value.column_name == "base_url"
        # Given again it does, and what was given before stays behind, also in other packets.
        old = await ciphertext(db)
        await change(db, **moved, api_key_encrypted=await sealed(db))
        assert await revision(db) == before + 1
        for again in (old, reframed(old)):
            with refused("PD007", BOUND):
                await change(db, api_key_encrypted=again)


@pytest.mark.parametrize(
    "same",
    [
        {"base_url": "HTTPS://API.example.com:443/v2"},
        {"endpoint_path_template": "/v2/chat"},
        {"request_builder_config": REQUEST | {"stream": {"endpoint_path_template": "/v1/stream"}}},
        {"display_name": "Other"},
    ],
    ids=str,
)
async def test_what_leaves_the_destination_as_it_is_leaves_the_key(database: str, same: dict[str, Any]) -> None:
    async with connected(database) as db:
        await keyed(db, api_key_id="k1", api_key_mac=MAC)
        before = await ciphertext(db)
        await change(db, **same)
        assert await ciphertext(db) == before
        assert await binding(db) == ("k1", MAC)


async def test_a_provider_without_a_key_moves_freely(database: str) -> None:
    async with connected(database) as db:
        await insert_provider(db)
        await change(db, base_url="https://elsewhere.example")


async def test_a_key_taken_off_and_put_back_is_still_bound(database: str) -> None:
    async with connected(database) as db:
        await keyed(db)
        old = await ciphertext(db)
        await change(db, api_key_encrypted=None)
        await change(db, api_key_encrypted=old)
        await change(db, api_key_encrypted=None)
        await change(db, base_url="https://evil.example")
        with refused("PD007", BOUND):
            await change(db, api_key_encrypted=old)


async def test_a_provider_gets_its_own_older_key_back(database: str) -> None:
    async with connected(database) as db:
        await keyed(db)
        old = await ciphertext(db)
        await change(db, api_key_encrypted=await sealed(db))
        await change(db, api_key_encrypted=old)
        assert await ciphertext(db) == old


@pytest.mark.parametrize("gone", ["stays", "replaced", "deleted", "pruned"])
async def test_a_key_of_another_provider_is_refused(database: str, gone: str) -> None:
    async with connected(database) as db:
        await keyed(db, "other")
        stolen = await ciphertext(db, "other")
        if gone == "replaced":
            await change(db, "other", api_key_encrypted=await sealed(db))
        if gone in ("deleted", "pruned"):
            await db.execute("DELETE FROM llm_provider_configs WHERE provider_name = 'other'")
        if gone == "pruned":
            await db.execute("DELETE FROM llm_provider_config_history")
        await insert_provider(db)
        for each in (stolen, reframed(stolen), f"\\x{stolen.upper()}"):
            with refused("PD008", SWAPPED.format("mine")) as caught:
                await change(db, api_key_encrypted=each)
            assert caught.value.column_name == "api_key_encrypted"
            assert stolen not in str(caught.value.as_dict())
            with refused("PD008", SWAPPED.format("third")):
                await insert_provider(db, "third", api_key_encrypted=each)


async def test_keys_cannot_be_swapped_in_one_statement(database: str) -> None:
    async with connected(database) as db:
        await keyed(db, "a")
        await keyed(db, "b")
        with refused("PD008"):
            await db.execute("""
                UPDATE llm_provider_configs c SET api_key_encrypted = other.api_key_encrypted
                FROM llm_provider_configs other
                WHERE c.provider_name IN ('a', 'b') AND other.provider_name IN ('a', 'b') AND other.id <> c.id
            """)


async def test_inserting_what_is_there_already_is_no_theft(database: str) -> None:
    async with connected(database) as db:
        await keyed(db)
        before = await revision(db)
        for action in ("NOTHING", "UPDATE SET api_key_encrypted = excluded.api_key_encrypted"):
            await db.execute(f"""
                INSERT INTO llm_provider_configs (provider_name, display_name, base_url, endpoint_path_template,
                    default_model, request_builder_config, response_extractor_config, api_key_encrypted)
                SELECT provider_name, display_name, base_url, endpoint_path_template,
                    default_model, request_builder_config, response_extractor_config, api_key_encrypted
                FROM llm_provider_configs WHERE provider_name = 'mine' ON CONFLICT (provider_name) DO {action}
            """)
        assert await revision(db) == before


async def test_a_new_key_is_unbound_until_whoever_set_it_binds_it(database: str) -> None:
    async with connected(database) as db:
        await keyed(db, api_key_id="k1", api_key_mac=MAC)
        assert await binding(db) == ("k1", MAC)
        await change(db, api_key_encrypted=await sealed(db))
        assert await binding(db) == (None, None)
        await change(db, api_key_encrypted=await sealed(db), api_key_id="k2", api_key_mac=MAC)
        assert await binding(db) == ("k2", MAC)
        await change(db, api_key_encrypted=await sealed(db), api_key_id="k3")
        assert await binding(db) == (None, None)
        await change(db, api_key_id="k4", api_key_mac=MAC)
        assert await binding(db) == ("k4", MAC)
        await change(db, api_key_encrypted="")
        assert await binding(db) == (None, None)
        await change(db, api_key_id="k5", api_key_mac=MAC)
        assert await binding(db) == (None, None)


async def test_another_name_unbinds_a_key(database: str) -> None:
    async with connected(database) as db:
        await keyed(db, api_key_id="k1", api_key_mac=MAC)
        await change(db, provider_name="yours")
        assert await binding(db, "yours") == ("k1", None)


@pytest.mark.parametrize(
    "columns",
    [
        {"api_key_id": ""},
        {"api_key_id": "k" * 65},
        {"api_key_id": "a b"},
        {"api_key_id": "k1\n"},
        {"api_key_mac": "a1" * 31},
        {"api_key_mac": "A1" * 32},
        {"api_key_mac": MAC + "\n"},
    ],
    ids=str,
)
async def test_ids_and_macs_have_a_shape(database: str, columns: dict[str, str]) -> None:
    async with connected(database) as db:
        await keyed(db)
        with refused("23514"):
            await change(db, **columns)


async def test_the_history_has_the_id_and_not_the_mac(database: str) -> None:
    async with connected(database) as db:
        await keyed(db, api_key_id="k1", api_key_mac=MAC)
        last = await db.fetchval("SELECT config_snapshot FROM llm_provider_config_history ORDER BY id DESC LIMIT 1")
    assert last["api_key_id"] == "k1"
    assert "api_key_mac" not in last


async def test_keys_from_before_are_bound_and_nothing_else_is_held_up(psql: Psql, empty_database: str) -> None:
    async with connected(empty_database) as db:
        for file in FILES[: FILES.index(KEYS)]:
            assert psql(empty_database, "-f", str(file)).returncode == 0
        await keyed(db)
        copied = await ciphertext(db)
        await insert_provider(db, "copy", api_key_encrypted=copied)
        for _ in range(2):
            done = psql(empty_database, "-f", str(KEYS))
            assert done.returncode == 0, done.stderr
        with refused("PD007", BOUND):
            await change(db, base_url="https://evil.example")
        with refused("PD008", SWAPPED.format("copy")):
            await change(db, "copy", base_url="https://evil.example")
        assert await db.fetchval("SELECT switch_active_provider('copy', 'me')")
        await change(db, "copy", api_key_encrypted=await sealed(db), base_url="https://elsewhere.example")


def reframed(hex_message: str) -> str:
    """The same message with the first packet's header in the old format: RFC 9580, 4.2.2."""
    assert hex_message.startswith("c3")
    return "8c" + hex_message.removeprefix("c3")


async def test_a_message_that_hides_its_salt_is_refused(database: str) -> None:
    async with connected(database) as db:
        await keyed(db)
        # RFC 9580, 4.2.1.4: one octet of the first packet, then the twelve others.
        old = await ciphertext(db)
        assert old.startswith("c30d04")
        hidden = f"c3e0040c{old.removeprefix('c30d04')}"
        assert await db.fetchval("SELECT pgp_sym_decrypt(decode($1, 'hex'), 'p')", hidden) == "sk-clear"
        with refused("23514"):
            await change(db, api_key_encrypted=hidden, base_url="https://evil.example")
        with refused("23514"):
            await insert_provider(db, "thief", api_key_encrypted=hidden)


async def test_a_reframed_message_still_decrypts(database: str) -> None:
    async with connected(database) as db:
        message = reframed(await sealed(db))
        assert await db.fetchval("SELECT pgp_sym_decrypt(decode($1, 'hex'), 'p')", message) == "sk-clear"
