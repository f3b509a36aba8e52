"""The trace of a revision, from the call that wrote it to the client that applied it, as a collector receives it."""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import providerd
import providerd.sync
from providerd import Client
from providerd.v1 import provider_pb2 as pb
from tests.collector import Collector, Span, collecting, revision_trace, root_of
from tests.conftest import Psql
from tests.integration.serving import Serving, serving

SERVICE = "providerd.v1.ProviderService"


class Own:
    """The spans of the client's process, which is this one."""

    def __init__(self) -> None:
        self._kept = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._kept))

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._kept.get_finished_spans() if span.name == name]


@pytest.fixture
def own() -> Own:
    return Own()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as collector:
        for name, value in collector.environment.items():
            monkeypatch.setenv(name, value)
        yield collector


@pytest.fixture
async def daemon(database: str, collector: Collector) -> AsyncIterator[Serving]:
    async with serving(database) as daemon:
        await daemon.call("UpsertProvider", provider={"provider_name": "openrouter", "is_enabled": True})
        yield daemon


async def arrives(collector: Collector, condition: Callable[[], Any], what: str = "") -> None:
    await asyncio.to_thread(collector.until, condition, what)


async def told(client: Client, number: int) -> None:
    async with asyncio.timeout(20):
        await client._announcer.until(lambda: client.revision is not None and client.revision.number >= number)


def by_name(spans: list[Span]) -> dict[str, Span]:
    found = {span.name: span for span in spans}
    assert len(found) == len(spans), spans
    return found


async def test_one_trace_leads_from_the_write_to_what_was_applied(
    daemon: Serving, collector: Collector, own: Own
) -> None:
    before = time.time_ns()
    async with Client(daemon.address, name="billing", tracing=True, tracer_provider=own.provider) as client:
        await client.wait_ready(20)
        switched = await client.switch("openrouter")
        assert switched.revision is not None
        store, number = switched.revision.store_id, switched.revision.number
    await arrives(collector, lambda: len(collector.trace(store, number)) == 3)
    spans = by_name(collector.trace(store, number))
    write, revision, deliver = (spans[name] for name in ("write", "revision", "deliver"))
    (apply,) = own.named("apply")

    assert (write.parent_id, write.span_id) == ("", root_of(store, number))
    assert revision.parent_id == write.span_id
    assert deliver.parent_id == revision.span_id
    assert apply.context is not None
    assert apply.parent is not None
    assert f"{apply.context.trace_id:032x}" == revision_trace(store, number) == write.trace_id
    assert f"{apply.parent.span_id:016x}" == deliver.span_id
    assert (deliver.kind, apply.kind) == ("PRODUCER", trace.SpanKind.CONSUMER)

    assert before < write.start < write.end < time.time_ns()
    assert write.start < revision.start <= deliver.start < deliver.end
    assert apply.start_time is not None
    assert revision.start < apply.start_time < time.time_ns()

    identity = {"providerd.store_id": store, "providerd.revision": number}
    assert write.attributes == identity
    assert revision.attributes == identity | {
        "providerd.provider": "openrouter", "providerd.cause": "switched", "providerd.watchers": 1,
    }  # fmt: skip
    assert re.fullmatch(rf"billing {re.escape(providerd.__version__)} \S+:\d+", deliver.attributes["providerd.watcher"])
    assert deliver.attributes["providerd.cause"] == "switched"
    assert deliver.attributes["providerd.folded"] == 0
    assert dict(apply.attributes or {}) == identity | {
        "providerd.cause": "switched", "providerd.changed": True, "providerd.state": "ready",
    }  # fmt: skip
    assert {span.service for span in spans.values()} == {"providerd"}


async def test_a_call_continues_its_callers_trace_and_is_linked_with_what_it_wrote(
    daemon: Serving, collector: Collector, own: Own
) -> None:
    async with Client(daemon.address, watch=False, tracing=True, tracer_provider=own.provider) as client:
        with own.provider.get_tracer("caller").start_as_current_span("deploy") as deploy:
            switched = await client.switch("openrouter")
    assert switched.revision is not None
    store, number = switched.revision.store_id, switched.revision.number
    caller = deploy.get_span_context()
    await arrives(collector, lambda: [each for each in calls(collector) if each.parent_id], "the call")
    (call,) = (each for each in calls(collector) if each.parent_id)
    assert (call.trace_id, call.parent_id) == (f"{caller.trace_id:032x}", f"{caller.span_id:016x}")
    assert (call.name, call.kind) == (f"{SERVICE}/SwitchProvider", "SERVER")
    assert call.attributes == {
        "rpc.system.name": "grpc", "rpc.method": call.name, "rpc.response.status_code": "OK",
    }  # fmt: skip
    (write,) = (span for span in collector.trace(store, number) if span.name == "write")
    assert write.links == [(call.trace_id, call.span_id)]
    assert call.links == [(write.trace_id, write.span_id)]


async def test_a_blocking_client_hands_on_the_trace_of_the_calling_thread(
    daemon: Serving, collector: Collector, own: Own
) -> None:
    def switch() -> int:
        with (
            providerd.sync.Client(daemon.address, watch=False, tracing=True, tracer_provider=own.provider) as client,
            own.provider.get_tracer("caller").start_as_current_span("deploy") as deploy,
        ):
            client.switch("openrouter")
            return deploy.get_span_context().span_id

    caller = await asyncio.to_thread(switch)
    await arrives(collector, lambda: [each for each in calls(collector) if each.parent_id == f"{caller:016x}"])


async def test_calls_end_with_their_status_and_only_the_daemons_faults_are_errors(
    daemon: Serving, collector: Collector
) -> None:
    for method, request in (("GetProvider", {"provider_name": "nobody"}), ("GetProvider", {"provider_name": "groq"})):
        try:
            await daemon.call(method, **request)
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.NOT_FOUND
    await arrives(collector, lambda: len(ended(collector, "GetProvider")) == 2)
    assert {call.attributes["rpc.response.status_code"] for call in ended(collector, "GetProvider")} == {
        "NOT_FOUND", "OK",
    }  # fmt: skip
    assert {call.status.code for call in ended(collector, "GetProvider")} == {0}
    assert {call.status.message for call in ended(collector, "GetProvider")} == {""}


async def test_watches_health_and_reflection_have_no_span_of_their_own(daemon: Serving, collector: Collector) -> None:
    watch = daemon.watch()
    await watch.read()
    async with grpc.aio.insecure_channel(daemon.address) as channel:
        await HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    watch.cancel()
    await daemon.call("GetActiveProvider")
    await arrives(collector, lambda: ended(collector, "GetActiveProvider"))
    methods = {span.name for span in collector.spans if span.kind == "SERVER"}
    assert methods == {f"{SERVICE}/{name}" for name in ("ListProviders", "UpsertProvider", "GetActiveProvider")}


async def test_a_change_by_sql_is_traced_without_a_write(
    daemon: Serving, collector: Collector, own: Own, database: str, psql: Psql
) -> None:
    async with Client(daemon.address, tracing=True, tracer_provider=own.provider) as client:
        await client.wait_ready(20)
        assert client.revision is not None
        store, number = client.revision.store_id, client.revision.number + 1
        await asyncio.to_thread(psql, database, "-c", "SELECT switch_active_provider('openrouter', 'dana')")
        await told(client, number)
    await arrives(collector, lambda: len(collector.trace(store, number)) == 2)
    spans = by_name(collector.trace(store, number))
    assert set(spans) == {"revision", "deliver"}
    assert spans["revision"].parent_id == root_of(store, number)
    assert len(own.named("apply")) == 1


async def test_what_a_watcher_missed_is_counted(daemon: Serving, collector: Collector, own: Own) -> None:
    async with Client(daemon.address, tracing=True, tracer_provider=own.provider) as client:
        await client.wait_ready(20)
        known = client.revision
    assert known is not None
    for description in ("one", "two", "three"):
        await daemon.call("UpsertProvider", provider={"provider_name": "groq", "description": description})
    # As a client that was away for a moment and says what it knows.
    watch = daemon.watch(known_revision={"store_id": known.store_id, "number": known.number})
    assert (await watch.read()).active.cause == pb.CHANGE_CAUSE_INITIAL
    await arrives(collector, lambda: collector.named("deliver"))
    (deliver,) = collector.named("deliver")
    assert deliver.trace_id == revision_trace(known.store_id, known.number + 3)
    assert deliver.attributes["providerd.folded"] == 2
    (revision,) = (span for span in collector.trace(known.store_id, known.number + 3) if span.name == "revision")
    assert deliver.parent_id == revision.span_id
    # It was told at once, however old the revision.
    assert deliver.start > revision.end
    watch.cancel()


async def test_who_knew_nothing_is_in_no_trace(daemon: Serving, collector: Collector, own: Own) -> None:
    async with Client(daemon.address, tracing=True, tracer_provider=own.provider) as client:
        await client.wait_ready(20)
    await daemon.call("GetActiveProvider")
    await arrives(collector, lambda: ended(collector, "GetActiveProvider"))
    assert collector.named("deliver") == own.named("apply") == []
    # Nor is what the daemon found when it started.
    assert {span.attributes["providerd.revision"] for span in collector.named("revision")} == {2}


async def test_a_callback_continues_the_trace(daemon: Serving, collector: Collector, own: Own) -> None:
    seen: list[int] = []
    async with Client(daemon.address, tracing=True, tracer_provider=own.provider) as client:
        await client.wait_ready(20)
        client.on_change(lambda _: seen.append(trace.get_current_span().get_span_context().span_id))
        await client.switch("openrouter")
    (apply,) = own.named("apply")
    assert apply.context is not None
    assert seen == [apply.context.span_id]


async def test_log_lines_of_a_call_and_of_a_revision_have_their_trace(daemon: Serving, collector: Collector) -> None:
    with structlog.testing.capture_logs(processors=structlog.get_config()["processors"][:1]) as lines:
        switched = await daemon.call("SwitchProvider", provider_name="openrouter")
        await daemon.call("GetActiveProvider")
    store, number = switched.revision.store_id, switched.revision.number
    await arrives(collector, lambda: ended(collector, "SwitchProvider"))
    (call,) = ended(collector, "SwitchProvider")
    (rpc,) = (line for line in lines if line["event"] == "rpc" and line["log_level"] == "info")
    assert rpc["trace_id"] == call.trace_id
    (revision,) = (line for line in lines if line["event"] == "new revision")
    assert revision["trace_id"] == revision_trace(store, number)


async def test_no_secret_and_no_free_text_reaches_the_collector(
    database: str, collector: Collector, monkeypatch: pytest.MonkeyPatch, own: Own
) -> None:
    canary = f"canary-{random.randrange(16**12):012x}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"x-tenant={canary}-header")
    async with serving(database, db_encryption_key=f"{canary}-passphrase") as daemon:
        options: dict[str, Any] = {"include_credential": True, "tracing": True, "tracer_provider": own.provider}
        async with Client(daemon.address, token=f"{canary}-token", **options) as client:
            await client.wait_ready(20)
            said = {"reason": f"{canary}-reason", "actor": f"{canary}-actor"}
            content = {"provider_name": "groq", "description": f"{canary}-description"}
            await client.upsert(content, api_key=f"{canary}-key", **said)
            await client.switch("groq", **said)
            with pytest.raises(providerd.InvalidArgumentError):
                await client.upsert({"provider_name": "groq", "base_url": f"http://{canary}-refused"}, **said)
            with pytest.raises(providerd.NotFoundError):
                await client.switch(f"{canary}-name", **said)
            assert client.credential.api_key == f"{canary}-key"
    assert collector.named("deliver")
    assert own.named("apply")
    assert len(ended(collector, "UpsertProvider")) == 2
    assert canary.encode() not in collector.raw
    assert all(headers["x-tenant"] == f"{canary}-header" for headers in collector.headers)
    assert not any(canary in span.to_json() for span in own.named("apply"))


async def test_without_tracing_there_is_no_span(database: str, collector: Collector, own: Own) -> None:
    async with serving(database, tracing=False) as daemon, Client(daemon.address) as client:
        await client.wait_ready(20)
        await client.upsert({"provider_name": "groq", "description": "another"})
    assert collector.spans == own.named("apply") == []


def calls(collector: Collector) -> list[Span]:
    return [span for span in collector.spans if span.kind == "SERVER"]


def ended(collector: Collector, method: str) -> list[Span]:
    return [span for span in calls(collector) if span.name == f"{SERVICE}/{method}"]
