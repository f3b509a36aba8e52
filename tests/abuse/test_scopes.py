"""Fault 37: whoever is known may do what their scopes say, and everything else is denied and logged with their name."""

from collections import Counter
from collections.abc import Iterator
from itertools import combinations, product

from tests.abuse.case import REFLECTION, RPCS, SERVICE, Case, bearer
from tests.abuse.effective import EFFECTIVE
from tests.abuse.world import World

KIND = "37 scopes"

_SCOPES = ("read", "read-credential", "switch", "write")
# Each subset of the scopes, as a principal.
PRINCIPALS = {
    "-".join(["only", *scopes]): set(scopes)
    for count in range(1, len(_SCOPES) + 1)
    for scopes in combinations(_SCOPES, count)
}

# Stated anew rather than taken from the daemon.
NEEDED = {
    **{
        f"{SERVICE}{method}": "read"
        for method in (
            "GetActiveProvider", "WatchActive", "GetProvider", "ListProviders", "GetStatus",
            "ListHistory", "GetRevision", "DiffRevisions",
        )
    },
    f"{SERVICE}SwitchProvider": "switch",
    f"{SERVICE}UpsertProvider": "write",
    f"{SERVICE}RollbackProvider": "write",
    f"{SERVICE}ApplyConfiguration": "write",
    f"{SERVICE}DeleteProvider": "admin",
    REFLECTION: "read",
}  # fmt: skip
DENIED = frozenset({"PERMISSION_DENIED"})


def overreaching(tokens: dict[str, str]) -> Iterator[tuple[str, Case]]:
    """Calls beyond the scopes of those who make them."""
    for (principal, scopes), rpc in product(PRINCIPALS.items(), RPCS):
        metadata = bearer(tokens[principal])
        if NEEDED[rpc] not in scopes:
            # Before anything is looked at: garbage and nothing are denied like what would have worked.
            for name, request in (("works", EFFECTIVE[rpc]), ("empty", b""), ("garbage", b"\xff\xff\xff")):
                yield (
                    principal,
                    Case(f"{principal}, {name}", rpc, DENIED, request, metadata, frozenset({"SCOPE_MISSING"})),
                )
        elif rpc.endswith(("/GetActiveProvider", "/WatchActive")) and "read-credential" not in scopes:
            yield principal, Case(f"{principal} wants the key", rpc, DENIED, EFFECTIVE[rpc], metadata)
        elif rpc.endswith("/ApplyConfiguration"):
            # It deletes as well, which takes admin, and switches.
            yield principal, Case(f"{principal} deletes along", rpc, DENIED, EFFECTIVE[rpc], metadata)


async def test_nobody_goes_beyond_their_scopes_and_each_try_is_logged(world: World) -> None:
    tokens = {name: world.access.token(name, *sorted(scopes)) for name, scopes in PRINCIPALS.items()}
    await world.let_in(*tokens.values())
    cases = list(overreaching(tokens))
    position = world.daemon.log.stat().st_size
    async with world.attacked() as channel:
        await world.judge.try_all(KIND, [each for _, each in cases], channel)
    expected = Counter((principal, each.rpc.rpartition("/")[2]) for principal, each in cases)
    logged = Counter((line.get("principal"), line["rpc"]) for line in world.events("denied", position))
    assert logged == expected
    assert all(line["reason"] for line in world.events("denied", position))


async def test_a_name_that_a_caller_gives_itself_is_not_recorded(world: World) -> None:
    names = ["root", "providerd", "neighbour", "'; --", "", "\N{RIGHT-TO-LEFT OVERRIDE}nimda", "x" * 255, "x" * 100_000]
    for number, name in enumerate(names):
        content = {"provider_name": "spare", "description": f"number {number}"}
        done = await world.call("admin", "UpsertProvider", provider=content, actor=name)
        history = await world.call("reader", "ListHistory", first_revision=done.revision.number)
        assert {entry.actor for entry in history.entries} == {"admin"}
        world.judge.tally.tried(KIND)
