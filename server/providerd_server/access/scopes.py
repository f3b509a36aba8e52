"""What a principal may be allowed to do, and what each RPC takes."""

from __future__ import annotations

import enum
from collections.abc import Mapping


class Scope(enum.StrEnum):
    """One permission; ``admin`` includes all others, which do not include each other."""

    READ = "read"
    READ_CREDENTIAL = "read-credential"
    SWITCH = "switch"
    WRITE = "write"
    ADMIN = "admin"


# A deletion takes the key along, which no rollback brings back.
_SCOPES: Mapping[str, Scope] = {
    "GetActiveProvider": Scope.READ,
    "WatchActive": Scope.READ,
    "GetProvider": Scope.READ,
    "ListProviders": Scope.READ,
    "GetStatus": Scope.READ,
    "ListHistory": Scope.READ,
    "GetRevision": Scope.READ,
    "DiffRevisions": Scope.READ,
    "SwitchProvider": Scope.SWITCH,
    "UpsertProvider": Scope.WRITE,
    "RollbackProvider": Scope.WRITE,
    "ApplyConfiguration": Scope.WRITE,
    "DeleteProvider": Scope.ADMIN,
    "ServerReflectionInfo": Scope.READ,
}


def scope_of(method: str) -> Scope:
    """The scope that an RPC takes, by its full name, such as ``/providerd.v1.ProviderService/ListProviders``."""
    return _SCOPES.get(method.rpartition("/")[2], Scope.ADMIN)
