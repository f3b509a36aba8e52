"""Errors: one line each, typed by code, with what the daemon attached."""

import copy
import pickle

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc.aio import AioRpcError, Metadata

import providerd
from providerd.errors import FieldViolation, InvalidArgumentError, RpcError, UnavailableError, from_rpc


def refusal(code: grpc.StatusCode, details: str | None = "refused", trailer: bytes | None = None) -> AioRpcError:
    metadata = Metadata(("x-other", "1")) if trailer is None else Metadata(("grpc-status-details-bin", trailer))
    return AioRpcError(code, Metadata(), metadata, details, "debug text nobody should see")


def google_status() -> bytes:
    """As the daemon builds it, with the original messages of google.rpc."""
    status = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message="ignored")
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(reason="INVALID_PROVIDER", domain="providerd", metadata={"provider_name": "groq"})
    )
    violation = error_details_pb2.BadRequest.FieldViolation
    status.details.add().Pack(
        error_details_pb2.BadRequest(
            field_violations=[
                violation(field="provider.base_url", description="must be\nset"),
                violation(field="provider.default_model", description="must be set"),
            ]
        )
    )
    status.details.add().Pack(error_details_pb2.RetryInfo())
    return status.SerializeToString()


def test_the_details_of_google_rpc_are_read_without_its_package() -> None:
    error = from_rpc(refusal(grpc.StatusCode.INVALID_ARGUMENT, "the provider is not valid", google_status()), "x:1")
    assert type(error) is InvalidArgumentError
    assert (error.reason, error.metadata) == ("INVALID_PROVIDER", {"provider_name": "groq"})
    assert error.violations[1] == FieldViolation("provider.default_model", "must be set")
    assert str(error) == (
        "the provider is not valid (provider.base_url: must be set; provider.default_model: must be set)"
    )


def test_broken_details_do_not_hide_the_status() -> None:
    error = from_rpc(refusal(grpc.StatusCode.NOT_FOUND, "no groq", b"\xff\xff\xff"), "x:1")
    assert (type(error), str(error), error.reason) == (providerd.NotFoundError, "no groq", "")


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.CANCELLED])
def test_every_code_has_an_error_in_one_line(code: grpc.StatusCode) -> None:
    error = from_rpc(refusal(code, "first\nsecond"), "localhost:50051")
    assert isinstance(error, RpcError)
    assert error.code is code
    assert "\n" not in str(error)
    assert "debug" not in str(error)


def test_a_transport_failure_names_the_target() -> None:
    error = from_rpc(refusal(grpc.StatusCode.UNAVAILABLE, "connection refused"), "localhost:50051")
    assert str(error) == "cannot reach the daemon at localhost:50051: connection refused"
    assert "without a message" in str(from_rpc(refusal(grpc.StatusCode.ABORTED, None), "x:1"))


def test_a_call_that_the_daemon_did_not_begin_invites_another() -> None:
    error = from_rpc(refusal(grpc.StatusCode.CANCELLED, "CANCELLED", None), "localhost:50051")
    assert isinstance(error, UnavailableError)
    assert error.code is grpc.StatusCode.UNAVAILABLE
    assert str(error) == "the daemon at localhost:50051 went away before it answered"


def test_errors_raised_here_have_the_code_of_their_class() -> None:
    assert UnavailableError("gone").code is grpc.StatusCode.UNAVAILABLE
    assert providerd.StaleError("old").code is None


def test_errors_survive_copying_and_pickling() -> None:
    error = from_rpc(refusal(grpc.StatusCode.INVALID_ARGUMENT, "bad", google_status()), "x:1")
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (type(twin), str(twin), twin.metadata, twin.code) == (
            type(error),
            str(error),
            error.metadata,
            error.code,
        )
