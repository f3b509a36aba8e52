"""The public surface is a reviewed list, and importing it stays light."""

import subprocess
import sys

import providerd
import providerd.sync

SURFACE = """
AbortedError ActiveProvider Cause Change Changes Client ClientOptions ClosedError Credential
CredentialUnavailableError DeadlineExceededError FailedPreconditionError FieldViolation InternalError
InvalidArgumentError NoActiveProviderError NotFoundError NotReadyError PermissionDeniedError Provider ProviderdError
ResourceExhaustedError Revision RpcError StaleError State SwitchResult SwitchWarning UnauthenticatedError
UnavailableError UnimplementedError UpsertResult __version__
"""


def test_the_surface_is_the_reviewed_one() -> None:
    assert providerd.__all__ == SURFACE.split()
    assert all(hasattr(providerd, name) for name in providerd.__all__)


def test_both_clients_offer_the_same() -> None:
    def surface(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert surface(providerd.Client) == surface(providerd.sync.Client)


def test_every_error_descends_from_one() -> None:
    errors = [getattr(providerd, name) for name in providerd.__all__ if name.endswith("Error")]
    assert len(errors) == 18
    assert all(issubclass(error, providerd.ProviderdError) for error in errors)


def test_importing_it_brings_neither_the_cli_nor_the_daemon() -> None:
    script = (
        "import providerd, providerd.sync, providerd.v1.provider_pb2_grpc, sys;"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), 'providerd.cli' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert loaded.pop() == "False"
    assert not {"providerd_server", "click", "rich", "asyncpg", "pydantic", "structlog"} & set(loaded)
    assert not [name for name in loaded if name.startswith("googleapis")]
