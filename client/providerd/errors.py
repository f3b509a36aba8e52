"""What can go wrong, as one tree.

ProviderdError
├── NotReadyError                  no answer from the daemon yet
├── NoActiveProviderError          the daemon answered: no provider is active
├── StaleError                     the value is older than max_age
├── ClosedError                    the client is closed, or was inherited through a fork
├── CredentialUnavailableError     the key was not asked for, or there is none
└── RpcError                       a call or the watch failed; `code` says how
    ├── InvalidArgumentError       also raised before sending; `violations` names the fields
    ├── NotFoundError
    ├── FailedPreconditionError
    ├── AbortedError               something changed since it was read: read again, then retry
    ├── OutOfRangeError            no such revision: yet to come, or pruned
    ├── PermissionDeniedError
    ├── UnauthenticatedError
    ├── UnimplementedError
    ├── ResourceExhaustedError
    ├── UnavailableError           the only one that invites an automatic retry
    ├── DeadlineExceededError
    └── InternalError
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from google.protobuf.message import DecodeError

from providerd import handshake
from providerd.v1 import status_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from google.protobuf.any_pb2 import Any as AnyMessage
    from grpc.aio import AioRpcError


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that is not acceptable, and why."""

    field: str
    description: str


class ProviderdError(Exception):
    """The base of everything this package raises on purpose.

    Attributes:
        message: What went wrong, in one line.
        reason: An UPPER_SNAKE constant to branch on, such as PROVIDER_DISABLED. Empty when there is none.
        metadata: The dynamic values of the message, by name.
        violations: The fields at fault, for an invalid request.
        code: The gRPC status, for an error of a call.
    """

    code: grpc.StatusCode | None = None

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Iterable[FieldViolation] = (),
        code: grpc.StatusCode | None = None,
    ) -> None:
        super().__init__(message)
        self.message = " ".join(message.split())
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        fields = "; ".join(f"{at.field}: {' '.join(at.description.split())}" for at in self.violations)
        return f"{self.message} ({fields})" if fields else self.message


class NotReadyError(ProviderdError):
    """The daemon has not answered yet, so there is nothing to serve."""


class NoActiveProviderError(ProviderdError):
    """The daemon answered, and no provider is active."""


class StaleError(ProviderdError):
    """The value is older than the client's max_age accepts."""


class ClosedError(ProviderdError):
    """The client is closed, or belongs to the parent of this process."""


class CredentialUnavailableError(ProviderdError):
    """The key was not asked for, or the active provider has none."""


class RpcError(ProviderdError):
    """The daemon or the connection to it refused a call. Raised as itself for codes without a class."""


class InvalidArgumentError(RpcError):
    """The request is not acceptable; `violations` names each field at fault."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFoundError(RpcError):
    """There is no such provider, or none is active."""

    code = grpc.StatusCode.NOT_FOUND


class FailedPreconditionError(RpcError):
    """The state of the system forbids it, as switching to a disabled provider."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class AbortedError(RpcError):
    """The revision or version the caller expected is no longer the newest."""

    code = grpc.StatusCode.ABORTED


class OutOfRangeError(RpcError):
    """The revision is yet to come, or pruned from the history."""

    code = grpc.StatusCode.OUT_OF_RANGE


class PermissionDeniedError(RpcError):
    """The caller may not do this, as asking for a key from another machine."""

    code = grpc.StatusCode.PERMISSION_DENIED


class UnauthenticatedError(RpcError):
    """The daemon does not know the caller."""

    code = grpc.StatusCode.UNAUTHENTICATED


class UnimplementedError(RpcError):
    """The peer does not offer this call; it may not be a providerd daemon."""

    code = grpc.StatusCode.UNIMPLEMENTED


class ResourceExhaustedError(RpcError):
    """The daemon refuses more from this caller."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class UnavailableError(RpcError):
    """The daemon or its database cannot be reached right now."""

    code = grpc.StatusCode.UNAVAILABLE


class DeadlineExceededError(RpcError):
    """No answer came in time."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class InternalError(RpcError):
    """The daemon or this client is at fault."""

    code = grpc.StatusCode.INTERNAL


def from_rpc(error: AioRpcError, target: str, transport: str = "plain") -> RpcError:
    """Returns the typed error for a failed call.

    Reads the google.rpc.Status of the grpc-status-details-bin trailer, which https://google.aip.dev/193 specifies.

    Args:
        error: What gRPC raised.
        target: Whom the call was for; named in the message where the transport failed.
        transport: How it was made, as ClientOptions.transport says.
    """
    reason, metadata, violations = _details(error)
    message = error.details() or f"the daemon answered {error.code().name} without a message"
    if not reason and error.code() is grpc.StatusCode.UNAVAILABLE:
        reason, message = handshake.explain(message, target, transport)
    elif not reason and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        message = f"no answer from the daemon at {target} in time"
    elif not reason and error.code() is grpc.StatusCode.CANCELLED:
        # Not by this client. gRPC says so of calls that a daemon which ends has not begun:
        # https://github.com/grpc/grpc/issues/41785
        return UnavailableError(f"the daemon at {target} went away before it answered")
    kind = _BY_CODE.get(error.code(), RpcError)
    return kind(message, reason=reason, metadata=metadata, violations=violations, code=error.code())


_BY_CODE = {kind.code: kind for kind in RpcError.__subclasses__()}


def _details(error: AioRpcError) -> tuple[str, dict[str, str], list[FieldViolation]]:
    reason, metadata = "", dict[str, str]()
    violations: list[FieldViolation] = []
    try:
        for detail in _trailer(error):
            kind = detail.type_url.rpartition("/")[2]
            if kind == "google.rpc.ErrorInfo":
                info = status_pb2.ErrorReason.FromString(detail.value)
                reason, metadata = info.reason, dict(info.metadata)
            elif kind == "google.rpc.BadRequest":
                found = status_pb2.FieldViolations.FromString(detail.value).field_violations
                violations += [FieldViolation(at.field, at.description) for at in found]
    except DecodeError:
        pass  # details only add to the status; broken ones must not hide it
    return reason, metadata, violations


def _trailer(error: AioRpcError) -> Iterable[AnyMessage]:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            return status_pb2.ErrorStatus.FromString(value).details
    return ()
