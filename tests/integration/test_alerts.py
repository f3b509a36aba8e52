"""Prometheus itself evaluates the alerts over made-up hours: each fires, and is silent, when it should."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs_runner import ROOT

DEPLOYED = ROOT / "deploy/prometheus"
ALERTS = DEPLOYED / "alerts.yaml"

DAY = 86400
EU = {"job": "providerd-eu"}


def series(name: str, values: str, **labels: str) -> dict[str, str]:
    """A value a minute, as promtool writes them: "0x5 1x10" is six zeros and then eleven ones."""
    return {"series": name + written({"job": "providerd", "instance": "a"} | labels), "values": values}


def written(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


def store(store_id: str, values: str = "1x60", **labels: str) -> dict[str, str]:
    return series("providerd_store_info", values, store_id=store_id, **labels)


def deliveries(fast: str, slow: str) -> list[dict[str, str]]:
    """Those that took less than a second, and with them those that took two."""
    return [
        series("providerd_delivery_seconds_bucket", values, le=le)
        for le, values in (("1.0", fast), ("2.5", slow), ("+Inf", slow))
    ]


@dataclass(frozen=True)
class Scenario:
    """What an alert says of one hour: of whom, at a minute of it."""

    alert: str
    what: str
    seen: list[dict[str, str]]
    at: int
    fires: list[dict[str, str]]


def scenario(alert: str, what: str, *seen: dict[str, str], at: int = 12, fires: Any = ()) -> Scenario:
    return Scenario(alert, what, list(seen), at, list(fires))


A = {"job": "providerd", "instance": "a"}

ONCE, NEVER = "0x5 1x60", "7x60"

SCENARIOS = [
    scenario("ProviderdDown", "two minutes", series("up", "1x8 0x60"), fires=[A]),
    scenario("ProviderdDown", "a moment", series("up", "1x8 0 1x60"), at=10),
    scenario("ProviderdDown", "of something else", series("up", "0x60", job="node")),
    scenario("ProviderdAbsent", "nothing at all", series("up", "1x60", job="node"), fires=[{}]),
    scenario("ProviderdAbsent", "one fleet of two", series("up", "1x60"), series("up", "1x3 stale", **EU), fires=[EU]),
    scenario("ProviderdAbsent", "one of a fleet", series("up", "1x60"), series("up", "1x3 stale", instance="b")),
    scenario("ProviderdStale", "minutes", series("providerd_stale", "0x8 1x60"), fires=[A]),
    scenario("ProviderdStale", "a moment", series("providerd_stale", "0x8 1 0x60"), at=10),
    scenario("ProviderdStoresDiffer", "in a fleet", store("x"), store("y", instance="b"), fires=[{"job": "providerd"}]),
    scenario("ProviderdStoresDiffer", "of two fleets", store("x"), store("y", **EU), store("y", instance="b", **EU)),
    scenario(
        "ProviderdRevisionsDiffer", "minutes",
        store("x"), store("x", instance="b"),
        series("providerd_revision", "5x60"), series("providerd_revision", "5x2 6x60", instance="b"),
        fires=[{**A, "store_id": "x"}],
    ),
    scenario(
        "ProviderdRevisionsDiffer", "a moment",
        store("x"), store("x", instance="b"),
        series("providerd_revision", "5x9 6x60"), series("providerd_revision", "5x8 6x60", instance="b"),
    ),
    scenario(
        "ProviderdRevisionsDiffer", "of two stores",
        store("x"), store("y", **EU), series("providerd_revision", "5x60"), series("providerd_revision", "9x60", **EU),
    ),
    scenario(
        "ProviderdRevisionsDiffer", "after a backup was restored",
        store("x"), store("x", instance="b"),
        series("providerd_revision", "9x9 4x60"), series("providerd_revision", "9x9 4x60", instance="b"),
    ),
    scenario(
        "ProviderdNotListening", "deaf", series("providerd_listen_state", "0x60", state="listening"),
        fires=[{**A, "state": "listening"}],
    ),
    scenario("ProviderdNotListening", "it listens", series("providerd_listen_state", "1x60", state="listening")),
    scenario("ProviderdNoActiveProvider", "none", series("providerd_active", "1x5 0x60"), fires=[A]),
    scenario("ProviderdNoActiveProvider", "one", series("providerd_active", "1x60")),
    scenario("ProviderdKeyUnreadable", "two", series("providerd_unreadable_keys", "2x60"), fires=[A]),
    scenario("ProviderdKeyUnreadable", "none", series("providerd_unreadable_keys", "0x60")),
    scenario(
        "ProviderdWatchersStall", "one, once", series("providerd_watches_ended_total", ONCE, reason="WATCHER_STALLED"),
        fires=[{**A, "reason": "WATCHER_STALLED"}],
    ),
    scenario(
        "ProviderdWatchersStall", "long ago", series("providerd_watches_ended_total", ONCE, reason="WATCHER_STALLED"),
        at=40,
    ),
    scenario("ProviderdWatchersStall", "they leave", series("providerd_watches_ended_total", ONCE, reason="DRAINING")),
    scenario("ProviderdWritesFail", "one", series("providerd_writes_total", ONCE, outcome="unavailable"), fires=[A]),
    scenario("ProviderdWritesFail", "a fault", series("providerd_writes_total", ONCE, outcome="internal"), fires=[A]),
    scenario(
        "ProviderdWritesFail", "made and refused",
        *(series("providerd_writes_total", ONCE, outcome=outcome) for outcome in ("made", "aborted", "cancelled")),
        series("providerd_writes_total", NEVER, outcome="unavailable"),
    ),
    scenario("ProviderdDeliverySlow", "the only one", *deliveries("0x60", ONCE), fires=[A]),
    scenario("ProviderdDeliverySlow", "fast", *deliveries(ONCE, ONCE)),
    scenario("ProviderdDeliverySlow", "one of many", *deliveries("0+100x60", "0+100x5 601+100x60")),
    scenario(
        "ProviderdTurnsCallersAway", "once", series("providerd_limit_refusals_total", ONCE, reason="TOO_MANY_CALLS"),
        fires=[{**A, "reason": "TOO_MANY_CALLS"}],
    ),
    scenario(
        "ProviderdTurnsCallersAway", "long ago",
        series("providerd_limit_refusals_total", NEVER, reason="TOO_MANY_CALLS"),
        series("grpc_server_handled_total", ONCE, grpc_code="RESOURCE_EXHAUSTED"),
    ),
    scenario(
        "ProviderdDenials", "many", series("providerd_auth_denials_total", "0+30x60", reason="TOKEN_EXPIRED"), at=25,
        fires=[{**A, "reason": "TOKEN_EXPIRED"}],
    ),
    scenario(
        "ProviderdDenials", "few", series("providerd_auth_denials_total", "0+1x60", reason="TOKEN_EXPIRED"), at=25
    ),
    scenario(
        "ProviderdCertificateExpires", "soon",
        series("providerd_certificate_end_time_seconds", f"{6 * DAY}x120"), at=90, fires=[A],
    ),
    scenario(
        "ProviderdCertificateExpires", "next month",
        series("providerd_certificate_end_time_seconds", f"{30 * DAY}x120"), at=90,
    ),
    scenario(
        "ProviderdPostgreSQLVulnerable", "it is", series("providerd_postgresql_vulnerable", "1x120"), at=90, fires=[A]
    ),
    scenario("ProviderdPostgreSQLVulnerable", "it is not", series("providerd_postgresql_vulnerable", "0x120"), at=90),
]  # fmt: skip


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool", path=f"{os.environ['PATH']}{os.pathsep}{Path.home() / 'go/bin'}")
    if found is None:
        pytest.skip("promtool is not installed: Go's github.com/prometheus/prometheus/cmd/promtool has it")
    return found


def test_each_alert_is_shown_to_fire_and_to_be_silent() -> None:
    alerts = {rule["alert"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]}
    assert {each.alert for each in SCENARIOS if each.fires} == alerts
    assert {each.alert for each in SCENARIOS if not each.fires} == alerts


def test_alerts_fire_when_they_should(promtool: str, tmp_path: Path) -> None:
    document = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [*map(_in_promtools_terms, SCENARIOS)],
    }
    file = tmp_path / "scenarios.yaml"
    file.write_text(yaml.safe_dump(document))
    run(promtool, "test", "rules", file)


def test_alerts_say_whom_they_are_of(promtool: str, tmp_path: Path) -> None:
    (rule,) = (
        rule
        for group in yaml.safe_load(ALERTS.read_text())["groups"]
        for rule in group["rules"]
        if rule["alert"] == "ProviderdAbsent"
    )
    said = {"": "no daemon of any fleet is scraped", "providerd-eu": "no daemon of providerd-eu is scraped"}
    seen = {"": [], "providerd-eu": [series("up", "1x60"), series("up", "1x3 stale", **EU)]}
    tests = [
        {
            "interval": "1m",
            "input_series": seen[job],
            "alert_rule_test": [
                {
                    "eval_time": "12m",
                    "alertname": "ProviderdAbsent",
                    "exp_alerts": [
                        {
                            "exp_labels": {"severity": "critical"} | ({"job": job} if job else {}),
                            "exp_annotations": rule["annotations"] | {"summary": summary},
                        }
                    ],
                }
            ],
        }
        for job, summary in said.items()
    ]
    file = tmp_path / "absent.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests}))
    run(promtool, "test", "rules", file)


def test_prometheus_takes_what_is_shipped(promtool: str, tmp_path: Path) -> None:
    configuration = tmp_path / "prometheus.yaml"
    files = {"rule_files": [str(ALERTS)], "scrape_config_files": [str(DEPLOYED / "scrape.yaml")]}
    configuration.write_text(yaml.safe_dump(files))
    run(promtool, "check", "config", configuration)


def test_whoever_scrapes_does_so_under_a_name_that_the_alerts_look_for() -> None:
    scraped = yaml.safe_load((DEPLOYED / "scrape.yaml").read_text())["scrape_configs"]
    (endpoint,) = yaml.safe_load((DEPLOYED / "podmonitor.yaml").read_text())["spec"]["podMetricsEndpoints"]
    relabelled = [each for config in scraped for each in config.get("relabel_configs", ())]
    names = [
        *(config["job_name"] for config in scraped),
        *(each["replacement"] for each in relabelled if each.get("target_label") == "job"),
        *(each["replacement"] for each in endpoint["relabelings"] if each["targetLabel"] == "job"),
    ]
    assert names == ["providerd", "providerd-kubernetes", "providerd-$1", "providerd"]
    assert all('job=~"providerd(-.+)?"' in text for text in ALERTS.read_text().splitlines() if "up{" in text)


def test_switches_are_marked_on_the_dashboard_and_nothing_else(promtool: str, tmp_path: Path) -> None:
    (annotation,) = json.loads((ROOT / "deploy/grafana/providerd.json").read_text())["annotations"]["list"]
    name = "providerd_active_provider_info"
    seen = [
        series(name, "1x8 stale", provider_name="groq"),
        series(name, "_x9 1x60", provider_name="mistral"),
        # Another is away meanwhile.
        series(name, "1x3 stale", provider_name="groq", instance="b"),
        series(name, "_x25 1x60", provider_name="mistral", instance="b"),
    ]
    looks = {8: [], 9: [{"job": "providerd", "provider_name": "mistral"}], 11: [], 25: []}
    test = {
        "interval": "1m",
        "input_series": seen,
        "promql_expr_test": [
            {
                "expr": annotation["expr"].replace("$job", ".*").replace("$instance", ".*"),
                "eval_time": f"{minute}m",
                "exp_samples": [{"labels": written(labels), "value": 1} for labels in found],
            }
            for minute, found in looks.items()
        ],
    }
    file = tmp_path / "switches.yaml"
    file.write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [test]}))
    run(promtool, "test", "rules", file)


def _in_promtools_terms(each: Scenario) -> dict[str, Any]:
    # Of the samples that Prometheus keeps of alerts, which have the labels and no texts.
    firing = f'ALERTS{{alertname="{each.alert}",alertstate="firing"}}'
    samples = [{"labels": written(labels), "value": 1} for labels in each.fires]
    return {
        "name": f"{each.alert}: {each.what}",
        "interval": "1m",
        "input_series": each.seen,
        "promql_expr_test": [
            {
                "expr": f"max without (__name__, alertname, alertstate, severity) ({firing})",
                "eval_time": f"{each.at}m",
                "exp_samples": samples,
            }
        ],
    }


def run(*command: Any) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
