"""Those who are turned away: counted always, logged within reason."""

import pytest
from structlog.testing import capture_logs

from providerd_server.access import denials as module
from providerd_server.access.denials import Denials
from providerd_server.errors import Kind, Refusal

METHOD = "/providerd.v1.ProviderService/ListProviders"


def failure(denials: Denials, host: str = "192.0.2.1") -> Refusal:
    return denials.denied(Refusal(Kind.UNAUTHENTICATED, "TOKEN_UNKNOWN", "unknown"), method=METHOD, host=host)


def test_failures_of_one_host_are_answered_in_detail_up_to_the_limit() -> None:
    denials = Denials(3)
    with capture_logs() as logged:
        kinds = [failure(denials).kind for _ in range(5)]
        other = failure(denials, "192.0.2.2").kind
    assert kinds == [Kind.UNAUTHENTICATED] * 3 + [Kind.RESOURCE_EXHAUSTED] * 2
    assert other is Kind.UNAUTHENTICATED
    assert [line["peer"] for line in logged] == ["192.0.2.1"] * 3 + ["192.0.2.2"]
    assert ["hint" in line for line in logged] == [False, False, True, False]
    assert denials.counted["TOKEN_UNKNOWN"] == 6


def test_a_new_minute_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    denials, now = Denials(1), 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    assert [failure(denials).kind for _ in range(2)] == [Kind.UNAUTHENTICATED, Kind.RESOURCE_EXHAUSTED]
    now += 60
    assert failure(denials).kind is Kind.UNAUTHENTICATED


def test_a_missing_scope_is_no_failed_authentication() -> None:
    denials = Denials(1)
    refusal = Refusal(Kind.PERMISSION_DENIED, "SCOPE_MISSING", "no")
    answers = [denials.denied(refusal, method=METHOD, host="192.0.2.1", principal="worker") for _ in range(5)]
    assert {each.kind for each in answers} == {Kind.PERMISSION_DENIED}


def test_what_is_remembered_of_hosts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_HOSTS", 10)
    denials = Denials(1)
    for number in range(100):
        failure(denials, f"host-{number}")
    assert len(denials._failures) == 10
    # The newest are the ones still known.
    assert failure(denials, "host-99").kind is Kind.RESOURCE_EXHAUSTED
    assert failure(denials, "host-0").kind is Kind.UNAUTHENTICATED
