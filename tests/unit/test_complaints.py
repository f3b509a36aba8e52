"""What of the words of OpenTelemetry gets into the daemon's log."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import structlog

from providerd_server.tracing import complaints
from providerd_server.tracing.complaints import Complaints

CANARY = "canary-51ce"

exporter = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")
util = logging.getLogger("opentelemetry.util.re")


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
def told(lines: list[Any]) -> Iterator[Complaints]:
    complaints = Complaints()
    yield complaints
    complaints.end()


def test_an_outage_is_one_line_and_its_end_another(
    told: Complaints, lines: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(1000):
        exporter.error("Failed to export %s batch code: %s, reason: %s", "spans", 503, CANARY)
    told.over()
    told.over()
    assert [(line["event"], line.get("error")) for line in lines] == [
        ("traces are being lost", "the collector answers HTTP 503"),
        ("traces are being sent again", None),
    ]
    # A collector that comes and goes is no storm either.
    exporter.error("Failed to export %s batch code: %s, reason: %s", "spans", 503, CANARY)
    told.over()
    assert len(lines) == 2
    monkeypatch.setattr(complaints, "_AGAIN_AFTER", 0.0)
    exporter.error("Failed to export %s batch code: %s, reason: %s", "spans", 503, CANARY)
    assert lines[2]["event"] == "traces are being lost"


def test_the_system_says_why_a_collector_cannot_be_reached(told: Complaints, lines: list[Any]) -> None:
    try:
        requests.post("http://127.0.0.1:9", timeout=5)
    except requests.ConnectionError as error:
        exporter.warning("Transient error %s encountered while exporting %s batch", error, "spans")
    assert lines[0]["error"] == "Connection refused"


@pytest.mark.parametrize(
    ("logger", "message", "values", "said"),
    [
        (util, "Header format invalid! %s", (f"authorization={CANARY}",), "Header format invalid! ..."),
        (exporter, "Failed: %s", (ValueError(f"invalid header value {CANARY}"),), "ValueError"),
        (exporter, f"Failed: {CANARY}", (), f"see the documentation of {exporter.name}"),
    ],
)
def test_what_may_hold_a_secret_is_left_out(
    told: Complaints, lines: list[Any], logger: logging.Logger, message: str, values: tuple[Any, ...], said: str
) -> None:
    logger.warning(message, *values)
    assert [line["error"] for line in lines] == [said]
    assert CANARY not in str(lines)


def test_nothing_gets_past_it_and_afterwards_all_does(lines: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints()
    exporter.error("to the daemon's log")
    complaints.end()
    assert caplog.records == []
    exporter.error("to whoever listens")
    assert [record.message for record in caplog.records] == ["to whoever listens"]
    assert len(lines) == 1
