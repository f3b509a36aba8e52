"""A key stays where it was given for: it goes elsewhere only when it is given again."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import grpc
import pytest

from providerd.secret import Secret
from providerd.v1 import provider_pb2 as pb
from providerd_server.store.sealed import SealedKey
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
from tests.integration.serving import Serving, error_info, serving
from tests.integration.test_service_writes import MISTRAL, refused, revision

ELSEWHERE = {"provider_name": "mistral", "base_url": "https://api.elsewhere.example"}


@pytest.fixture
async def daemon(database: str) -> AsyncIterator[Serving]:
    """A daemon with both passphrases, and a provider with a key that it stored."""
    async with serving(database, db_encryption_key=Secret(NEW), db_encryption_key_previous=Secret(OLD)) as daemon:
        await daemon.call("UpsertProvider", provider=MISTRAL, new_api_key=API_KEY)
        yield daemon


@pytest.fixture
async def db(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def stored(db: asyncpg.Connection) -> Any:
    row = await row_of(db, "mistral")
    return row["base_url"], SealedKey.in_row(row)


async def is_bound_and_current(db: asyncpg.Connection, api_key: str = API_KEY) -> bool:
    row = await row_of(db, "mistral")
    sealed = SealedKey.in_row(row)
    assert sealed is not None
    assert sealed.key_id == ring(NEW).current.id
    assert (await learned(db, NEW)).of(row) == Secret(api_key)
    return sealed.is_bound_by(ring(NEW).current)


async def test_an_upsert_binds_the_key(daemon: Serving, db: asyncpg.Connection) -> None:
    assert await is_bound_and_current(db)
    assert await decrypted_by_sql(db, "mistral", NEW) == API_KEY


@pytest.fixture
async def without_encryption(daemon: Serving, db: asyncpg.Connection) -> None:
    """Takes encrypting away, so that whoever begins it fails."""
    await db.execute("ALTER FUNCTION pgp_sym_encrypt(text, text, text) RENAME TO taken_away")


@pytest.mark.usefixtures("without_encryption")
@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"provider": {**MISTRAL, "base_url": "nowhere"}}, "INVALID_FIELDS"),
        ({"provider": {**MISTRAL, "provider_name": "brand-new", "default_model": ""}}, "INVALID_FIELDS"),
        ({"provider": MISTRAL, "expected_config_version": 7}, "CONFIG_VERSION_MISMATCH"),
        ({"provider": MISTRAL, "expected_config_version": 0}, "CONFIG_VERSION_MISMATCH"),
        # Nothing is wrong with this one.
        ({"provider": MISTRAL}, "DATABASE_ERROR"),
    ],
)
async def test_what_is_refused_anyway_costs_no_encrypting(
    daemon: Serving, request_: dict[str, Any], reason: str
) -> None:
    error = await refused(daemon, "UpsertProvider", **request_, new_api_key="sk-anew")
    assert error_info(error).reason == reason


@pytest.mark.usefixtures("without_encryption")
async def test_a_dry_run_needs_no_encrypting_and_answers_as_if(daemon: Serving, db: asyncpg.Connection) -> None:
    before = await rows_of(db)
    moved = await daemon.call("UpsertProvider", provider=ELSEWHERE, new_api_key="sk-anew", validate_only=True)
    assert {change.field for change in moved.changes} == {"base_url", "key_fingerprint"}
    again = await daemon.call(
        "UpsertProvider", provider={"provider_name": "mistral"}, new_api_key=API_KEY, validate_only=True
    )
    assert not again.changed
    new = {**MISTRAL, "provider_name": "brand-new"}
    for _ in range(2):
        created = await daemon.call("UpsertProvider", provider=new, new_api_key="sk-anew", validate_only=True)
        assert (created.created, created.provider.has_key) == (True, True)
    assert await rows_of(db) == before


async def test_the_same_key_again_is_no_change(daemon: Serving, db: asyncpg.Connection) -> None:
    before, number = await stored(db), await revision(daemon)
    answer = await daemon.call("UpsertProvider", provider={"provider_name": "mistral"}, new_api_key=API_KEY)
    assert not answer.changed
    assert await revision(daemon) == number
    assert await stored(db) == before


async def test_another_destination_with_the_same_key_again_is_stored(daemon: Serving, db: asyncpg.Connection) -> None:
    _, before = await stored(db)
    answer = await daemon.call("UpsertProvider", provider=ELSEWHERE, new_api_key=API_KEY)
    assert {change.field for change in answer.changes} == {"base_url", "key_fingerprint"}
    _, after = await stored(db)
    assert after.destination == "https://api.elsewhere.example:443"
    assert after.ciphertext != before.ciphertext
    assert await is_bound_and_current(db)


async def test_another_path_keeps_the_key(daemon: Serving, db: asyncpg.Connection) -> None:
    _, before = await stored(db)
    await daemon.call("UpsertProvider", provider={"provider_name": "mistral", "base_url": "https://api.mistral.ai/eu"})
    _, after = await stored(db)
    assert after == before


@pytest.mark.parametrize("validate_only", [False, True])
@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("UpsertProvider", {"provider": ELSEWHERE}),
        ("UpsertProvider", {"provider": {**ELSEWHERE, "base_url": "https://api.mistral.ai:8443"}}),
        ("RollbackProvider", {"provider_name": "mistral", "revision_number": "first"}),
        (
            "ApplyConfiguration",
            {"providers": [{**MISTRAL, "provider_name": "brand-new"}, {**MISTRAL, **ELSEWHERE}], "reason": "r"},
        ),
    ],
    ids=["upsert", "upsert of a port", "rollback", "apply"],
)
async def test_another_destination_without_the_key_is_refused_and_nothing_is_done(
    daemon: Serving, db: asyncpg.Connection, method: str, request_: dict[str, Any], validate_only: bool
) -> None:
    first = await revision(daemon)
    if method == "RollbackProvider":
        # Back to where it was before its key was given for elsewhere.
        await daemon.call("UpsertProvider", provider=ELSEWHERE, new_api_key=API_KEY)
        request_ = {**request_, "revision_number": first}
    before, number = await rows_of(db), await revision(daemon)
    error = await refused(daemon, method, **request_, validate_only=validate_only)
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error_info(error).reason == "KEY_BOUND_TO_DESTINATION"
    assert "mistral" in (error.details() or "")
    assert API_KEY not in str(error)
    assert await rows_of(db) == before
    assert await revision(daemon) == number


@pytest.mark.parametrize("how", ["clear", "delete", "sql"])
async def test_a_key_that_is_gone_leaves_no_tags(daemon: Serving, db: asyncpg.Connection, how: str) -> None:
    if how == "clear":
        await daemon.call("UpsertProvider", provider={"provider_name": "mistral"}, clear_api_key=True)
    elif how == "delete":
        await daemon.call("DeleteProvider", provider_name="mistral")
        await daemon.call("UpsertProvider", provider=MISTRAL)
    else:
        await db.execute("UPDATE llm_provider_configs SET api_key_encrypted = NULL WHERE provider_name = 'mistral'")
    row = await row_of(db, "mistral")
    assert (row["api_key_encrypted"], row["api_key_id"], row["api_key_mac"]) == (None, None, None)


async def test_without_a_key_a_provider_goes_anywhere(daemon: Serving, db: asyncpg.Connection) -> None:
    await daemon.call("UpsertProvider", provider={"provider_name": "mistral"}, clear_api_key=True)
    await daemon.call("UpsertProvider", provider=ELSEWHERE)
    assert await stored(db) == ("https://api.elsewhere.example", None)


async def test_clearing_the_key_lets_the_same_call_move_the_provider(daemon: Serving, db: asyncpg.Connection) -> None:
    await daemon.call("UpsertProvider", provider=ELSEWHERE, clear_api_key=True)
    assert await stored(db) == ("https://api.elsewhere.example", None)


async def test_a_whole_configuration_keeps_keys_and_their_tags(daemon: Serving, db: asyncpg.Connection) -> None:
    before = await stored(db)
    edited = {**MISTRAL, "default_model": "mistral-small", "is_enabled": False}
    await daemon.call("ApplyConfiguration", providers=[edited])
    assert await stored(db) == before


async def test_a_rollback_keeps_the_key_and_its_tags(daemon: Serving, db: asyncpg.Connection) -> None:
    number, before = await revision(daemon), await stored(db)
    await daemon.call("UpsertProvider", provider={"provider_name": "mistral", "default_model": "mistral-small"})
    await daemon.call("RollbackProvider", provider_name="mistral", revision_number=number)
    assert await stored(db) == before


async def test_a_row_pointed_elsewhere_past_the_triggers_hands_out_no_key(
    daemon: Serving, db: asyncpg.Connection
) -> None:
    await daemon.call("SwitchProvider", provider_name="mistral")
    watch = daemon.watch(include_credential=True)
    assert (await watch.read()).active.credential.api_key == API_KEY
    await past_the_triggers(
        db, "UPDATE llm_provider_configs SET base_url = 'https://evil.example' WHERE provider_name = 'mistral'"
    )
    while not (response := await watch.read()).HasField("active"):
        pass
    assert response.active.provider.base_url == "https://evil.example"
    assert not response.active.HasField("credential")
    error = await refused(daemon, "GetActiveProvider", include_credential=True)
    assert error_info(error).reason == "CREDENTIAL_UNREADABLE"
    # The others are served, and the key may be given anew.
    await by_sql(db, "groq", "sk-of-groq", OLD)
    await daemon.call("SwitchProvider", provider_name="groq")
    assert (await daemon.call("GetActiveProvider", include_credential=True)).credential.api_key == "sk-of-groq"
    back = await daemon.call("SwitchProvider", provider_name="mistral")
    assert [warning.reason for warning in back.warnings] == ["CREDENTIAL_UNREADABLE"]
    await daemon.call("UpsertProvider", provider={"provider_name": "mistral"}, new_api_key="sk-anew")
    active: pb.GetActiveProviderResponse = await daemon.call("GetActiveProvider", include_credential=True)
    assert active.credential.api_key == "sk-anew"
