"""The admin calls of the SDK, for asyncio and for threads, against a real daemon."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import pytest

import providerd
import providerd.sync
from providerd import ABSENT, Client, DiffKind, FieldChange, HistoryAction, Revision
from providerd_server.embedded import EmbeddedPostgres
from tests.cli import MINIMAL, Cli, cli_with_daemon
from tests.conftest import Psql


@pytest.fixture(scope="module")
def daemon(cluster: EmbeddedPostgres, psql: Psql, template: str) -> Iterator[Cli]:
    with cli_with_daemon(cluster, psql, template) as cli:
        yield cli


@pytest.fixture
async def client(daemon: Cli) -> AsyncIterator[Client]:
    async with Client(daemon.daemon.address, watch=False) as client:
        yield client


async def created(client: Client, name: str, **fields: object) -> int:
    """Creates a provider and returns the revision of it."""
    result = await client.upsert({"provider_name": name, **MINIMAL, **fields})
    assert result.revision is not None
    return result.revision.number


async def test_an_upsert_and_its_trial_tell_the_same_changes(client: Client) -> None:
    await created(client, "tried", description="old")
    change = {"provider_name": "tried", "description": "new", "context_window_tokens": 5}
    trial = await client.upsert(change, validate_only=True)
    assert (trial.revision, trial.changed) == (None, True)
    assert set(trial.changes) == {
        FieldChange("description", "old", "new"),
        FieldChange("context_window_tokens", ABSENT, 5),
    }
    done = await client.upsert(change)
    assert (done.changes, done.provider.config_version) == (trial.changes, 2)
    assert done.revision is not None
    assert (await client.upsert(change)).changes == ()


async def test_a_switch_that_is_only_tried_changes_nothing(client: Client) -> None:
    await created(client, "untouched")
    before = (await client.get_active()).provider.provider_name
    trial = await client.switch("untouched", validate_only=True)
    assert (trial.switched, trial.revision, trial.active.provider_name) == (True, None, "untouched")
    assert (await client.get_active()).provider.provider_name == before


async def test_a_deletion_brings_the_provider_as_it_was(client: Client) -> None:
    await created(client, "gone", description="remember me")
    trial = await client.delete("gone", validate_only=True, expected_config_version=1)
    assert (trial.revision, (await client.get("gone")).description) == (None, "remember me")
    with pytest.raises(providerd.AbortedError) as refused:
        await client.delete("gone", expected_config_version=7)
    assert refused.value.metadata["current_config_version"] == "1"
    done = await client.delete("gone", reason="over", actor="ops")
    assert done.provider == trial.provider
    assert done.revision is not None
    with pytest.raises(providerd.NotFoundError):
        await client.get("gone")
    (entry,) = [each async for each in client.history(provider_name="gone", action=HistoryAction.DELETED)]
    assert (entry.revision, entry.actor, entry.reason) == (done.revision, "ops", "over")


async def test_the_active_provider_is_not_deleted(client: Client) -> None:
    active = (await client.get_active()).provider.provider_name
    with pytest.raises(providerd.FailedPreconditionError) as refused:
        await client.delete(active)
    assert refused.value.reason == "PROVIDER_ACTIVE"


async def test_a_rollback_brings_the_content_back(client: Client) -> None:
    then = await created(client, "back", description="old")
    await client.upsert({"provider_name": "back", "description": "new"})
    done = await client.rollback("back", then, expected_config_version=2, reason="better")
    assert (done.changed, done.created, done.provider.description) == (True, False, "old")
    assert done.changes == (FieldChange("description", "new", "old"),)
    again = await client.rollback("back", then)
    assert (again.changed, again.changes) == (False, ())
    await client.delete("back")
    assert (await client.rollback("back", then, expected_config_version=0)).created
    with pytest.raises(providerd.OutOfRangeError) as refused:
        await client.rollback("back", 1_000_000)
    assert refused.value.reason == "REVISION_UNKNOWN"
    with pytest.raises(providerd.NotFoundError):
        await client.rollback("back", then - 1)


async def test_history_comes_newest_first_over_all_pages(daemon: Cli, client: Client) -> None:
    await created(client, "paged")
    update = "UPDATE llm_provider_configs SET description = n WHERE provider_name = 'paged'"
    await asyncio.to_thread(daemon.sql, f"DO $$ BEGIN FOR n IN 1..230 LOOP {update}; END LOOP; END $$")
    entries = [entry async for entry in client.history(provider_name="paged")]
    assert [entry.entry_id for entry in entries] == sorted((entry.entry_id for entry in entries), reverse=True)
    assert [entry.changes[0].new for entry in entries[:-1]] == [str(n) for n in range(230, 0, -1)]
    assert entries[-1].action is HistoryAction.CREATED
    for limit in (0, 1, 100, 101, 1000):
        assert [entry async for entry in client.history(provider_name="paged", limit=limit)] == entries[:limit]


async def test_history_is_bounded_by_times_and_revisions(client: Client) -> None:
    number = await created(client, "bounded")
    await client.upsert({"provider_name": "bounded", "description": "new"}, actor="somebody")
    now = datetime.now(UTC)

    async def found(**conditions: object) -> list[int]:
        history = client.history(provider_name="bounded", **conditions)  # type: ignore[arg-type]
        return [entry.revision.number async for entry in history]

    assert await found(start_time=now - timedelta(hours=1), end_time=now + timedelta(hours=1)) == [number + 1, number]
    assert await found(start_time=now + timedelta(hours=1)) == await found(end_time=now - timedelta(hours=1)) == []
    assert await found(last_revision=number) == [number]
    assert await found(first_revision=number + 1) == await found(actor="somebody") == [number + 1]


async def test_an_iteration_tells_what_went_wrong(client: Client) -> None:
    with pytest.raises(providerd.InvalidArgumentError):
        _ = [entry async for entry in client.history(first_revision=-1)]
    entries = client.history()
    await anext(entries)
    await client.close()
    with pytest.raises(providerd.ClosedError):
        _ = [entry async for entry in client.history()]


async def test_a_revision_is_the_whole_configuration(client: Client) -> None:
    number = await created(client, "then", description="as it was")
    await client.upsert({"provider_name": "then", "description": "now"})
    at = await client.revision_at(number)
    assert at.revision.number == number
    assert next(each for each in at.providers if each.provider_name == "then").description == "as it was"
    assert at.active_provider_name == (await client.get_active()).provider.provider_name
    assert [(entry.provider_name, entry.action) for entry in at.entries] == [("then", HistoryAction.CREATED)]
    assert list((await client.revision_at()).providers) == await client.list()
    with pytest.raises(providerd.OutOfRangeError):
        await client.revision_at(1_000_000)


async def test_a_difference_names_kinds_and_fields(client: Client) -> None:
    await created(client, "left")
    start = await created(client, "kept")
    await client.delete("left")
    await client.upsert({"provider_name": "kept", "model_capabilities": {"a": None}})
    await created(client, "came")
    found = await client.diff(start)
    assert [(each.provider_name, each.kind) for each in found.diffs] == [
        ("came", DiffKind.ADDED),
        ("kept", DiffKind.CHANGED),
        ("left", DiffKind.REMOVED),
    ]
    assert found.to_revision.number == start + 3
    (only,) = (await client.diff(start, start + 2, "kept")).diffs
    (change,) = only.changes
    assert (change.field.partition(".")[0], change.old) == ("model_capabilities", ABSENT)
    assert (await client.diff(start, start)).diffs == ()


async def test_a_configuration_is_planned_and_applied_once(client: Client) -> None:
    await created(client, "stated", description="old")
    wanted = [{"provider_name": "stated", **MINIMAL}, {"provider_name": "added", **MINIMAL}]
    plan = await client.apply(wanted, validate_only=True)
    assert plan.revision is None
    assert [(each.provider_name, each.kind) for each in plan.diffs] == [
        ("added", DiffKind.ADDED),
        ("stated", DiffKind.CHANGED),
    ]
    assert plan.diffs[1].changes == (FieldChange("description", "old", ABSENT),)
    done = await client.apply(wanted, expected_revision=plan.base_revision, actor="ops")
    assert done.diffs == plan.diffs
    assert done.revision == Revision(plan.base_revision.store_id, plan.base_revision.number + 1)
    with pytest.raises(providerd.AbortedError) as refused:
        await client.apply([], expected_revision=plan.base_revision)
    assert refused.value.metadata["current_revision"] == str(done.revision.number)
    with pytest.raises(providerd.InvalidArgumentError) as wrong:
        await client.apply([*wanted, {"provider_name": "third", **MINIMAL, "base_url": "nowhere"}])
    assert wrong.value.violations[0].field.startswith("providers[2].")


async def test_an_applied_switch_shows_in_the_client_that_made_it(daemon: Cli) -> None:
    async with Client(daemon.daemon.address) as client:
        await created(client, "shown")
        result = await client.apply([], active="shown")
        assert client.active.provider_name == "shown"
        assert client.revision == result.revision
        await client.switch("groq")
        assert client.active.provider_name == "groq"


async def test_how_fresh_an_answer_was_can_be_asked(client: Client) -> None:
    assert client.source is None
    await client.get("groq")
    assert client.source is not None
    assert 0 <= client.source.age < 60
    for call in (client.list, client.get_active):
        before = client.source
        await call()
        assert client.source is not before


def test_threads_have_the_same_calls(daemon: Cli) -> None:
    with providerd.sync.Client(daemon.daemon.address, watch=False) as client:
        assert client.source is None
        first = client.upsert({"provider_name": "threaded", **MINIMAL}).revision
        assert first is not None
        client.upsert({"provider_name": "threaded", "description": "new"})
        assert client.diff(first.number, provider_name="threaded").diffs[0].changes[0].new == "new"
        assert client.rollback("threaded", first.number).changed
        actions = [entry.action for entry in client.history(provider_name="threaded", limit=2)]
        assert actions == [HistoryAction.UPDATED, HistoryAction.UPDATED]
        assert client.apply([{"provider_name": "threaded", **MINIMAL}]).diffs == ()
        assert client.delete("threaded").provider.description == ""
        assert "threaded" in [each.provider_name for each in client.revision_at(first.number).providers]
        assert client.get("groq").provider_name == "groq"
        assert client.source is not None
        with pytest.raises(providerd.InvalidArgumentError):
            client.history(start_time=datetime(2026, 1, 1))
        entries = client.history()
        next(entries)
        client.close()
        with pytest.raises(providerd.ClosedError):
            list(client.history())
