"""The dashboard and the alerts ask for metrics that a real daemon really shows, with labels that they really have."""

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import promql_parser as promql
import pytest
import yaml
from access import AccessFile, bearer
from scripts.reference import refusals
from serving import free_port, serving
from sidecars import sidecar_of

from providerd.v1 import provider_pb2 as pb
from providerd.v1.provider_pb2_grpc import ProviderServiceStub
from providerd_server.access.denials import Denials
from providerd_server.metrics import Metrics
from tests.certificates import Authority
from tests.docs_runner import ROOT
from tests.integration.test_tls import channel_to, tls_daemon
from tests.metrics import Scrape, scrape

ALERTS = ROOT / "deploy/prometheus/alerts.yaml"
DASHBOARD = ROOT / "deploy/grafana/providerd.json"
HOW_TO = ROOT / "docs/how-to/monitor.md"
REFERENCE = ROOT / "docs/reference/metrics.md"

# Of Prometheus itself: of each target whether it answered, and what the job and the target are called.
OF_PROMETHEUS = {"up": {"job"}}
OF_EVERY_TARGET = {"job", "instance"}

# Shown by the library, of the process.
OF_THE_LIBRARY = ("process_", "python_")

# The kinds of refusal that are for who asks.
DENIED = {"UNAUTHENTICATED", "PERMISSION_DENIED"}

# Labels of which all values are there from the start: an expression that asks for another is never answered.
CLOSED = {"state", "kind", "cause", "outcome", "reason", "le"}


@dataclass(frozen=True)
class Selector:
    """What one part of an expression asks for: a metric, and what its labels may be, of which none is anything else."""

    name: str
    labels: tuple[tuple[str, tuple[str, ...]], ...]


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(ALERTS.read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for annotation in json.loads(DASHBOARD.read_text())["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def selectors(expression: str) -> list[Selector]:
    """All that an expression asks for; what only Grafana knows is filled in."""
    filled = expression.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$job", ".*")
    found: list[Selector] = []

    def visit(node: Any) -> None:
        if isinstance(node, promql.VectorSelector):
            found.append(
                Selector(
                    node.name or "",
                    tuple((each.name, _choices(each)) for each in node.matchers.matchers),
                )
            )

    promql.walk(promql.parse(filled), visit)
    return found


def _choices(matcher: Any) -> tuple[str, ...]:
    """The values that it names, also where it names several, or those that it wants not to see."""
    return tuple(matcher.value.split("|"))


@pytest.fixture
async def shown(database: str, tmp_path: Path) -> Scrape:
    """What a daemon with TLS and authentication shows after some of everything, and besides it a sidecar."""
    access, authority = AccessFile(tmp_path / "access.json"), Authority(tmp_path)
    token, metrics = access.token("admin", "admin"), f"127.0.0.1:{free_port()}"
    async with (
        tls_daemon(database, authority, metrics_listen=metrics, access_file=access.path) as daemon,
        channel_to(daemon, authority) as channel,
    ):
        stub: Any = ProviderServiceStub(channel)
        watch = stub.WatchActive(pb.WatchActiveRequest(), metadata=bearer(token))
        await watch.read()
        for name in ("groq", "nobody"):
            with contextlib.suppress(grpc.aio.AioRpcError):
                await stub.SwitchProvider(pb.SwitchProviderRequest(provider_name=name), metadata=bearer(token))
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.ListProviders(pb.ListProvidersRequest())
        daemon_shows = await scrape(metrics)
    async with serving(database) as plain, sidecar_of(plain.address, metrics_listen=metrics) as sidecar:
        await sidecar.watch().read()
        return Scrape({**daemon_shows.samples, **(await scrape(metrics)).samples})


async def test_what_is_asked_for_is_there(shown: Scrape) -> None:
    labels: dict[str, set[str]] = {}
    values: dict[tuple[str, str], set[str]] = {}
    for name, pairs in shown.samples:
        labels.setdefault(name, set()).update(label for label, _ in pairs)
        for label, value in pairs:
            values.setdefault((name, label), set()).add(value)
    labels |= OF_PROMETHEUS
    asked = 0
    for where, expression in expressions():
        for selector in selectors(expression):
            asked += 1
            assert selector.name in labels, f"{where}: no metric is called {selector.name}"
            for label, choices in selector.labels:
                assert label in labels[selector.name] | OF_EVERY_TARGET, f"{where}: {selector.name} has no {label}"
                if label in CLOSED:
                    missing = set(choices) - values[selector.name, label]
                    assert not missing, f"{where}: {label} is never {missing}"
                elif label not in OF_EVERY_TARGET:
                    assert label == "grpc_code", f"{where}: who knows {label}?"
                    assert {code.name for code in grpc.StatusCode}.issuperset(choices), (
                        f"{where}: no status is {choices}"
                    )
    assert asked > 50


async def test_all_that_is_shown_is_in_the_reference(shown: Scrape) -> None:
    documented = set(re.findall(r"^\| `(\w+)`", REFERENCE.read_text(), re.MULTILINE))
    found = {re.sub("_(bucket|count|sum)$", "", name) for name in shown.names if not name.startswith(OF_THE_LIBRARY)}
    assert found == documented


def test_all_reasons_are_shown_before_anything_happens_for_them() -> None:
    made = {(site.module, site.kind, site.reason) for site in refusals.sites()}
    denials = {reason for module, kind, reason in made if module.startswith("access/") and kind in DENIED}
    assert Denials(1).counted.keys() == denials
    ends = {reason for module, _, reason in made if module == "watch.py"}
    assert Metrics().events.ends.keys() == ends | {"CANCELLED", "INTERNAL", "NOT_READY"}


def test_labels_that_are_grouped_by_are_labels_that_there_are() -> None:
    grouped = {
        label
        for _, expression in expressions()
        for labels in re.findall(r"\bby \(([^)]*)\)", expression)
        for label in labels.split(", ")
    }
    known = {"le", "job", "instance", "store_id", "state", "cause", "outcome", "reason", "provider_name"}
    assert grouped <= known | {"grpc_method", "grpc_code"}


def test_each_alert_says_what_it_means_and_is_in_the_how_to() -> None:
    text = HOW_TO.read_text()
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}
        assert re.search(rf"\b{rule['alert']}\b", text), rule["alert"]
    assert len({rule["alert"] for rule in rules()}) == len(rules())


def test_the_dashboard_is_whole() -> None:
    found = panels()
    assert len({panel["id"] for panel in found}) == len(found)
    taken: set[tuple[int, int]] = set()
    for panel in found:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, f"{panel['title']} lies over another"
        assert at["x"] + at["w"] <= 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["targets"]
            assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


def test_an_expression_for_what_is_not_there_is_found_out() -> None:
    (selector,) = selectors('histogram_quantile(0.9, sum by (le) (rate(providerd_x_bucket{state="y"}[1m])))')
    assert selector == Selector("providerd_x_bucket", (("state", ("y",)),))
