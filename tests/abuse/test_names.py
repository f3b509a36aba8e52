"""Fault 40: texts that read like something else, wherever a request takes a text."""

import base64
from collections.abc import Iterator

from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from providerd.v1 import provider_pb2 as pb
from tests.abuse.case import Case, bearer, case
from tests.abuse.hostile_text import hostile_names
from tests.abuse.world import World, provider

KIND = "40 names and texts"

_ABSENT = "NOT_FOUND INVALID_ARGUMENT"


def lookups(name: str) -> Iterator[tuple[str, str, Message]]:
    """Where a name is looked up: method, what it is answered, request."""
    yield "GetProvider", _ABSENT, pb.GetProviderRequest(provider_name=name)
    yield "SwitchProvider", _ABSENT, pb.SwitchProviderRequest(provider_name=name)
    yield "DeleteProvider", _ABSENT, pb.DeleteProviderRequest(provider_name=name)
    yield "RollbackProvider", _ABSENT, pb.RollbackProviderRequest(provider_name=name, revision_number=3)
    yield "ApplyConfiguration", _ABSENT, pb.ApplyConfigurationRequest(active_provider_name=name)
    # A filter that finds nothing.
    yield "ListHistory", "OK INVALID_ARGUMENT", pb.ListHistoryRequest(provider_name=name)
    yield "ListHistory", "OK INVALID_ARGUMENT", pb.ListHistoryRequest(actor=name)
    yield "DiffRevisions", "OK INVALID_ARGUMENT", pb.DiffRevisionsRequest(from_revision=1, provider_name=name)


def makings(name: str) -> Iterator[tuple[str, str, Message]]:
    """Where a name would become that of a provider."""
    made = ParseDict(provider("x"), pb.Provider())
    made.provider_name = name
    yield "UpsertProvider", "INVALID_ARGUMENT", pb.UpsertProviderRequest(provider=made)
    yield "ApplyConfiguration", "INVALID_ARGUMENT", pb.ApplyConfigurationRequest(providers=[made])


def elsewhere(text: str) -> Iterator[tuple[str, str, Message]]:
    """Where a text is something else than a name, and is not to be had with."""
    masked = pb.UpsertProviderRequest(provider=pb.Provider(provider_name="keyed", display_name="x"))
    masked.update_mask.paths.append(text)
    yield "UpsertProvider", "INVALID_ARGUMENT", masked
    yield "ListProviders", "INVALID_ARGUMENT", pb.ListProvidersRequest(page_token=text)
    yield "ListHistory", "INVALID_ARGUMENT", pb.ListHistoryRequest(page_token=_token(text))
    # Any name may be in this token: the page begins after it, in order of names.
    yield "ListProviders", "OK", pb.ListProvidersRequest(page_token=_token(text))
    identity = pb.ClientIdentity(name=text, version=text, instance=text)
    yield "WatchActive", "OK", pb.WatchActiveRequest(client=identity)
    stale = pb.Revision(store_id=text, number=1)
    yield "SwitchProvider", "ABORTED", pb.SwitchProviderRequest(provider_name="keyed", expected_revision=stale)


def _token(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


async def test_a_text_is_never_taken_for_something_else(world: World) -> None:
    def cases() -> Iterator[Case]:
        for name in hostile_names():
            for method, codes, request in [*lookups(name), *makings(name), *elsewhere(name)]:
                # Switching, writing and deleting at once, so that nothing but the text is in the way.
                yield case(repr(name[:40]), method, codes, request, metadata=bearer(world.tokens["admin"]))

    async with world.attacked() as channel:
        await world.judge.try_all(KIND, cases(), channel)


async def test_what_is_logged_of_it_stays_one_line(world: World) -> None:
    forging = ('\n{"event": "forged"}\n', "\r\nforged", '"}\n{"event": "forged"}', "\x1b[2Jforged", "\u2028forged")
    position = world.daemon.log.stat().st_size
    reader = bearer(world.tokens["reader"])
    cases = [
        case(f"{text!r} in the log", "WatchActive", "OK", pb.WatchActiveRequest(client=identity), metadata=reader)
        for text in forging
        for identity in (pb.ClientIdentity(name=text), pb.ClientIdentity(instance=text))
    ]
    async with world.attacked() as channel:
        await world.judge.try_all(KIND, cases, channel)
    assert len(world.events("watching", position)) >= len(cases)
    assert not world.events("forged", position)
