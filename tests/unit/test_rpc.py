"""Who may be sent a key: processes on this machine and nobody else."""

from typing import Any

import pytest

from providerd.v1 import provider_pb2 as pb
from providerd_server.errors import Kind, Refusal
from providerd_server.hub import Hub
from providerd_server.rpc import is_local
from providerd_server.service import Reads
from tests.unit.snapshots import snapshot

LOCAL = ["ipv4:127.0.0.1:5", "ipv4:127.8.8.8:5", "ipv6:[::1]:5", "ipv6:%5B::1%5D:5", "unix:", "unix:/run/p.sock"]
REMOTE = ["ipv4:10.0.0.7:5", "ipv4:128.0.0.1:5", "ipv6:[2001:db8::1]:5", "ipv6:%5B::ffff:127.0.0.1%5D:5", "", "vsock:1"]


class Peer:
    """All of a call's context that the check looks at."""

    def __init__(self, peer: str) -> None:
        self._peer = peer

    def peer(self) -> str:
        return self._peer


@pytest.mark.parametrize("peer", LOCAL)
def test_this_machine_is_local(peer: str) -> None:
    assert is_local(peer)


@pytest.mark.parametrize("peer", REMOTE)
def test_everything_else_is_not(peer: str) -> None:
    assert not is_local(peer)


@pytest.mark.parametrize("peer", REMOTE)
async def test_a_stranger_is_refused_the_key_and_given_the_rest(peer: str) -> None:
    hub = Hub()
    hub.publish(snapshot(1))

    class Source:
        age = 0.0
        is_stale = False

    source: Any = Source()
    service = Reads(hub, source, stale_after=1, write_timeout=1)
    context: Any = Peer(peer)
    for call in (
        service.get_active_provider(pb.GetActiveProviderRequest(include_credential=True), context),
        service.watch_active(pb.WatchActiveRequest(include_credential=True), context),
    ):
        with pytest.raises(Refusal) as caught:
            await call
        assert (caught.value.kind, caught.value.reason) == (Kind.PERMISSION_DENIED, "CREDENTIAL_NEEDS_LOCAL_PEER")
    answer = await service.get_active_provider(pb.GetActiveProviderRequest(), context)
    assert pb.GetActiveProviderResponse.FromString(answer).provider.provider_name == "groq"
