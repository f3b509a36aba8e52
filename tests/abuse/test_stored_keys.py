"""Faults 47 and 48: passphrases that protect nothing, and ciphertexts that are not what was stored."""

import json
import random
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator

import asyncpg
import pytest

from providerd import Client, FailedPreconditionError
from providerd_server.settings import PUBLISHED_PASSPHRASE
from tests.abuse.tally import Tally
from tests.abuse.world import provider
from tests.daemon import DAEMON_ROLE, PROVIDERD, as_role, clean_environment, running_daemon
from tests.integration.keyed import past_the_triggers
from tests.integration.sql import connected, insert_provider

WEAK = "47 passphrases that protect nothing"
DAMAGED = "48 ciphertexts that are not what was stored"

_PASSPHRASE = "a passphrase that is long enough"
# Behind 15 bytes of one packet and the tag of the next.
_LENGTH = 16

_FLIPPED, _CUT, _FOREIGN, _GARBAGE, _BY_SQL = 80, 15, 10, 5, 15


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"DB_ENCRYPTION_KEY": ""},
        {"DB_ENCRYPTION_KEY": PUBLISHED_PASSPHRASE},
        {"DB_ENCRYPTION_KEY": "fifteen-letters"},
        {"DB_ENCRYPTION_KEY": "\N{PILE OF POO}" * 15},
        {"DB_ENCRYPTION_KEY": "fifteen-letters", "DB_ENCRYPTION_KEY_PREVIOUS": _PASSPHRASE},
        {"DB_ENCRYPTION_KEY": PUBLISHED_PASSPHRASE, "PROVIDERD_DEV": "false", "PROVIDERD_INSECURE": "true"},
    ],
)
def test_a_daemon_does_not_start_with_it(database: str, tally: Tally, environment: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [PROVIDERD, "serve"],
            cwd=directory,
            env={
                **clean_environment(),
                "SUPABASE_DB_URL": as_role(database, DAEMON_ROLE),
                "PROVIDERD_LISTEN": "127.0.0.1:0",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    tally.tried(WEAK, wrongly_accepted=done.returncode == 0)
    assert done.returncode not in (0, None)
    (told,) = done.stderr.splitlines()
    assert "DB_ENCRYPTION_KEY" in told
    assert not any(len(value) > 5 and value in told for value in environment.values())


def damages(rng: random.Random, hexes: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Names of providers, and the statements that damage their keys."""
    names = iter(hexes)
    for _, name in zip(range(_FLIPPED), names, strict=False):
        yield name, replaced(name, flipped(rng, hexes[name]))
    for _, name in zip(range(_CUT), names, strict=False):
        yield name, replaced(name, hexes[name][: 2 * rng.randrange(5, len(hexes[name]) // 2)])
    for _, name in zip(range(_GARBAGE), names, strict=False):
        yield name, replaced(name, hexes[name][:8] + rng.randbytes(60).hex())


async def test_a_damaged_key_is_not_given_out_and_no_other_is_affected(database: str, tally: Tally) -> None:
    rng = random.Random(48)
    async with connected(database) as db:
        plain = await stored_by_sql(db, [f"plain-{n}" for n in range(_FLIPPED + _CUT + _GARBAGE + 10)], _PASSPHRASE)
        foreign = await stored_by_sql(db, [f"foreign-{n}" for n in range(_FOREIGN)], "another passphrase, as long")
        by_sql = await stored_by_sql(db, [f"by-sql-{n}" for n in range(_BY_SQL)], _PASSPHRASE)
        sealed = [f"sealed-{n}" for n in range(20)]
        with running_daemon(database, DB_ENCRYPTION_KEY=_PASSPHRASE) as daemon:
            async with Client(daemon.address, watch=False) as client:
                for name in sealed:
                    await client.upsert(provider(name), api_key=f"sk-of-{name}")
                bad = set(foreign)
                for name, damage in [*damages(rng, plain), *moved(sealed)]:
                    if await damaged(db, damage):
                        bad |= {*name.split()}
                bad |= {name for name in by_sql if await flipped_by_sql(db, rng, name, by_sql[name])}
                outcomes = {name: await taken(client, name) for name in [*plain, *foreign, *by_sql, *sealed]}
            daemon.stop()
            log = [json.loads(line) for line in daemon.log.read_text().splitlines()]
    good = {name for name, outcome in outcomes.items() if outcome == f"sk-of-{name}"}
    refused = {name for name, outcome in outcomes.items() if outcome == "CREDENTIAL_UNREADABLE"}
    tally.tried(DAMAGED, len(outcomes), wrongly_accepted=len(bad - refused))
    assert refused == bad
    assert good == outcomes.keys() - bad
    assert len(good) > 10
    assert len(bad) > 100
    unreadable = [line for line in log if line["event"] == "the key of a provider cannot be decrypted"]
    told = Counter(line["provider_name"] for line in unreadable)
    assert told == Counter(dict.fromkeys(bad, 1))


async def stored_by_sql(db: asyncpg.Connection, names: list[str], passphrase: str) -> dict[str, str]:
    """Makes providers with keys as plain SQL does it; returns their ciphertexts by name."""
    for name in names:
        await insert_provider(db, name)
    await db.execute(
        "UPDATE llm_provider_configs SET api_key_encrypted = pgp_sym_encrypt('sk-of-' || provider_name, $2)"
        " WHERE provider_name = ANY($1)",
        names,
        passphrase,
    )
    found = await db.fetch(
        "SELECT provider_name, api_key_encrypted FROM llm_provider_configs WHERE provider_name = ANY($1) ORDER BY id",
        names,
    )
    return dict(found)


def flipped(rng: random.Random, ciphertext: str) -> str:
    """A ciphertext with one bit the other way round."""
    message = bytearray.fromhex(ciphertext)
    # What the second packet says of its length is no part of the key: pgcrypto reads to the end in any case.
    at = rng.choice([at for at in range(len(message)) if at != _LENGTH])
    message[at] ^= 1 << rng.randrange(8)
    return message.hex()


async def damaged(db: asyncpg.Connection, damage: str) -> bool:
    """Whether it could be done, past the triggers; a constraint may be in the way all the same."""
    try:
        await past_the_triggers(db, damage)
    except asyncpg.CheckViolationError:
        return False
    return True


def replaced(name: str, ciphertext: str) -> str:
    return f"UPDATE llm_provider_configs SET api_key_encrypted = '{ciphertext}' WHERE provider_name = '{name}'"


def moved(sealed: list[str]) -> Iterator[tuple[str, str]]:
    """What is done to the first keys that the daemon has sealed."""
    update = "UPDATE llm_provider_configs c SET"
    for first, second in ((0, 1), (2, 3), (4, 5)):
        pair = f"('{sealed[first]}', '{sealed[second]}')"
        both = f"c.provider_name IN {pair} AND o.provider_name IN {pair} AND c.id <> o.id"
        swap = "api_key_encrypted = o.api_key_encrypted, api_key_mac = o.api_key_mac"
        yield f"{sealed[first]} {sealed[second]}", f"{update} {swap} FROM llm_provider_configs o WHERE {both}"
    for number, change in enumerate(
        (
            "base_url = 'https://evil.example.org'",
            "base_url = 'https://api.example.com:8443'",
            "endpoint_path_template = '//evil.example.org/v1'",
            "api_key_mac = repeat('0', 64)",
            "api_key_id = 'k-00000000'",
            "api_key_encrypted = overlay(api_key_encrypted placing 'ff' from 61)",
            "api_key_encrypted = left(api_key_encrypted, 100)",
            "api_key_encrypted = api_key_encrypted || '00'",
        ),
        start=6,
    ):
        yield sealed[number], f"{update} {change} WHERE provider_name = '{sealed[number]}'"


async def flipped_by_sql(db: asyncpg.Connection, rng: random.Random, name: str, ciphertext: str) -> bool:
    """Flips a bit as a role that has to obey the triggers; whether it was let."""
    try:
        await db.execute(replaced(name, flipped(rng, ciphertext)))
    except asyncpg.PostgresError as error:
        assert error.sqlstate in ("PD006", "PD007", "PD008", "23514")
        return False
    return True


async def taken(client: Client, name: str) -> str:
    """The key of a provider, or why there is none, once it is the active one."""
    await client.switch(name)
    try:
        active = await client.get_active(include_credential=True)
    except FailedPreconditionError as error:
        return str(error.reason)
    return active.credential.api_key if active.credential else "none"
