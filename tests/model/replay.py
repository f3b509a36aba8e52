"""The history read forwards: what its entries say, one after the other, makes each revision."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict

from providerd.v1 import provider_pb2 as pb

# What entries say nothing of, or in other words.
_UNSAID = ("config_version", "create_time", "update_time", "updated_by", "has_key")
_PART = re.compile(r'"(?:[^"\\]|\\.)*"|[^.]+')


class Replay:
    """The providers by name, each as the fields that changes have told of so far."""

    def __init__(self, providers: Iterable[pb.Provider] = ()) -> None:
        self._fields = {provider.provider_name: _said(provider) for provider in providers}

    def follow(self, name: str, changes: Iterable[pb.FieldChange]) -> None:
        """Applies changes of one provider, each of which must start from what was there."""
        fields = self._fields.setdefault(name, {})
        for change in changes:
            _apply(fields, change)
        if not fields:
            del self._fields[name]

    def shows(self, providers: Iterable[pb.Provider]) -> bool:
        """Whether these are the providers, as far as changes can tell."""
        mine = {name: ParseDict(fields, pb.Provider()) for name, fields in self._fields.items()}
        theirs = {provider.provider_name: ParseDict(_said(provider), pb.Provider()) for provider in providers}
        return mine == theirs


def _said(provider: pb.Provider) -> dict[str, Any]:
    told = pb.Provider()
    told.CopyFrom(provider)
    for field in _UNSAID:
        told.ClearField(field)
    fields: dict[str, Any] = MessageToDict(told, preserving_proto_field_name=True)
    # False goes without saying in a message, but not in a change.
    return {"is_active": False, **fields}


def _apply(fields: dict[str, Any], change: pb.FieldChange) -> None:
    *above, last = [json.loads(part) if part.startswith('"') else part for part in _PART.findall(change.field)]
    place = fields
    for step in above:
        place = place[step]
    had = {last: place[last]} if last in place else {}
    said = {last: MessageToDict(change.old_value)} if change.HasField("old_value") else {}
    assert _canonical(had) == _canonical(said), f"{change.field} was not {said}"
    place.pop(last, None)
    if change.HasField("new_value"):
        place[last] = MessageToDict(change.new_value)


def _canonical(value: Any) -> str:
    # Tells true from 1, which Python does not; whole numbers come as 1 or 1.0.
    return json.dumps(_wholes(value), sort_keys=True)


def _wholes(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _wholes(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_wholes(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
