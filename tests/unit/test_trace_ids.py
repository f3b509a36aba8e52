"""The ids that everybody derives: they are part of what versions and programs have to agree on."""

import subprocess

import pytest

from providerd import trace_ids
from providerd.provider import Revision as OfTheSdk
from providerd_server.snapshot import Revision as OfTheDaemon
from tests.unit.snapshots import OTHER_STORE, STORE


def test_they_are_what_a_shell_makes_of_the_revision() -> None:
    done = subprocess.run(
        f"printf %s '{STORE}:7' | sha256sum", shell=True, capture_output=True, text=True, timeout=20, check=True
    )
    revision = OfTheSdk(STORE, 7)
    assert f"{trace_ids.trace_id(revision):032x}{trace_ids.write_id(revision):016x}" == done.stdout[:48]


def test_daemon_and_sdk_derive_the_same() -> None:
    for derive in (trace_ids.trace_id, trace_ids.write_id, lambda each: trace_ids.delivery_id(each, "a", "switched")):
        assert derive(OfTheSdk(STORE, 7)) == derive(OfTheDaemon(STORE, 7))


def test_each_revision_stream_and_cause_has_its_own() -> None:
    revisions = [OfTheSdk(store, number) for store in (STORE, OTHER_STORE) for number in range(1, 200)]
    assert len({trace_ids.trace_id(each) for each in revisions}) == len(revisions)
    assert len({trace_ids.write_id(each) for each in revisions}) == len(revisions)
    deliveries = {
        trace_ids.delivery_id(revision, watch, cause)
        for revision in revisions[:3]
        for watch in ("a", "b")
        for cause in ("switched", "key_changed")
    }
    assert len(deliveries) == 12


def test_none_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_ids, "_digest", lambda *_: bytes(32))
    revision = OfTheSdk(STORE, 7)
    assert trace_ids.trace_id(revision) == trace_ids.write_id(revision) == 1
    assert trace_ids.delivery_id(revision, "a", "switched") == 1
