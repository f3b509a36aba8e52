"""For each RPC a request that would do or tell something, were it let through."""

from google.protobuf.json_format import ParseDict
from grpc_reflection.v1alpha import reflection_pb2

from providerd.v1 import provider_pb2 as pb
from tests.abuse.case import REFLECTION, SERVICE
from tests.abuse.world import provider

_MESSAGES = {
    "GetActiveProvider": {"include_credential": True},
    "WatchActive": {"include_credential": True},
    "SwitchProvider": {"provider_name": "spare"},
    "UpsertProvider": {"provider": provider("unborn"), "new_api_key": "sk-of-an-attacker"},
    "DeleteProvider": {"provider_name": "spare"},
    "RollbackProvider": {"provider_name": "keyed", "revision_number": 2},
    "ApplyConfiguration": {"providers": [provider("unborn")], "active_provider_name": "unborn", "delete_missing": True},
    "ListHistory": {},
    "GetRevision": {},
    "DiffRevisions": {"from_revision": 1},
    "GetProvider": {"provider_name": "keyed"},
    "ListProviders": {},
    "GetStatus": {},
}

EFFECTIVE = {
    f"{SERVICE}{method}": ParseDict(message, getattr(pb, f"{method}Request")()).SerializeToString()
    for method, message in _MESSAGES.items()
} | {REFLECTION: reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()}
