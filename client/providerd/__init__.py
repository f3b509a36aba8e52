"""The thin SDK of providerd: which LLM provider is active right now, and how to call it.

    async with providerd.Client("localhost:50051") as client:
        provider = client.active

`providerd.sync.Client` is the same for threads.
"""

import os

# gRPC reads this once, when it is imported. Its fork handlers know nothing of grpc.aio and crash forked children;
# whoever sets the variable has the say. See https://github.com/grpc/grpc/blob/master/doc/fork_support.md.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from providerd._version import __version__
from providerd.cache import State
from providerd.changes import Cause, Change, Changes
from providerd.client import Client
from providerd.daemon_status import DaemonStatus, Origin, Watchers
from providerd.differences import ABSENT, DiffKind, FieldChange, ProviderDiff, RevisionDiff
from providerd.errors import (
    AbortedError,
    ClosedError,
    CredentialUnavailableError,
    DeadlineExceededError,
    FailedPreconditionError,
    FieldViolation,
    InternalError,
    InvalidArgumentError,
    NoActiveProviderError,
    NotFoundError,
    NotReadyError,
    OutOfRangeError,
    PermissionDeniedError,
    ProviderdError,
    ResourceExhaustedError,
    RpcError,
    StaleError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)
from providerd.history import ConfigurationAt, HistoryAction, HistoryEntry
from providerd.options import ClientOptions
from providerd.provider import ActiveProvider, Credential, Provider, Revision, SourceStatus
from providerd.results import ApplyResult, DeleteResult, RollbackResult, SwitchResult, SwitchWarning, UpsertResult
from providerd.secret import Secret

__all__ = [
    "ABSENT",
    "AbortedError",
    "ActiveProvider",
    "ApplyResult",
    "Cause",
    "Change",
    "Changes",
    "Client",
    "ClientOptions",
    "ClosedError",
    "ConfigurationAt",
    "Credential",
    "CredentialUnavailableError",
    "DaemonStatus",
    "DeadlineExceededError",
    "DeleteResult",
    "DiffKind",
    "FailedPreconditionError",
    "FieldChange",
    "FieldViolation",
    "HistoryAction",
    "HistoryEntry",
    "InternalError",
    "InvalidArgumentError",
    "NoActiveProviderError",
    "NotFoundError",
    "NotReadyError",
    "Origin",
    "OutOfRangeError",
    "PermissionDeniedError",
    "Provider",
    "ProviderDiff",
    "ProviderdError",
    "ResourceExhaustedError",
    "Revision",
    "RevisionDiff",
    "RollbackResult",
    "RpcError",
    "Secret",
    "SourceStatus",
    "StaleError",
    "State",
    "SwitchResult",
    "SwitchWarning",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "UpsertResult",
    "Watchers",
    "__version__",
]
