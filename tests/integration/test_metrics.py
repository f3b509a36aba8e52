"""What Prometheus is told, by a real daemon and a real sidecar, of what really happens to them."""

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from access import AccessFile, bearer
from serving import Serving, free_port, serving
from sidecars import sidecar_of

from providerd.v1 import provider_pb2 as pb
from providerd_server.errors import Kind
from providerd_server.metrics import in_loop
from providerd_server.store import Store
from tests.integration.measured import until, watched
from tests.integration.sql import connected
from tests.metrics import Scrape, scrape


@pytest.fixture
def address() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has nobody be told what was true a moment ago."""
    monkeypatch.setattr(in_loop, "_SHARED", 0.0)


@pytest.fixture
async def daemon(database: str, address: str) -> AsyncIterator[Serving]:
    """A daemon with the providers "one", active, and "two"."""
    async with watched(database, address) as daemon:
        yield daemon


def codes_of(shown: Scrape) -> set[str]:
    """The statuses that calls have ended with."""
    return {labels["grpc_code"] for labels in shown.labels("grpc_server_handled_total")}


async def test_nothing_is_listened_on_unless_asked_for(database: str, address: str) -> None:
    async with serving(database):
        with pytest.raises(OSError, match="refused"):
            await scrape(address)


async def test_a_daemon_that_follows_shows_what_it_follows_and_knows(daemon: Serving, address: str) -> None:
    shown = await until(address, lambda shown: shown("providerd_listen_state", state="listening") == 1)
    assert shown("providerd_source_info", kind="postgresql") == 1
    assert shown("providerd_source_connected") == 1
    assert 0 <= shown("providerd_source_age_seconds") < 10
    assert shown("providerd_stale") == 0
    assert shown("providerd_source_reads_total") > 0
    assert shown("providerd_source_failures_total") == 0
    assert shown("providerd_listen_state", state="deaf") == shown("providerd_listen_state", state="connecting") == 0
    revision = (await daemon.call("GetActiveProvider")).revision
    assert shown("providerd_store_info", store_id=revision.store_id) == 1
    assert shown("providerd_revision") == revision.number == 4
    assert shown("providerd_providers") == 6
    assert shown("providerd_active") == shown("providerd_active_provider_info", provider_name="one") == 1
    assert shown("providerd_postgresql_vulnerable") == 1  # the embedded 18.1
    (version,) = shown.labels("providerd_postgresql_info")
    assert version["version"] == "18.1"
    assert shown("process_resident_memory_bytes") > 10_000_000


async def test_writes_and_calls_are_counted_by_how_they_end(daemon: Serving, address: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await daemon.call("SwitchProvider", provider_name="nobody")
    await daemon.call("SwitchProvider", provider_name="one")  # active already: changes nothing
    await daemon.call("SwitchProvider", provider_name="two", validate_only=True)
    with pytest.raises(grpc.aio.AioRpcError):
        await daemon.call("SwitchProvider", provider_name="nobody", validate_only=True)  # is no write
    with pytest.raises(grpc.aio.AioRpcError):
        await daemon.call("GetProvider", provider_name="")
    # A caller may have its status a moment before the call has ended here.
    shown = await until(address, lambda shown: "INVALID_ARGUMENT" in codes_of(shown))
    service = "providerd.v1.ProviderService"

    def calls(method: str, code: str) -> float:
        return shown("grpc_server_handled_total", grpc_service=service, grpc_method=method, grpc_code=code)

    assert shown("providerd_writes_total", outcome="made") == shown("providerd_write_seconds_count") == 3
    assert shown("providerd_writes_total", outcome="not_found") == 1
    assert 0 < shown("providerd_write_seconds_sum") < 30
    assert (calls("SwitchProvider", "OK"), calls("SwitchProvider", "NOT_FOUND")) == (3, 2)
    assert calls("GetProvider", "INVALID_ARGUMENT") == 1
    timed = {"grpc_service": service, "grpc_method": "SwitchProvider"}
    assert shown("grpc_server_handling_seconds_count", **timed) == shown("grpc_server_started_total", **timed) == 5
    assert 0 < shown("grpc_server_handling_seconds_sum", **timed) < 30


async def test_writes_that_nobody_waits_for_and_that_fail_unforeseen_are_counted_and_shown_before(
    daemon: Serving, database: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def outcomes(shown: Scrape) -> dict[str, float]:
        return {
            labels["outcome"]: shown("providerd_writes_total", **labels)
            for labels in shown.labels("providerd_writes_total")
        }

    before = outcomes(await scrape(address))
    assert before == {**dict.fromkeys(before, 0), "made": 3}
    assert before.keys() == {"made", "cancelled"} | {kind.name.lower() for kind in Kind}
    async with connected(database) as db, db.transaction():
        await db.execute("SELECT * FROM lock_provider_store()")
        with pytest.raises(grpc.aio.AioRpcError):
            await daemon.stub.SwitchProvider(pb.SwitchProviderRequest(provider_name="two"), timeout=0.2)
        await until(address, lambda shown: outcomes(shown)["cancelled"] == 1)

    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Store, "switch", fail)
    with pytest.raises(grpc.aio.AioRpcError):
        await daemon.call("SwitchProvider", provider_name="two")
    assert outcomes(await scrape(address)) == {**before, "cancelled": 1, "internal": 1}


async def test_what_no_rpc_is_called_like_has_no_name_of_its_own(daemon: Serving, address: str) -> None:
    async with grpc.aio.insecure_channel(daemon.address) as channel:
        for path in ("/no.such/Thing", "/providerd.v1.ProviderService/Made-up"):
            with pytest.raises(grpc.aio.AioRpcError):
                await channel.unary_unary(path)(b"", timeout=10)
    shown = await scrape(address)
    unknown = {"grpc_service": "", "grpc_method": "", "grpc_code": "UNIMPLEMENTED"}
    assert shown("grpc_server_handled_total", **unknown) == 2
    assert {labels["grpc_method"] for labels in shown.labels("grpc_server_started_total")} <= {
        "UpsertProvider", "SwitchProvider", "ListProviders",
    }  # fmt: skip


async def test_a_database_that_is_away_shows_and_so_does_its_return(
    daemon: Serving, database: str, address: str, cluster: Any
) -> None:
    await until(address, lambda shown: shown("providerd_listen_state", state="listening") == 1)
    async with connected(cluster.dsn("postgres")) as db:
        name = urlsplit(database).path.lstrip("/")
        await db.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        await db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        away = await until(address, lambda shown: shown("providerd_source_connected") == 0)
        await until(address, lambda shown: shown("providerd_listen_state", state="connecting") == 1)
        await db.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    back = await until(
        address,
        lambda shown: shown("providerd_source_connected") == shown("providerd_listen_state", state="listening") == 1,
    )
    assert back("providerd_source_failures_total") > 0
    assert back("providerd_listen_losses_total") == 1
    assert away("providerd_revision") == back("providerd_revision") == 4


async def test_before_the_first_answer_the_age_is_without_end(empty_database: str, address: str) -> None:
    async with serving(empty_database, ready=False, metrics_listen=address):
        shown = await until(address, lambda shown: shown("providerd_source_failures_total") > 0)
        assert math.isinf(shown("providerd_source_age_seconds"))
        assert shown("providerd_stale") == 1
        assert "providerd_revision" not in shown.names


async def test_changes_that_only_polls_find_are_counted(database: str, address: str) -> None:
    async with watched(database, address, poll_interval=0.2) as daemon, connected(database) as db:
        await until(address, lambda shown: shown("providerd_listen_state", state="listening") == 1)
        before = (await scrape(address))("providerd_poll_fallbacks_total")
        # Nobody announces what is done with triggers that do not fire.
        await db.execute("SET session_replication_role = replica")
        for revision in range(5, 15):
            await db.execute("UPDATE llm_provider_store SET revision = revision + 1")
            shown = await until(address, lambda shown, newest=revision: shown("providerd_revision") == newest)
            # A late notification of an earlier write may have had the daemon look.
            if (found := shown("providerd_poll_fallbacks_total")) > before:
                break
        assert found == before + 1
        assert daemon.address


async def test_keys_that_cannot_be_read_are_counted(daemon: Serving, database: str, address: str) -> None:
    await daemon.call("UpsertProvider", provider={"provider_name": "two"}, new_api_key="sk-1", update_mask="")
    assert (await scrape(address))("providerd_unreadable_keys") == 0
    async with connected(database) as db:
        await db.execute(
            "UPDATE llm_provider_configs SET api_key_encrypted = encode(pgp_sym_encrypt('sk-2', 'another'), 'hex')"
            " WHERE provider_name = 'two'"
        )
    shown = await until(address, lambda shown: shown("providerd_unreadable_keys") == 1)
    assert shown("providerd_decrypt_failures_total") == 1


async def test_who_is_turned_away_is_counted_by_reason(database: str, address: str, tmp_path: Path) -> None:
    access = AccessFile(tmp_path / "access.json")
    token = access.token("reader", "read")
    async with serving(
        database, ready=False, metrics_listen=address, access_file=access.path, max_auth_failures=1
    ) as daemon:
        for wrong in (bearer("providerd_wrong"), bearer("providerd_wrong"), None):
            with pytest.raises(grpc.aio.AioRpcError):
                await daemon.stub.ListProviders(pb.ListProvidersRequest(), metadata=wrong, timeout=10)
        with pytest.raises(grpc.aio.AioRpcError):
            await daemon.stub.DeleteProvider(
                pb.DeleteProviderRequest(provider_name="one"), metadata=bearer(token), timeout=10
            )
        shown = await scrape(address)
    assert shown("providerd_auth_denials_total", reason="SCOPE_MISSING") == 1
    assert sum(shown.samples[key] for key in shown.samples if key[0] == "providerd_auth_denials_total") == 4
    # That one host has failed too often to be told why is no limit of the daemon.
    assert sum(shown.samples[key] for key in shown.samples if key[0] == "providerd_limit_refusals_total") == 0


async def test_who_finds_no_room_is_counted_by_reason(database: str, address: str) -> None:
    async with watched(database, address, max_calls=1, max_watches=1) as daemon:
        watch = daemon.watch()
        await watch.read()
        with pytest.raises(grpc.aio.AioRpcError, match="1 watches already"):
            await daemon.watch().read()
        calls = [daemon.call("SwitchProvider", provider_name="one") for _ in range(20)]
        refused = [each for each in await asyncio.gather(*calls, return_exceptions=True) if isinstance(each, Exception)]
        shown = await scrape(address)
        watch.cancel()
    assert shown("providerd_limit_refusals_total", reason="TOO_MANY_WATCHES") == 1
    assert shown("providerd_limit_refusals_total", reason="TOO_MANY_CALLS") == len(refused) > 0


async def test_a_sidecar_shows_its_upstream(daemon: Serving, address: str) -> None:
    below = f"127.0.0.1:{free_port()}"
    async with sidecar_of(daemon.address, metrics_listen=below) as sidecar:
        watch = sidecar.watch()
        await watch.read()
        shown = await scrape(below)
        watch.cancel()
    assert shown("providerd_source_info", kind="upstream") == 1
    assert shown("providerd_source_connected") == 1
    assert shown("providerd_watchers", state="current") == 1
    assert shown("providerd_revision") == (await scrape(address))("providerd_revision")
    assert shown("providerd_upstream_changes_total") >= 1
    assert shown.names.isdisjoint({"providerd_listen_state", "providerd_source_reads_total"})
