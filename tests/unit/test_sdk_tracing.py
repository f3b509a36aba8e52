"""Tracing of the SDK as far as it needs no daemon: what it imports, takes and refuses."""

import subprocess
import sys
import textwrap

import pytest
from opentelemetry import propagate
from opentelemetry.sdk.trace import TracerProvider

import providerd.sync
from providerd import Client, ClientOptions
from providerd.spans import Spans
from providerd.tracing import tracing_of


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_of_opentelemetry_is_imported_by_default() -> None:
    program = """
        import sys
        import providerd, providerd.sync
        providerd.Client("localhost:1")
        found = [name for name in sys.modules if name.startswith("opentelemetry")]
        assert not found, found
        providerd.Client("localhost:1", tracing=True)
        assert "opentelemetry.trace" in sys.modules
        assert "opentelemetry.sdk" not in sys.modules, "the API is enough"
    """
    run(program)


def test_a_missing_library_is_said_with_what_to_install() -> None:
    program = """
        import sys
        sys.modules["opentelemetry"] = None
        import providerd, providerd.sync
        for kind in (providerd.Client, providerd.sync.Client):
            try:
                kind("localhost:1", tracing=True)
            except ValueError as error:
                print(error)
    """
    assert run(program) == "tracing needs the library opentelemetry-api: pip install 'providerd[otel]'\n" * 2


def test_a_provider_takes_tracing() -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    with pytest.raises(ValueError, match="tracer_provider is for tracing=True"):
        ClientOptions(tracer_provider=provider)
    for kind in (Client, providerd.sync.Client):
        assert kind(tracing=True, tracer_provider=provider).options.tracer_provider is provider


def test_without_a_span_nothing_is_handed_on() -> None:
    options = ClientOptions(tracing=True, tracer_provider=TracerProvider(shutdown_on_exit=False))
    assert tracing_of(options).of_call() == ()
    assert tracing_of(ClientOptions()).of_watch() == ()


def test_headers_are_what_grpc_takes_whatever_the_propagator_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(propagate, "inject", lambda carrier: carrier.update({"X-B3-TraceId": "1", "baggage": "naïve"}))
    assert Spans(None).of_call() == (("x-b3-traceid", "1"),)


def test_each_stream_has_a_name_of_its_own() -> None:
    spans = Spans(None)
    ((header, first),), ((_, second),) = spans.of_watch(), spans.of_watch()
    assert header == "x-providerd-watch"
    assert len(first) == 16
    assert first != second
