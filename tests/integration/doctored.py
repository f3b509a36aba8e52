"""The doctor in the test's own event loop, with canaries in every place that holds a secret."""

import asyncio
import json
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import asyncpg

from providerd.secret import Secret
from providerd_server.doctor.case import Case
from providerd_server.doctor.checks import of_daemon
from providerd_server.doctor.examination import Finding, Outcome, examine
from providerd_server.store.keyring import Keyring, derive
from providerd_server.store.keys import Keys
from providerd_server.store.sealed import SealedKey
from tests.daemon import DAEMON_ROLE, PROVIDERD, as_role, clean_environment
from tests.faults.proxy import Proxy, proxy_to
from tests.integration.serving import free_port

PASSPHRASE = "canary-of-the-doctors-passphrase"
API_KEY = "sk-canary-of-the-doctor"
PASSWORD = "canary-of-the-doctors-password"
CANARIES = (PASSPHRASE, API_KEY, PASSWORD)

# A database that is away, for checks that look at none.
NOWHERE = "postgresql://somebody@/nothing?host=/nowhere"

Findings = dict[str, Finding]


def with_password(dsn: str, role: str | None = DAEMON_ROLE) -> str:
    """The URL with a password in it, which the server does not ask for."""
    return as_role(dsn, role).replace("@", f":{PASSWORD}@", 1)


async def examined(dsn: str, *, role: str | None = DAEMON_ROLE, **flags: Any) -> Findings:
    """What the doctor finds with these settings, by the names of the checks."""
    given = {
        "supabase_db_url": Secret(with_password(dsn, role)) if dsn else None,
        "db_encryption_key": PASSPHRASE,
        "listen": f"127.0.0.1:{free_port()}",
        **flags,
    }
    case = Case(given)
    try:
        return sound(await examine(of_daemon(case), debug=True))
    finally:
        await case.close()


def sound(found: list[Finding]) -> Findings:
    """The findings by name, once it is seen that each says what to do, and none a secret."""
    for each in found:
        assert each.found
        assert bool(each.hint) is (each.outcome is not Outcome.OK), each
        assert "\n" not in each.found + each.hint
        assert not any(canary in each.found + each.hint for canary in CANARIES), each
    assert len({each.check for each in found}) == len(found)
    return {each.check: each for each in found}


def is_told(finding: Finding, outcome: Outcome, found: str, hint: str) -> None:
    """Wants a finding to be this, and to say this and what to do."""
    assert finding.outcome is outcome, finding
    assert found in finding.found, finding
    assert hint in finding.hint, finding


def doctor(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs the command as people do."""
    done = subprocess.run(
        [PROVIDERD, "doctor", *arguments],
        env={**clean_environment(), "DB_ENCRYPTION_KEY": PASSPHRASE, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert not any(canary in done.stdout + done.stderr for canary in CANARIES)
    return done


def printed(done: subprocess.CompletedProcess[str]) -> Findings:
    """The findings of a run with --json."""
    assert done.stderr == ""
    return sound([Finding(**{**each, "outcome": Outcome(each["outcome"])}) for each in json.loads(done.stdout)])


async def eventually(look: Callable[[], Awaitable[Findings]], check: str, outcome: Outcome) -> Findings:
    """Looks until a check comes to this, as what has just been started takes its time."""
    async with asyncio.timeout(30):
        while (found := await look())[check].outcome is not outcome:
            await asyncio.sleep(0.1)
    return found


async def store_key(dsn: str, name: str, passphrase: str = PASSPHRASE, *, bound: bool = True) -> None:
    """Stores a key of a provider as the daemon does, or as plain SQL does."""
    connection = await asyncpg.connect(dsn)
    row = await connection.fetchrow("SELECT * FROM llm_provider_configs WHERE provider_name = $1", name)
    key = derive(Secret(passphrase), "a test")
    ciphertext = await Keys(Keyring((key,))).encrypt(connection, Secret(API_KEY))
    content = {**row, "request_builder_config": json.loads(row["request_builder_config"])}
    sealed = SealedKey.bind(key, name, content, ciphertext)
    await connection.execute(
        "UPDATE llm_provider_configs SET api_key_encrypted = $2, api_key_id = $3, api_key_mac = $4"
        " WHERE provider_name = $1",
        name,
        ciphertext,
        key.id if bound else None,
        sealed.mac if bound else None,
    )
    await connection.close()


async def run_sql(dsn: str, *statements: str) -> None:
    """Runs statements as the owner."""
    connection = await asyncpg.connect(dsn)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


def proxied(dsn: str) -> AbstractAsyncContextManager[Proxy]:
    """A way to the server of a database that can be hurt."""
    directory = dsn.partition("host=")[2].partition("&")[0].replace("%2F", "/")
    return proxy_to(f"unix:{directory}/.s.PGSQL.5432")


def through(proxy: Proxy, dsn: str) -> str:
    """The URL of the database by that way, as the daemon's role."""
    return f"postgresql://{DAEMON_ROLE}@{proxy.address}{dsn.partition('@')[2].partition('?')[0]}"
