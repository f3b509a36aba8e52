"""Differences and history entries, as the SDK reads them from messages."""

import copy
import pickle

from google.protobuf.struct_pb2 import Value

from providerd import ABSENT, DiffKind, FieldChange, HistoryAction, HistoryEntry, ProviderDiff
from providerd.differences import changes_from
from providerd.v1 import provider_pb2 as pb
from tests.unit.sdk_messages import revision


def test_no_value_is_told_from_null() -> None:
    changes = changes_from(
        [
            pb.FieldChange(field="a", new_value=Value(null_value=0)),  # type: ignore[arg-type]
            pb.FieldChange(field="b", old_value=Value(number_value=3), new_value=Value(string_value="x")),
        ]
    )
    assert changes == (FieldChange("a", ABSENT, None), FieldChange("b", 3, "x"))
    assert isinstance(changes[1].old, int)


def test_absent_is_one_thing_wherever_it_goes() -> None:
    assert repr(FieldChange("a", ABSENT, None)) == "FieldChange(field='a', old=ABSENT, new=None)"
    assert copy.deepcopy(ABSENT) is pickle.loads(pickle.dumps(ABSENT)) is ABSENT


def test_every_kind_and_action_of_the_api_is_known() -> None:
    kinds = [DiffKind.from_proto(kind) for kind in pb.DiffKind.values() if kind]
    assert kinds == list(DiffKind)
    actions = [HistoryAction.from_proto(action) for action in pb.HistoryAction.values() if action]
    assert actions == list(HistoryAction)
    assert [pb.HistoryAction.Name(each.to_proto()) for each in actions] == [
        f"HISTORY_ACTION_{each.name}" for each in actions
    ]


def test_what_only_newer_daemons_know_is_a_change() -> None:
    assert ProviderDiff.from_proto(pb.ProviderDiff(provider_name="a", kind=77)).kind is DiffKind.CHANGED  # type: ignore[arg-type]
    assert HistoryAction.from_proto(77) is HistoryAction.UPDATED  # type: ignore[arg-type]


def test_an_entry_has_its_time_in_utc() -> None:
    message = pb.HistoryEntry(entry_id=4, revision=revision(3), action=pb.HISTORY_ACTION_DELETED, actor="ops")
    message.change_time.FromJsonString("2026-03-01T10:20:30.5Z")
    entry = HistoryEntry.from_proto(message)
    assert entry.change_time.isoformat() == "2026-03-01T10:20:30.500000+00:00"
    assert (entry.entry_id, entry.revision.number, entry.action) == (4, 3, HistoryAction.DELETED)
