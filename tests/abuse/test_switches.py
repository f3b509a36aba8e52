"""Fault 43: switches and writes that must not happen, or that were decided on in another state of things."""

from collections.abc import Iterator

from google.protobuf.message import Message

from providerd.v1 import provider_pb2 as pb
from tests.abuse.case import bearer, case
from tests.abuse.world import World, state_of

KIND = "43 switches"

_OTHER_STORE = "00000000-0000-4000-8000-000000000000"
_LARGEST = 2**63 - 1


def stale(store_id: str, number: int) -> Iterator[tuple[str, pb.Revision]]:
    """Revisions that are not the newest."""
    for other in (0, 1, -1, number - 1, number + 1, number + 1_000, _LARGEST, -_LARGEST - 1, 2**31, 2**32 + number):
        yield "ABORTED", pb.Revision(store_id=store_id, number=other)
    for other in (_OTHER_STORE, "x", store_id.upper(), store_id + " ", store_id[:-1], "'", "\0", "x" * 10_000):
        yield "ABORTED", pb.Revision(store_id=other, number=number)
    yield "INVALID_ARGUMENT", pb.Revision(number=number)
    yield "INVALID_ARGUMENT", pb.Revision()


def switches(store_id: str, number: int) -> Iterator[tuple[str, str, Message]]:
    """Method, what it is answered, and the request."""
    for name, code in (("disabled", "FAILED_PRECONDITION"), ("unheard-of", "NOT_FOUND"), ("", "INVALID_ARGUMENT")):
        for dry in (False, True):
            yield "SwitchProvider", code, pb.SwitchProviderRequest(provider_name=name, validate_only=dry)
    for name in ("disabled", "unheard-of"):
        applied = pb.ApplyConfigurationRequest(active_provider_name=name)
        yield "ApplyConfiguration", "FAILED_PRECONDITION NOT_FOUND INVALID_ARGUMENT", applied
    # To where it is already: nothing happens, and that is said.
    for _ in range(20):
        yield "SwitchProvider", "OK", pb.SwitchProviderRequest(provider_name="keyed")
    newest = pb.Revision(store_id=store_id, number=number)
    yield "SwitchProvider", "OK", pb.SwitchProviderRequest(provider_name="keyed", expected_revision=newest)
    for code, revision in stale(store_id, number):
        for name in ("spare", "keyed"):
            yield "SwitchProvider", code, pb.SwitchProviderRequest(provider_name=name, expected_revision=revision)
        dry = pb.SwitchProviderRequest(provider_name="spare", expected_revision=revision, validate_only=True)
        yield "SwitchProvider", code, dry
        applied = pb.ApplyConfigurationRequest(active_provider_name="spare", expected_revision=revision)
        yield "ApplyConfiguration", code, applied


def writes() -> Iterator[tuple[str, str, Message]]:
    """Writes that were decided on at another version, and those that the active provider is to be kept from."""
    for version in (0, 2, 7, 2**31 - 1, -1, -(2**31)):
        code = "INVALID_ARGUMENT ABORTED" if version < 0 else "ABORTED"
        changed = pb.Provider(provider_name="spare", description="changed")
        yield "UpsertProvider", code, pb.UpsertProviderRequest(provider=changed, expected_config_version=version)
        yield "DeleteProvider", code, pb.DeleteProviderRequest(provider_name="spare", expected_config_version=version)
        back = pb.RollbackProviderRequest(provider_name="spare", revision_number=4, expected_config_version=version)
        yield "RollbackProvider", code, back
    yield "DeleteProvider", "FAILED_PRECONDITION", pb.DeleteProviderRequest(provider_name="keyed")
    off = pb.Provider(provider_name="keyed", is_enabled=False)
    yield "UpsertProvider", "FAILED_PRECONDITION", pb.UpsertProviderRequest(provider=off)
    for path in (
        "is_active",
        "config_version",
        "create_time",
        "update_time",
        "updated_by",
        "has_key",
        "key_fingerprint",
    ):
        masked = pb.UpsertProviderRequest(provider=pb.Provider(provider_name="spare", is_active=True))
        masked.update_mask.paths.append(path)
        yield "UpsertProvider", "INVALID_ARGUMENT", masked
    for number in (0, -1, 1_000_000, _LARGEST, -_LARGEST - 1):
        code = "INVALID_ARGUMENT" if number <= 0 else "OUT_OF_RANGE"
        yield "RollbackProvider", code, pb.RollbackProviderRequest(provider_name="keyed", revision_number=number)
        yield "DiffRevisions", code, pb.DiffRevisionsRequest(from_revision=number)
        if number:
            yield "GetRevision", code, pb.GetRevisionRequest(number=number)
    # It was not there yet.
    yield "RollbackProvider", "NOT_FOUND", pb.RollbackProviderRequest(provider_name="spare", revision_number=1)


async def test_what_must_not_be_switched_is_not(world: World) -> None:
    store_id, number, *_ = await state_of(world.dsn)
    cases = [
        case(f"{request}".replace("\n", " ")[:200], method, codes, request, metadata=bearer(world.tokens["admin"]))
        for method, codes, request in [*switches(store_id, number), *writes()]
    ]
    async with world.attacked() as channel:
        await world.judge.try_all(KIND, cases, channel)
