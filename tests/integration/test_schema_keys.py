"""Whatever form a key's ciphertext arrives in, hex is what is stored; a key in clear never is."""

import hashlib

import pytest

from tests.integration.sql import connected, history_since, refused, revision

SET_KEY = "UPDATE llm_provider_configs SET api_key_encrypted = {} WHERE provider_name = 'groq'"
READ_KEY = "SELECT api_key_encrypted FROM llm_provider_configs WHERE provider_name = 'groq'"
DECRYPT = f"SELECT pgp_sym_decrypt(decode(api_key_encrypted, 'hex'), 'p') FROM ({READ_KEY}) stored"
ENCRYPTED = "pgp_sym_encrypt('sk-clear', 'p')"


@pytest.mark.parametrize("bytea_output", ["hex", "escape"])
@pytest.mark.parametrize(
    "expression",
    [
        ENCRYPTED,
        f"encode({ENCRYPTED}, 'hex')",
        f"upper(encode({ENCRYPTED}, 'hex'))",
        rf"'\x' || encode({ENCRYPTED}, 'hex')",
        "pgp_sym_encrypt('sk-clear', 'p', 'cipher-algo=aes256, compress-algo=1')",
    ],
)
async def test_every_form_of_a_ciphertext_becomes_plain_hex(database: str, bytea_output: str, expression: str) -> None:
    async with connected(database) as db:
        await db.execute(f"SET bytea_output = {bytea_output}")
        await db.execute(SET_KEY.format(expression))
        stored = await db.fetchval(READ_KEY)
        assert bytes.fromhex(stored).hex() == stored
        assert await db.fetchval(DECRYPT) == "sk-clear"


@pytest.mark.parametrize("nothing", ["''", r"'\x'", "NULL"])
async def test_an_empty_key_is_no_key(database: str, nothing: str) -> None:
    async with connected(database) as db:
        await db.execute(SET_KEY.format(ENCRYPTED))
        await db.execute(SET_KEY.format(nothing))
        assert await db.fetchval(READ_KEY) is None


@pytest.mark.parametrize(
    "clear",
    [
        "gsk_6xPlainText",
        "0123456789abcdef0123456789abcdef",
        "fedcba9876543210fedcba9876543210",
        "c30d0",
        r"\x736563726574",
        r"\xnothex",
        r"back\slash",
        "c30d04zz",
    ],
)
async def test_a_key_in_clear_is_refused_and_not_repeated(database: str, clear: str) -> None:
    async with connected(database) as db:
        message = "api_key_encrypted must be a message of pgp_sym_encrypt"
        with refused("PD006", message) as caught:
            await db.execute(SET_KEY.format("$1::text"), clear)
        assert caught.value.column_name == "api_key_encrypted"
        assert clear not in str(caught.value.as_dict())
        assert await db.fetchval(READ_KEY) is None


async def test_the_same_ciphertext_in_another_form_is_no_change(database: str) -> None:
    async with connected(database) as db:
        await db.execute(SET_KEY.format(ENCRYPTED))
        before = await revision(db)
        await db.execute(SET_KEY.format(r"'\x' || upper(api_key_encrypted)"))
        assert await revision(db) == before


async def test_history_keeps_a_fingerprint_instead_of_the_ciphertext(database: str) -> None:
    async with connected(database) as db:
        before = await revision(db)
        await db.execute(SET_KEY.format(ENCRYPTED))
        stored = await db.fetchval(READ_KEY)
        assert await history_since(db, before) == [("groq", "key_changed")]
        snapshots = await db.fetch("SELECT config_snapshot FROM llm_provider_config_history ORDER BY id")
    first, last = snapshots[0]["config_snapshot"], snapshots[-1]["config_snapshot"]
    assert first["key_fingerprint"] is None
    assert last["key_fingerprint"] == hashlib.sha256(bytes.fromhex(stored)).hexdigest()[:16]
    assert "api_key_encrypted" not in last
    assert stored not in str(snapshots)
