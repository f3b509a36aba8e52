"""Traces of real processes: daemons, a sidecar and a client, and a collector that is there, away, or silent."""

import contextlib
import json
import re
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from providerd.sync import Client
from tests.collector import Collector, Span, collecting, revision_trace, root_of
from tests.daemon import PROVIDERD, DaemonProcess, clean_environment, running_daemon
from tests.integration.serving import free_port
from tests.sidecar import running_sidecar

# A program that watches until its input ends; it sends its spans itself, as any program would.
WATCHING = """
    import sys
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    import providerd.sync

    with providerd.sync.Client(sys.argv[1], tracing=True, name="billing") as client:
        # Later than the client, as it happens.
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
        client.wait_ready(20)
        print("ready", flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@contextlib.contextmanager
def watching(address: str, service: str, **env: str) -> Iterator[None]:
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WATCHING), address],
            env={**clean_environment(), "OTEL_SERVICE_NAME": service, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield
            process.communicate(timeout=20)
            errors.seek(0)
            assert process.returncode == 0, errors.read()
        finally:
            process.kill()
            process.wait(20)


def log_of(daemon: DaemonProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in daemon.log.read_text().splitlines()]


def shape(spans: list[Span]) -> set[tuple[str, str, str]]:
    """Each span of a trace as its service, its name, and that of its parent."""
    names = {span.span_id: f"{span.service} {span.name}" for span in spans}
    assert len(names) == len(spans)
    return {(span.service, span.name, names.get(span.parent_id, "")) for span in spans}


def test_two_daemons_a_sidecar_and_their_clients_join_one_trace(database: str, collector: Collector) -> None:
    env = collector.environment
    with ExitStack() as stack:
        first = stack.enter_context(running_daemon(database, **env, OTEL_SERVICE_NAME="first"))
        second = stack.enter_context(running_daemon(database, **env, OTEL_SERVICE_NAME="second"))
        sidecar = stack.enter_context(running_sidecar(second.address, **env))
        stack.enter_context(watching(first.address, "billing", **env))
        stack.enter_context(watching(sidecar.address, "search", **env))
        with Client(first.address, watch=False) as client:
            made = client.upsert({"provider_name": "groq", "description": "another"}).revision
            assert made is not None
        collector.until(lambda: len(collector.trace(made.store_id, made.number)) == 10, "the trace")
    spans = collector.trace(made.store_id, made.number)
    assert shape(spans) == {
        ("first", "write", ""),
        ("first", "revision", "first write"),
        ("first", "deliver", "first revision"),
        ("billing", "apply", "first deliver"),
        ("second", "revision", "first write"),
        ("second", "deliver", "second revision"),
        ("providerd-sidecar", "apply", "second deliver"),
        ("providerd-sidecar", "revision", "first write"),
        ("providerd-sidecar", "deliver", "providerd-sidecar revision"),
        ("search", "apply", "providerd-sidecar deliver"),
    }
    (write,) = (span for span in spans if span.name == "write")
    assert write.span_id == root_of(made.store_id, made.number)


def test_all_processes_keep_the_same_share_of_traces(database: str, collector: Collector) -> None:
    env = {
        **collector.environment,
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.4",
    }
    sampler, changes = TraceIdRatioBased(0.4), 25
    with running_daemon(database, **env) as daemon, watching(daemon.address, "billing", **env):
        with Client(daemon.address, watch=False) as client:
            made = [
                client.upsert({"provider_name": "groq", "description": f"number {number}"}).revision
                for number in range(changes)
            ]
        store = made[0].store_id if made[0] else ""
        numbers = [each.number for each in made if each is not None]
        kept = {
            trace_id
            for number in numbers
            if sampler.should_sample(None, int(trace_id := revision_trace(store, number), 16), "").decision.is_sampled()
        }
        assert 0 < len(kept) < changes

        def traces(name: str) -> set[str]:
            return {span.trace_id for span in collector.named(name)}

        collector.until(lambda: traces("write") == traces("revision") == kept, "what is kept")
        collector.until(lambda: traces("deliver") and traces("deliver") == traces("apply"))
    # A watcher may have been told of several at once.
    assert traces("deliver") <= kept
    assert traces("write") == traces("revision") == kept


@pytest.mark.parametrize("command", ["serve", "sidecar"])
def test_turned_off_nothing_of_it_is_imported_and_turned_on_without_it_says_what_to_install(command: str) -> None:
    program = """
        import sys
        if sys.argv.pop(1) == "absent":
            sys.modules["opentelemetry"] = None
        import atexit
        from providerd.cli.main import main
        # Whatever the command comes to: the modules of a real start, up to where the listening address is refused.
        atexit.register(lambda: print([name for name in sys.modules if name.startswith("opentelemetry.")]))
        sys.exit(main())
    """

    def start(library: str, **env: str) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program), library, command],
            env={
                **clean_environment(),
                "SUPABASE_DB_URL": "postgresql://nobody@localhost:1/none",
                "PROVIDERD_UPSTREAM": "localhost:1",
                "PROVIDERD_DEV": "true",
                # Nobody may listen there.
                "PROVIDERD_LISTEN": "unix:///proc/providerd.sock",
                **env,
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode != 0
        assert "Traceback" not in done.stderr
        return done.stdout, done.stderr

    printed, said = start("present")
    assert "cannot listen" in said
    assert printed == "[]\n"
    printed, _ = start("present", PROVIDERD_TRACING="true")
    assert "opentelemetry.sdk.trace" in printed
    _, said = start("absent", PROVIDERD_TRACING="true")
    assert said.splitlines()[-1] == (
        "error: PROVIDERD_TRACING needs OpenTelemetry: pip install 'providerd[server,otel]'"
    )
    _, said = start("present", PROVIDERD_TRACING="true", OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    assert "OTEL_EXPORTER_OTLP_PROTOCOL asks for another" in said


def test_a_collector_that_is_away_is_one_warning_and_is_found_again(database: str) -> None:
    port = free_port()
    env = {
        "PROVIDERD_TRACING": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "3",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_BSP_MAX_QUEUE_SIZE": "20",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10",
    }
    with running_daemon(database, **env) as daemon, Client(daemon.address) as client:
        for number in range(100):
            client.upsert({"provider_name": "groq", "description": f"number {number}"})
        assert client.active.description == "number 99"
        time.sleep(4)
        with collecting(port) as collector:
            client.upsert({"provider_name": "groq", "description": "once more"})
            collector.until(lambda: collector.named("apply") or collector.named("deliver"))
            collector.until(lambda: '"traces are being sent again"' in daemon.log.read_text())
        lines = log_of(daemon)
    serving = next(number for number, line in enumerate(lines) if line["event"] == "serving")
    complaints = [line for line in lines[serving:] if line["level"] in ("warning", "error")]
    assert [(line["event"], line["error"]) for line in complaints] == [("traces are being lost", "Connection refused")]


@pytest.mark.parametrize("silent", [False, True], ids=["away", "silent"])
def test_the_end_waits_two_seconds_for_a_collector_and_no_longer(database: str, silent: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1] if silent else free_port()
        env = {"PROVIDERD_TRACING": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
        with running_daemon(database, **env) as daemon:
            with Client(daemon.address, watch=False) as client:
                client.upsert({"provider_name": "groq", "description": "another"})
            began = time.monotonic()
            assert daemon.stop() == 0
            assert time.monotonic() - began < 5
            assert "Traceback" not in daemon.log.read_text()


def test_what_is_not_sent_yet_is_sent_at_the_end(database: str, collector: Collector) -> None:
    env = collector.environment | {"OTEL_BSP_SCHEDULE_DELAY": "60000"}
    with running_daemon(database, **env) as daemon:
        with Client(daemon.address, watch=False) as client:
            client.upsert({"provider_name": "groq", "description": "another"})
        assert collector.spans == []
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 3
    assert collector.named("write")


def test_the_variables_of_opentelemetry_say_who_it_is(database: str, collector: Collector) -> None:
    env = collector.environment | {
        "OTEL_SERVICE_NAME": "llm-config",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test,service.instance.id=one",
    }
    with running_daemon(database, **env) as daemon, Client(daemon.address, watch=False) as client:
        client.upsert({"provider_name": "groq", "description": "another"})
        collector.until(lambda: collector.named("write"))
    assert {(span.service, span.instance) for span in collector.spans} == {("llm-config", "one")}


def test_the_setting_is_shown() -> None:
    done = subprocess.run(
        [PROVIDERD, "serve", "--print-config"],
        env={**clean_environment(), "PROVIDERD_TRACING": "true"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert re.search(r"^PROVIDERD_TRACING +True +environment$", done.stdout, re.MULTILINE)
