"""Where a key may be sent, asked of a real daemon: hostile URLs change nothing, and the settings decide the rest."""

from typing import Any

import asyncpg
import grpc
import pytest

from tests.hostile_urls import hostile_urls
from tests.integration.serving import Serving, error_info, serving, violations
from tests.integration.test_service_writes import MISTRAL, refused, revision

LOOPBACK = "http://127.0.0.1:8000"


def production(database: str) -> dict[str, Any]:
    """The settings of a daemon that is not for development: a database of its own, and a passphrase too."""
    return {"dev": False, "supabase_db_url": database, "db_encryption_key": "a-passphrase-of-the-tests-alone-4f81c2"}


async def sent_to(daemon: Serving, base_url: str) -> str:
    """Where the key goes after it is stored along with the URL."""
    answer = await daemon.call(
        "UpsertProvider", provider={**MISTRAL, "base_url": base_url}, new_api_key="an-example-and-no-key"
    )
    stored: str = answer.provider.base_url
    return stored


async def refusal(daemon: Serving, base_url: str) -> str:
    """What is said of the URL, which is all that is said."""
    error = await refused(daemon, "UpsertProvider", provider={**MISTRAL, "base_url": base_url})
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, base_url
    assert error_info(error).reason == "INVALID_FIELDS"
    [(field, description)] = violations(error).items()
    assert field == "provider.base_url"
    assert base_url not in f"{error.details()} {description}"
    return description


async def test_hostile_urls_are_refused_without_an_echo_and_change_nothing(database: str) -> None:
    # Every one is tried by the unit tests; a part of each kind goes all the way here.
    some = hostile_urls()[::29]
    async with serving(database, **production(database)) as daemon:
        before = await revision(daemon)
        for url in some:
            await refusal(daemon, url)
        assert await revision(daemon) == before
    assert len(some) > 300


async def test_a_private_host_that_sql_has_stored_stays_and_is_not_replaced_by_another(database: str) -> None:
    sql = await asyncpg.connect(database)
    await sql.execute("UPDATE llm_provider_configs SET base_url = 'https://10.0.0.1' WHERE provider_name = 'chatgpt'")
    await sql.close()
    async with serving(database, **production(database)) as daemon:
        edit = {"provider_name": "chatgpt", "display_name": "Ours"}
        answer = await daemon.call("UpsertProvider", provider=edit)
        assert (answer.provider.display_name, answer.provider.base_url) == ("Ours", "https://10.0.0.1")
        error = await refused(daemon, "UpsertProvider", provider={**edit, "base_url": "https://169.254.169.254"})
        assert set(violations(error)) == {"provider.base_url"}
        await daemon.call("UpsertProvider", provider={**edit, "base_url": "https://api.openai.com"})
        # Back to it by its own past would be another way in.
        error = await refused(daemon, "RollbackProvider", provider_name="chatgpt", revision_number=2)
        assert set(violations(error)) == {"provider.base_url"}


async def test_a_configuration_is_held_to_the_policy(database: str) -> None:
    async with serving(database, **production(database)) as daemon:
        stated = {**MISTRAL, "base_url": "https://metadata.google.internal"}
        error = await refused(daemon, "ApplyConfiguration", providers=[stated])
        assert set(violations(error)) == {"providers[0].base_url"}


@pytest.mark.parametrize("dev", [False, True])
async def test_loopback_by_http_is_for_development(database: str, dev: bool) -> None:
    async with serving(database, **production(database) | {"dev": dev}) as daemon:
        if dev:
            assert await sent_to(daemon, LOOPBACK) == LOOPBACK
        else:
            assert "PROVIDERD_DEV" in await refusal(daemon, LOOPBACK)
        assert "PROVIDERD_ALLOWED_HOSTS" in await refusal(daemon, "https://10.0.0.1")


async def test_the_setting_allows_private_hosts(database: str) -> None:
    allowed = ["vllm", "*.llm.internal", "10.20.0.0/16"]
    async with serving(database, **production(database), allowed_hosts=allowed) as daemon:
        for url in ("https://vllm:8000/v1", "https://a.llm.internal", "https://10.20.30.40"):
            assert await sent_to(daemon, url) == url
        for url in ("https://vault", "https://llm.internal", "https://10.21.0.1", "https://0x0a141e28"):
            await refusal(daemon, url)
        assert "https" in await refusal(daemon, "http://10.20.30.40")
        stated = {**MISTRAL, "provider_name": "stated", "base_url": "https://b.llm.internal"}
        answer = await daemon.call("ApplyConfiguration", providers=[stated])
        assert [diff.provider_name for diff in answer.diffs] == ["stated"]


PASSPHRASE = str(production("")["db_encryption_key"])


async def with_a_key_of_sql(database: str, base_url: str) -> None:
    """Has the active provider be one that SQL gave its URL and its key."""
    sql = await asyncpg.connect(database)
    await sql.execute(
        "UPDATE llm_provider_configs SET base_url = $1, api_key_encrypted = pgp_sym_encrypt('sk-stored-by-sql', $2)"
        " WHERE is_active",
        base_url,
        PASSPHRASE,
    )
    await sql.close()


async def test_no_key_is_handed_out_for_a_host_that_it_must_not_go_to(database: str) -> None:
    await with_a_key_of_sql(database, "https://10.0.0.1")
    async with serving(database, **production(database)) as daemon:
        error = await refused(daemon, "GetActiveProvider", include_credential=True)
        assert error_info(error).reason == "CREDENTIAL_UNREADABLE"
        assert (await daemon.call("GetActiveProvider")).provider.base_url == "https://10.0.0.1"
    async with serving(database, **production(database), allowed_hosts="10.0.0.0/8") as daemon:
        answer = await daemon.call("GetActiveProvider", include_credential=True)
        assert answer.credential.api_key == "sk-stored-by-sql"


async def test_a_key_without_a_seal_is_handed_out_unless_seals_are_required(database: str) -> None:
    await with_a_key_of_sql(database, "https://api.groq.com")
    async with serving(database, **production(database)) as daemon:
        answer = await daemon.call("GetActiveProvider", include_credential=True)
        assert answer.credential.api_key == "sk-stored-by-sql"
    async with serving(database, **production(database), require_seals=True) as daemon:
        error = await refused(daemon, "GetActiveProvider", include_credential=True)
        assert error_info(error).reason == "CREDENTIAL_UNREADABLE"
