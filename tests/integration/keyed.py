"""What the tests of stored keys share: passphrases, key rings, and rows that are changed past the triggers."""

from typing import Any

import asyncpg

from providerd.secret import Secret
from providerd_server.store.keyring import Keyring, derive
from providerd_server.store.keys import Keys
from providerd_server.store.rows import SELECT_LIST

OLD, NEW = "the passphrase of last year", "the passphrase of this year"
API_KEY = "sk-0123456789-of-a-test"

_TRIGGERS = "SELECT tgname FROM pg_trigger WHERE tgrelid = 'llm_provider_configs'::regclass AND NOT tgisinternal"


def ring(*passphrases: str) -> Keyring:
    return Keyring(tuple(derive(Secret(each), "a test") for each in passphrases))


async def row_of(db: asyncpg.Connection, name: str) -> Any:
    """A row as the daemon reads it."""
    return await db.fetchrow(f"SELECT {SELECT_LIST} FROM llm_provider_configs p WHERE provider_name = $1", name)


async def rows_of(db: asyncpg.Connection) -> list[Any]:
    return await db.fetch(f"SELECT {SELECT_LIST} FROM llm_provider_configs p ORDER BY provider_name")


async def by_sql(db: asyncpg.Connection, name: str, api_key: str, passphrase: str) -> None:
    """Stores a key as the founding document does it."""
    await db.execute(
        "UPDATE llm_provider_configs SET api_key_encrypted = pgp_sym_encrypt($2, $3) WHERE provider_name = $1",
        name,
        api_key,
        passphrase,
    )


async def decrypted_by_sql(db: asyncpg.Connection, name: str, passphrase: str) -> str:
    """Reads a key as the founding document does it."""
    found: str = await db.fetchval(
        "SELECT pgp_sym_decrypt(decode(api_key_encrypted, 'hex'), $2) FROM llm_provider_configs"
        " WHERE provider_name = $1",
        name,
        passphrase,
    )
    return found


async def past_the_triggers(db: asyncpg.Connection, statement: str) -> None:
    """Runs a statement as somebody who owns the table and takes its guards away."""
    names = [row["tgname"] for row in await db.fetch(_TRIGGERS)]
    async with db.transaction():
        await db.execute("ALTER TABLE llm_provider_configs DISABLE TRIGGER USER")
        await db.execute(statement)
        for name in names:
            await db.execute(f"ALTER TABLE llm_provider_configs ENABLE ALWAYS TRIGGER {name}")
        await db.execute("UPDATE llm_provider_store SET revision = revision + 1")


async def learned(db: asyncpg.Connection, *passphrases: str) -> Keys:
    """All keys, as a daemon with these passphrases reads them."""
    keys = Keys(ring(*passphrases))
    await keys.learn(db, await rows_of(db))
    return keys
