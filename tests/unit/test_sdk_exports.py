"""The public surface is a reviewed list, and importing it stays light."""

import inspect
import subprocess
import sys

import pytest

import providerd
import providerd.sync

SURFACE = """
ABSENT AbortedError ActiveProvider ApplyResult Cause Change Changes Client ClientOptions ClosedError ConfigurationAt
Credential CredentialUnavailableError DaemonStatus DeadlineExceededError DeleteResult DiffKind FailedPreconditionError
FieldChange FieldViolation HistoryAction HistoryEntry InternalError InvalidArgumentError NoActiveProviderError
NotFoundError NotReadyError Origin OutOfRangeError PermissionDeniedError Provider ProviderDiff ProviderdError
ResourceExhaustedError Revision RevisionDiff RollbackResult RpcError Secret SourceStatus StaleError State SwitchResult
SwitchWarning UnauthenticatedError UnavailableError UnimplementedError UpsertResult Watchers __version__
"""


def test_the_surface_is_the_reviewed_one() -> None:
    assert providerd.__all__ == SURFACE.split()
    assert all(hasattr(providerd, name) for name in providerd.__all__)


def test_both_clients_offer_the_same() -> None:
    def surface(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert surface(providerd.Client) == surface(providerd.sync.Client)


@pytest.mark.parametrize("name", [name for name in dir(providerd.Client) if not name.startswith("_")])
def test_both_clients_take_the_same_arguments(name: str) -> None:
    twins = [getattr(kind, name) for kind in (providerd.Client, providerd.sync.Client)]
    if inspect.isfunction(twins[0]):
        one, other = (inspect.signature(twin).parameters for twin in twins)
        assert list(one.values()) == list(other.values())
    else:
        assert all(isinstance(twin, property) for twin in twins)


def test_every_error_descends_from_one() -> None:
    errors = [getattr(providerd, name) for name in providerd.__all__ if name.endswith("Error")]
    assert len(errors) == 19
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
