"""The admin surface: history, revisions, differences, rollback, deletion, and whole configurations."""

import asyncio
import datetime
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from providerd.secret import Secret
from providerd.v1 import provider_pb2 as pb
from providerd_server.store import Database, Retention, Transactions
from tests.daemon import DAEMON_ROLE, as_role
from tests.integration.serving import Serving, error_info, serving, violations
from tests.integration.test_service_writes import MISTRAL, refused, revision


def by_field(changes: Any) -> dict[str, tuple[Any, Any]]:
    """Field changes as plain JSON: path to (old, new), None where there is none."""
    found = {}
    for change in changes:
        plain = MessageToDict(change, preserving_proto_field_name=True)
        found[change.field] = (plain.get("old_value"), plain.get("new_value"))
    return found


async def a_past(daemon: Serving) -> dict[str, int]:
    """Some changes of a provider; returns the revision of each."""
    numbers = {}
    created = await daemon.call("UpsertProvider", provider=MISTRAL, new_api_key="sk-canary", actor="ann")
    numbers["created"] = created.revision.number
    edit = {"provider_name": "mistral", "default_model": "mistral-small", "context_window_tokens": 32000}
    edited = await daemon.call("UpsertProvider", provider=edit, actor="bob", reason="cheaper")
    numbers["edited"] = edited.revision.number
    switched = await daemon.call("SwitchProvider", provider_name="mistral", actor="ann")
    numbers["switched"] = switched.revision.number
    back = await daemon.call("SwitchProvider", provider_name="groq", actor="bob")
    numbers["back"] = back.revision.number
    return numbers


async def test_the_history_says_who_did_what_when_why_and_which_fields(database: str) -> None:
    async with serving(database) as daemon:
        numbers = await a_past(daemon)
        history = await daemon.call("ListHistory", provider_name="mistral")
        actions = [pb.HistoryAction.Name(entry.action).removeprefix("HISTORY_ACTION_") for entry in history.entries]
        assert actions == ["DEACTIVATED", "ACTIVATED", "UPDATED", "CREATED"]
        edited = history.entries[2]
        assert (edited.actor, edited.reason, edited.revision.number) == ("bob", "cheaper", numbers["edited"])
        assert edited.database_user == DAEMON_ROLE
        assert edited.change_time.ToDatetime(datetime.UTC) <= datetime.datetime.now(datetime.UTC)
        assert by_field(edited.changes) == {
            "default_model": ("mistral-large", "mistral-small"),
            "context_window_tokens": (128000, 32000),
        }
        created = by_field(history.entries[3].changes)
        assert created["model_capabilities"] == (None, MISTRAL["model_capabilities"])
        assert created["key_fingerprint"][0] is None
        assert "canary" not in str(history)


async def test_the_history_is_filtered_by_everything_it_holds(database: str) -> None:
    async with serving(database) as daemon:
        numbers = await a_past(daemon)

        async def found(**wanted: Any) -> list[tuple[str, int]]:
            history = await daemon.call("ListHistory", **wanted)
            return [(entry.provider_name, entry.revision.number) for entry in history.entries]

        assert await found(action="HISTORY_ACTION_ACTIVATED", first_revision=2) == [
            ("groq", numbers["back"]),
            ("mistral", numbers["switched"]),
        ]
        assert {name for name, _ in await found(actor="bob")} == {"mistral", "groq"}
        assert await found(first_revision=numbers["edited"], last_revision=numbers["edited"]) == [
            ("mistral", numbers["edited"])
        ]
        assert await found(start_time="2999-01-01T00:00:00Z") == []
        assert await found(end_time="2000-01-01T00:00:00Z") == []
        assert await found(provider_name="nobody") == []


async def test_the_history_comes_in_pages_that_stay_put_while_it_grows(database: str) -> None:
    async with serving(database) as daemon:
        await a_past(daemon)
        whole = [entry.entry_id for entry in (await daemon.call("ListHistory")).entries]
        seen, token = [], ""
        while True:
            page = await daemon.call("ListHistory", page_size=3, page_token=token)
            seen += [entry.entry_id for entry in page.entries]
            await daemon.call("UpsertProvider", provider={"provider_name": "groq", "description": f"{len(seen)}"})
            token = page.next_page_token
            if not token:
                break
        assert seen == whole
        assert whole == sorted(whole, reverse=True)
        for wrong in ("%%", "YWJj", "LTE="):
            error = await refused(daemon, "ListHistory", page_token=wrong)
            assert set(violations(error)) == {"page_token"}


async def test_a_revision_is_the_whole_configuration_as_it_was(database: str) -> None:
    async with serving(database) as daemon:
        numbers = await a_past(daemon)
        await daemon.call("DeleteProvider", provider_name="mistral")
        then = await daemon.call("GetRevision", number=numbers["switched"])
        assert then.active_provider_name == "mistral"
        mistral = next(provider for provider in then.providers if provider.provider_name == "mistral")
        assert (mistral.default_model, mistral.is_active, mistral.has_key) == ("mistral-small", True, True)
        assert {entry.provider_name for entry in then.entries} == {"mistral", "groq"}
        first = await daemon.call("GetRevision", number=1)
        assert [provider.provider_name for provider in first.providers] == [
            "chatgpt",
            "google_ai",
            "groq",
            "openrouter",
        ]
        now = await daemon.call("GetRevision")
        listed = await daemon.call("ListProviders")
        assert now.revision == listed.revision
        assert list(now.providers) == list(listed.providers)


async def test_revisions_beyond_the_ends_are_out_of_range(database: str) -> None:
    async with serving(database) as daemon:
        for method, request in (
            ("GetRevision", {"number": 999}),
            ("DiffRevisions", {"from_revision": 1, "to_revision": 999}),
            ("RollbackProvider", {"provider_name": "groq", "revision_number": 999}),
        ):
            error = await refused(daemon, method, **request)
            assert error.code() is grpc.StatusCode.OUT_OF_RANGE, method
            assert error_info(error).reason == "REVISION_UNKNOWN"
            assert error_info(error).metadata["newest_revision"] == "1"
        for method, request, field in (
            ("GetRevision", {"number": -1}, "number"),
            ("DiffRevisions", {}, "from_revision"),
            ("RollbackProvider", {"provider_name": "groq"}, "revision_number"),
        ):
            error = await refused(daemon, method, **request)
            assert set(violations(error)) == {field}


async def test_a_difference_tells_added_removed_and_changed_field_by_field(database: str) -> None:
    async with serving(database) as daemon:
        numbers = await a_past(daemon)
        difference = await daemon.call("DiffRevisions", from_revision=1, to_revision=numbers["switched"])
        kinds = {diff.provider_name: pb.DiffKind.Name(diff.kind) for diff in difference.diffs}
        assert kinds == {"mistral": "DIFF_KIND_ADDED", "groq": "DIFF_KIND_CHANGED"}
        assert by_field(difference.diffs[0].changes) == {"is_active": (True, False)}
        backwards = await daemon.call("DiffRevisions", from_revision=numbers["switched"], to_revision=1)
        assert {diff.kind for diff in backwards.diffs} == {pb.DIFF_KIND_REMOVED, pb.DIFF_KIND_CHANGED}
        only = await daemon.call("DiffRevisions", from_revision=1, provider_name="mistral")
        assert [diff.provider_name for diff in only.diffs] == ["mistral"]
        assert not (await daemon.call("DiffRevisions", from_revision=1, to_revision=1)).diffs
        assert "canary" not in str(difference)


async def test_a_rollback_is_a_new_revision_with_the_old_content_and_the_current_key(database: str) -> None:
    async with serving(database) as daemon:
        numbers = await a_past(daemon)
        key = (
            await daemon.call("UpsertProvider", provider={"provider_name": "mistral"}, new_api_key="sk-new")
        ).provider
        plan = await daemon.call(
            "RollbackProvider", provider_name="mistral", revision_number=numbers["created"], validate_only=True
        )
        assert by_field(plan.changes)["default_model"] == ("mistral-small", "mistral-large")
        assert not plan.HasField("revision")
        before = await revision(daemon)
        done = await daemon.call(
            "RollbackProvider",
            provider_name="mistral",
            revision_number=numbers["created"],
            reason="it was better",
            actor="ann",
            expected_config_version=key.config_version,
        )
        assert done.changed
        assert done.revision.number == before + 1
        assert done.provider.default_model == "mistral-large"
        assert done.provider.context_window_tokens == 128000
        assert done.provider.key_fingerprint == key.key_fingerprint
        newest = (await daemon.call("ListHistory", page_size=1)).entries[0]
        assert newest.reason == f"rollback to revision {numbers['created']}: it was better"
        again = await daemon.call("RollbackProvider", provider_name="mistral", revision_number=numbers["created"])
        assert not again.changed
        assert again.revision.number == before + 1


async def test_a_rollback_brings_a_deleted_provider_back_without_its_key(database: str) -> None:
    async with serving(database) as daemon:
        numbers = await a_past(daemon)
        await daemon.call("DeleteProvider", provider_name="mistral")
        back = await daemon.call("RollbackProvider", provider_name="mistral", revision_number=numbers["created"])
        assert back.created
        assert back.provider.default_model == "mistral-large"
        assert not back.provider.has_key
        error = await refused(daemon, "RollbackProvider", provider_name="mistral", revision_number=1)
        assert error.code() is grpc.StatusCode.NOT_FOUND
        # It is another provider now, of the same name: what it was before it was deleted is not its own past.
        history = await daemon.call("ListHistory", provider_name="mistral", page_size=1)
        assert history.entries[0].action == pb.HISTORY_ACTION_CREATED


async def test_a_rollback_is_refused_when_it_would_disable_the_active_one_or_is_stale(database: str) -> None:
    async with serving(database) as daemon:
        await daemon.call("UpsertProvider", provider={"provider_name": "openrouter", "is_enabled": True})
        await daemon.call("SwitchProvider", provider_name="openrouter")
        error = await refused(daemon, "RollbackProvider", provider_name="openrouter", revision_number=1)
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert error_info(error).reason == "PROVIDER_ACTIVE"
        error = await refused(
            daemon, "RollbackProvider", provider_name="groq", revision_number=1, expected_config_version=77
        )
        assert error.code() is grpc.StatusCode.ABORTED
        assert error_info(error).metadata["current_config_version"] == "1"


async def test_a_rollback_is_held_to_the_rules_like_any_other_change(database: str) -> None:
    sql = await asyncpg.connect(database)
    # The schema lets it pass, the daemon would not.
    await sql.execute("UPDATE llm_provider_configs SET base_url = 'ftp://old' WHERE provider_name = 'chatgpt'")
    await sql.execute("UPDATE llm_provider_configs SET base_url = 'https://new' WHERE provider_name = 'chatgpt'")
    await sql.close()
    async with serving(database) as daemon:
        error = await refused(daemon, "RollbackProvider", provider_name="chatgpt", revision_number=2)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert set(violations(error)) == {"provider.base_url"}


async def test_more_violations_than_an_answer_can_carry_still_make_an_answer(database: str) -> None:
    wrong = {**MISTRAL, "additional_headers": {f"X Header {number:03}": 1 for number in range(400)}}
    async with serving(database) as daemon:
        error = await refused(daemon, "ApplyConfiguration", providers=[wrong])
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert any("more violations" in description for description in violations(error).values())


async def test_a_rename_by_sql_keeps_its_past(database: str) -> None:
    sql = await asyncpg.connect(database)
    async with serving(database) as daemon:
        await sql.execute("UPDATE llm_provider_configs SET provider_name = 'router' WHERE provider_name = 'openrouter'")
        then = await daemon.call("GetRevision")
        assert "openrouter" not in [provider.provider_name for provider in then.providers]
        newest = (await daemon.call("ListHistory", page_size=1)).entries[0]
        assert by_field(newest.changes) == {"provider_name": ("openrouter", "router")}
    await sql.close()


async def test_a_deletion_is_refused_for_the_active_one_the_unknown_and_the_stale(database: str) -> None:
    async with serving(database) as daemon:
        before = await revision(daemon)
        cases: list[tuple[dict[str, Any], grpc.StatusCode, str]] = [
            ({"provider_name": "groq"}, grpc.StatusCode.FAILED_PRECONDITION, "PROVIDER_ACTIVE"),
            ({"provider_name": "nobody"}, grpc.StatusCode.NOT_FOUND, "PROVIDER_NOT_FOUND"),
            (
                {"provider_name": "chatgpt", "expected_config_version": 9},
                grpc.StatusCode.ABORTED,
                "CONFIG_VERSION_MISMATCH",
            ),
            ({"provider_name": ""}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELDS"),
        ]
        for request, code, reason in cases:
            error = await refused(daemon, "DeleteProvider", **request)
            assert (error.code(), error_info(error).reason) == (code, reason)
        plan = await daemon.call("DeleteProvider", provider_name="chatgpt", validate_only=True)
        assert plan.provider.provider_name == "chatgpt"
        assert not plan.HasField("revision")
        assert await revision(daemon) == before
        done = await daemon.call("DeleteProvider", provider_name="chatgpt", reason="unused", actor="ann")
        assert done.revision.number == before + 1
        assert (await refused(daemon, "GetProvider", provider_name="chatgpt")).code() is grpc.StatusCode.NOT_FOUND
        newest = (await daemon.call("ListHistory", page_size=1)).entries[0]
        assert (newest.action, newest.actor, newest.reason) == (pb.HISTORY_ACTION_DELETED, "ann", "unused")
        assert by_field(newest.changes)["display_name"][1] is None


async def test_a_switch_can_be_tried_first(database: str) -> None:
    async with serving(database) as daemon:
        await daemon.call("UpsertProvider", provider=MISTRAL)
        before = await revision(daemon)
        plan = await daemon.call("SwitchProvider", provider_name="mistral", validate_only=True)
        # What was only tried is no revision that reads could be behind of.
        assert not (await daemon.call("GetActiveProvider")).source.stale
        assert (plan.previous.provider_name, plan.active.provider_name, plan.switched) == ("groq", "mistral", True)
        assert not plan.HasField("revision")
        assert (await daemon.call("GetActiveProvider")).provider.provider_name == "groq"
        assert await revision(daemon) == before
        error = await refused(daemon, "SwitchProvider", provider_name="chatgpt", validate_only=True)
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION


async def configuration(daemon: Serving) -> list[dict[str, Any]]:
    listed = await daemon.call("ListProviders")
    return [MessageToDict(provider, preserving_proto_field_name=True) for provider in listed.providers]


async def test_a_configuration_is_planned_then_applied_in_one_revision(database: str) -> None:
    async with serving(database) as daemon:
        await daemon.call("UpsertProvider", provider={"provider_name": "groq"}, new_api_key="gsk-kept")
        stated = [each for each in await configuration(daemon) if each["provider_name"] != "google_ai"]
        groq = next(each for each in stated if each["provider_name"] == "groq")
        # The active one is disabled in the same step that makes another active.
        groq["is_enabled"] = False
        groq.pop("description", None)
        stated.append(MISTRAL)
        wanted = {"providers": stated, "active_provider_name": "mistral", "delete_missing": True}
        before = await revision(daemon)
        plan = await daemon.call("ApplyConfiguration", **wanted, validate_only=True)
        kinds = {diff.provider_name: pb.DiffKind.Name(diff.kind) for diff in plan.diffs}
        assert kinds == {
            "google_ai": "DIFF_KIND_REMOVED",
            "groq": "DIFF_KIND_CHANGED",
            "mistral": "DIFF_KIND_ADDED",
        }
        assert not plan.HasField("revision")
        assert await revision(daemon) == before == plan.base_revision.number
        expected = {"store_id": plan.base_revision.store_id, "number": plan.base_revision.number}
        done = await daemon.call("ApplyConfiguration", **wanted, expected_revision=expected, actor="ann")
        assert done.diffs[0].provider_name == "google_ai"
        assert {diff.provider_name for diff in done.diffs} == kinds.keys()
        assert done.revision.number == before + 1
        assert (await daemon.call("GetActiveProvider")).provider.provider_name == "mistral"
        groq_now = (await daemon.call("GetProvider", provider_name="groq")).provider
        assert (groq_now.is_enabled, groq_now.description, groq_now.has_key) == (False, "", True)
        again = await daemon.call("ApplyConfiguration", **wanted)
        assert not again.diffs
        assert again.revision.number == before + 1
        error = await refused(daemon, "ApplyConfiguration", **wanted, expected_revision=expected)
        assert error.code() is grpc.StatusCode.ABORTED


async def test_a_wrong_configuration_names_every_field_and_changes_nothing(database: str) -> None:
    async with serving(database) as daemon:
        before = await revision(daemon)
        error = await refused(
            daemon,
            "ApplyConfiguration",
            providers=[MISTRAL, {**MISTRAL, "base_url": "nowhere"}, {"provider_name": "Bad Name"}],
            reason="r" * 1001,
        )
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert {
            "providers[1].provider_name",
            "providers[1].base_url",
            "providers[2].provider_name",
            "providers[2].display_name",
            "reason",
        } <= set(violations(error))
        cases = (
            ({"providers": [], "delete_missing": True}, grpc.StatusCode.FAILED_PRECONDITION),
            ({"active_provider_name": "nobody"}, grpc.StatusCode.NOT_FOUND),
            ({"active_provider_name": "chatgpt"}, grpc.StatusCode.FAILED_PRECONDITION),
        )
        for request, code in cases:
            assert (await refused(daemon, "ApplyConfiguration", **request)).code() is code
        assert await revision(daemon) == before


async def test_a_pruned_revision_says_so_and_later_ones_are_whole(database: str) -> None:
    async with serving(database) as daemon:
        numbers = await a_past(daemon)
        sql = await asyncpg.connect(database)
        # Everything up to the edit happened a year ago.
        await sql.execute(
            "UPDATE llm_provider_config_history SET changed_at = changed_at - interval '1 year' WHERE revision <= $1",
            numbers["edited"],
        )
        expected = await daemon.call("GetRevision", number=numbers["switched"])
        store = Database(Secret(as_role(database, DAEMON_ROLE)))
        pool = await store.create_pool()
        retention = Retention(Transactions(store, pool), datetime.timedelta(days=90))
        # Only the creation of mistral is superseded: the newest before is what later revisions build on.
        assert await retention.prune() == 1
        assert await retention.prune() == 0
        await pool.close()

        error = await refused(daemon, "GetRevision", number=numbers["edited"])
        assert error.code() is grpc.StatusCode.OUT_OF_RANGE
        assert error_info(error).reason == "REVISION_PRUNED"
        assert error_info(error).metadata["oldest_revision"] == str(numbers["switched"])
        assert await daemon.call("GetRevision", number=numbers["switched"]) == expected
        history = await daemon.call("ListHistory")
        assert history.oldest_revision == numbers["switched"]
        assert {entry.revision.number for entry in history.entries} == {numbers["switched"], numbers["back"]}
        error = await refused(daemon, "RollbackProvider", provider_name="mistral", revision_number=1)
        assert error_info(error).reason == "REVISION_PRUNED"
        await sql.close()


async def test_pruning_goes_by_batches_and_never_takes_the_newest(database: str) -> None:
    sql = await asyncpg.connect(database)
    await sql.execute("UPDATE llm_provider_store SET shortest_retention = '0'")
    for turn in range(30):
        await sql.execute("UPDATE llm_provider_configs SET description = $1 WHERE provider_name = 'groq'", str(turn))
    counts = []
    while count := await sql.fetchval("SELECT prune_provider_history(now() + interval '1 hour', 7)"):
        counts.append(count)
    assert counts == [7, 7, 7, 7, 1]
    newest = await sql.fetchrow("SELECT revision, oldest_revision FROM llm_provider_store")
    assert newest["revision"] == newest["oldest_revision"] == 31
    assert await sql.fetchval("SELECT count(*) FROM llm_provider_config_history") == 5
    async with serving(database) as daemon:
        assert len((await daemon.call("GetRevision")).providers) == 4
    await sql.close()


async def test_the_daemon_prunes_by_itself_when_told_how_long_to_keep(database: str) -> None:
    sql = await asyncpg.connect(database)
    for text in ("x", "y"):
        await sql.execute("UPDATE llm_provider_configs SET description = $1 WHERE provider_name = 'groq'", text)
    await sql.execute("UPDATE llm_provider_config_history SET changed_at = changed_at - interval '1 year'")
    async with serving(database, history_retention="90d"), asyncio.timeout(10):
        while await sql.fetchval("SELECT count(*) FROM llm_provider_config_history") != 5:
            await asyncio.sleep(0.02)
    await sql.close()


async def test_with_the_database_away_the_history_is_unavailable(database: str, cluster: Any) -> None:
    name = urlsplit(database).path.lstrip("/")
    admin = await asyncpg.connect(cluster.dsn("postgres"))
    async with serving(database) as daemon:
        await admin.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
        error = await refused(daemon, "ListHistory")
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        await admin.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
        await daemon.call("ListHistory")
    await admin.close()


async def test_the_daemon_says_that_the_history_is_kept_for_longer(
    database: str, capfd: pytest.CaptureFixture[str]
) -> None:
    sql = await asyncpg.connect(database)
    await sql.execute("UPDATE llm_provider_configs SET description = 'x' WHERE provider_name = 'groq'")
    await sql.execute("UPDATE llm_provider_config_history SET changed_at = changed_at - interval '10 days'")
    await sql.close()
    said, output = "the history is kept for longer than PROVIDERD_HISTORY_RETENTION says", ""
    async with serving(database, history_retention="7d") as daemon, asyncio.timeout(10):
        while said not in output:
            output += "".join(capfd.readouterr())
            await asyncio.sleep(0.02)
        assert (await daemon.call("GetRevision", number=1)).providers
    assert "30 days" in output
