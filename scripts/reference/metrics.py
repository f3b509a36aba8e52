"""docs/reference/metrics.md, from what a server shows that has everything to show."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client.core import Metric
from scripts.reference import markdown
from scripts.reference.markdown import code, prose, table

from providerd_server.hub import State
from providerd_server.metrics import Metrics
from providerd_server.metrics.gauges import Gauges
from providerd_server.snapshot import Revision, Snapshot, StoredProvider
from providerd_server.source import Condition
from providerd_server.vitals import Moment, Vitals, WatcherState

_INTRODUCTION = """\
`PROVIDERD_METRICS_LISTEN=127.0.0.1:9464`, or `--metrics-listen`, has a daemon or a sidecar show them at `/metrics`.
[How to monitor it](../how-to/monitor.md) says what to look at, and has a dashboard and alerts. Counts begin with the
start of the process. Those of PostgreSQL and of LISTEN are of daemons only, and that of an upstream is of sidecars."""

_LIBRARY = """\
Beside these there are the `process_*` and `python_gc_*` of
[prometheus-client](https://prometheus.github.io/client_python/collector/)."""

_FORMS = {"gauge": "gauge", "counter": "counter", "histogram": "histogram, seconds", "info": "info, always 1"}
_ENDINGS = {"counter": "_total", "info": "_info"}


def page() -> str:
    """Returns the page."""
    shown = [metric for metric in _everything() if not metric.name.startswith(("process_", "python_"))]
    own = [metric for metric in shown if metric.name.startswith("providerd_")]
    others = [metric for metric in shown if metric not in own]
    head = ("Name", "Kind", "Labels", "Meaning")
    return markdown.page(
        "# Metrics",
        "Source: `server/providerd_server/metrics/`.",
        _INTRODUCTION,
        "## Of providerd",
        table(head, map(_row, own)),
        "## Of gRPC",
        "Under the names that gRPC's libraries for other languages use, so that dashboards made for those fit.",
        table(head, map(_row, others)),
        _LIBRARY,
    )


def _row(metric: Metric) -> tuple[str, ...]:
    labels = {name: None for sample in metric.samples for name in sample.labels if name != "le"}
    return (
        code(metric.name + _ENDINGS.get(metric.type, "")),
        _FORMS[metric.type],
        ", ".join(code(name) for name in labels or _UNSEEN.get(metric.name, ())),
        prose(metric.documentation),
    )


# Those of which nothing is seen before somebody calls.
_CALLS = ("grpc_service", "grpc_method")
_UNSEEN = {
    "grpc_server_started": _CALLS,
    "grpc_server_handling_seconds": _CALLS,
    "grpc_server_handled": (*_CALLS, "grpc_code"),
}


def _everything() -> list[Metric]:
    metrics = Metrics()
    metrics.registry.register(Gauges(cast("Vitals", SimpleNamespace(now=lambda: _MOMENT)), metrics.events))
    return list(metrics.registry.collect())


_COUNTS = dict.fromkeys(("reads", "heard", "failures", "polled", "lost", "undecryptable"), 0)
_ACTIVE: dict[str, Any] = {**dict.fromkeys(StoredProvider.__slots__), "provider_name": "x", "is_active": True}
_MOMENT = Moment(
    state=State(Snapshot(Revision("x", 1), {"x": StoredProvider(**_ACTIVE)}), epoch=0, active_since=1),
    age=0.0,
    stale=False,
    condition=Condition("postgresql", connected=True, listening="listening", counts=_COUNTS, version="18.1"),
    watchers=Counter[WatcherState](),
    slowest_lag=0,
    calls=0,
    denials={"x": 1},
    crowded_out={"x": 1},
    certificate_ends=datetime.now(UTC),
)
