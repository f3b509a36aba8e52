"""The state machine: every way to write, in any order, and after each step everything that must agree."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.model import answers, contents, rpcs
from tests.model.judge import ACTOR, Judge
from tests.model.model import Broken, Refused, State, Table
from tests.model.statements import EnableAll, SetKey, Statement, statements
from tests.model.watching import Watcher
from tests.model.world import World

T = TypeVar("T")

_tries = st.sampled_from([False, False, True])


@dataclass(frozen=True)
class Bench:
    """What all examples share: an event loop, how to make a world, and a count of what was done."""

    loop: asyncio.AbstractEventLoop
    world: Callable[[], World]
    tally: Counter[tuple[str, str]]


class Machine(RuleBasedStateMachine):
    """Writes to a real providerd and to a model of it."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self._bench = bench
        self._world = bench.world()
        self._run(self._world.open())
        seeded = self._run(self._world.seeded())
        self._states = {seeded.revision: seeded}
        # What acknowledged writes were said to be for, by revision.
        self._reasons: dict[int, str] = {}
        self._judge = Judge(self._world, self._states)
        self._returning = Watcher()
        # Whether the daemon may not have read the newest state yet.
        self._behind = False

    @property
    def _now(self) -> State:
        return self._states[max(self._states)]

    @initialize(enable=st.booleans(), keyed=st.dictionaries(contents.names, contents.keys))
    def begin(self, enable: bool, keyed: dict[str, str]) -> None:
        # As seeded no provider has a key, and only one can be switched to.
        self._transact([EnableAll()] * enable + [SetKey(name, key) for name, key in keyed.items()])
        self._run(self._world.catch_up(self._now))
        self._come_back()

    @rule(name=contents.names, expectation=contents.expectations, validate_only=_tries)
    def switch(self, name: str, expectation: str, validate_only: bool) -> None:
        request = {"provider_name": name, **self._revision_if(expectation), "validate_only": validate_only}
        self._write("SwitchProvider", request)

    @rule(name=contents.names, edits=contents.edits, expectation=contents.expectations, validate_only=_tries)
    def change(self, name: str, edits: dict[str, Any], expectation: str, validate_only: bool) -> None:
        self._upsert(name, edits, **self._version_if(name, expectation), validate_only=validate_only)

    @rule(name=contents.names, edits=contents.edits, mask=contents.masks, whole=st.booleans())
    def change_masked(self, name: str, edits: dict[str, Any], mask: str, whole: bool) -> None:
        self._upsert(name, contents.whole(edits) if whole else edits, update_mask=mask)

    @rule(
        name=contents.names,
        edits=contents.edits,
        key=contents.keys,
        expectation=contents.expectations,
        validate_only=_tries,
    )
    def create(self, name: str, edits: dict[str, Any], key: str, expectation: str, validate_only: bool) -> None:
        request = {**self._version_if(name, expectation), "validate_only": validate_only}
        self._upsert(name, contents.whole(edits), new_api_key=key, **request)

    @rule(name=contents.names, key=contents.keys, clear=st.booleans(), validate_only=_tries)
    def change_key(self, name: str, key: str, clear: bool, validate_only: bool) -> None:
        change = {"clear_api_key": True} if clear else {"new_api_key": key}
        self._upsert(name, {}, **change, validate_only=validate_only)

    @rule(name=contents.names, edits=contents.wrong_requests, wrong=st.sampled_from(["content", *rpcs.WRONG_FORMS]))
    def change_wrongly(self, name: str, edits: dict[str, Any], wrong: str) -> None:
        if wrong == "content":
            self._upsert(name, edits)
        else:
            form = {"provider_name": name, **rpcs.WRONG_FORMS[wrong]}
            self._upsert(str(form.pop("provider_name")), contents.whole({}), **form)

    @rule(name=contents.names, expectation=contents.expectations, validate_only=_tries)
    def delete(self, name: str, expectation: str, validate_only: bool) -> None:
        request = {"provider_name": name, **self._version_if(name, expectation), "validate_only": validate_only}
        self._write("DeleteProvider", request)

    @rule(name=contents.names, back=st.integers(-1, 40), expectation=contents.expectations, validate_only=_tries)
    def roll_back(self, name: str, back: int, expectation: str, validate_only: bool) -> None:
        request = {"provider_name": name, **self._version_if(name, expectation), "validate_only": validate_only}
        self._write("RollbackProvider", {**request, "revision_number": max(1, self._now.revision - back)})

    @rule(
        edits=st.dictionaries(contents.names, contents.edits, max_size=3),
        spoilt=st.one_of(st.none(), st.none(), st.none(), contents.wrong_edits),
        replaced=st.sets(contents.names, max_size=2),
        dropped=st.sets(contents.names, max_size=2),
        twice=st.integers(0, 9).map(lambda number: number == 9),
        active=st.one_of(st.none(), contents.names),
        delete_missing=st.booleans(),
        expectation=contents.expectations,
        validate_only=_tries,
    )
    def apply(
        self,
        edits: dict[str, dict[str, Any]],
        spoilt: dict[str, Any] | None,
        replaced: set[str],
        dropped: set[str],
        twice: bool,
        active: str | None,
        delete_missing: bool,
        expectation: str,
        validate_only: bool,
    ) -> None:
        stated = []
        for name in sorted((self._now.providers.keys() | edits.keys()) - dropped):
            is_new = name in replaced or name not in self._now.providers
            content = contents.whole({}) if is_new else self._now.providers[name].content
            stated.append({"provider_name": name, **_populated({**content, **edits.get(name, {})})})
        if spoilt and stated:
            stated[-1] |= spoilt
        request = {
            "providers": stated + stated[:1] * twice,
            **({"active_provider_name": active} if active else {}),
            **self._revision_if(expectation),
        }
        self._write("ApplyConfiguration", {**request, "delete_missing": delete_missing, "validate_only": validate_only})

    @rule(statement=statements)
    def sql(self, statement: Statement) -> None:
        self._transact([statement])

    @rule(several=st.lists(statements, min_size=2, max_size=4), commit=_tries.map(lambda rolled_back: not rolled_back))
    def sql_transaction(self, several: list[Statement], commit: bool) -> None:
        self._transact(several, commit=commit)

    @rule()
    def restart(self) -> None:
        self._run(self._world.stop())
        self._run(self._world.start())
        self._count("restart", "done")

    @rule()
    def kill_backends(self) -> None:
        self._run(self._world.kill_backends())
        self._behind = True
        self._count("kill backends", "done")

    @rule(name=contents.names, delay=st.integers(0, 20))
    def kill_backends_during_a_switch(self, name: str, delay: int) -> None:
        self._write("SwitchProvider", {"provider_name": name}, kill_after=delay)
        self._behind = True

    @rule()
    def come_back(self) -> None:
        self._come_back()
        self._count("WatchActive again", "done")

    @rule(there=st.integers(0, 40), back=st.integers(0, 40))
    def compare(self, there: int, back: int) -> None:
        first, second = (max(1, self._now.revision - number) for number in (there, back))
        answer = self._run(self._world.call("DiffRevisions", from_revision=first, to_revision=second))
        assert answers.kinds(answer.diffs) == answers.differences(self._states[first], self._states[second])
        self._count("DiffRevisions", "done")

    @invariant()
    def all_agree(self) -> None:
        self._run(self._judge.present(behind=self._behind))
        self._behind = False

    def teardown(self) -> None:
        try:
            # After a failure the history is not the news.
            if sys.exc_info()[0] is None:
                self._come_back()
                self._run(self._judge.past(self._reasons))
                self._count("example", "explained")
        finally:
            self._run(self._world.close())

    def _come_back(self) -> None:
        self._run(self._returning.visit(self._world.daemon))
        assert self._returning.told[-1].revision == self._now.revision
        self._returning.check(self._states)

    def _upsert(self, name: str, content: dict[str, Any], **request: Any) -> None:
        self._write("UpsertProvider", {"provider": {"provider_name": name, **_populated(content)}, **request})

    def _write(self, method: str, request: dict[str, Any], *, kill_after: int | None = None) -> None:
        before = self._now
        request = {"reason": f"step at {before.revision}", "actor": ACTOR, **request}
        wanted: State | Refused
        try:
            wanted = rpcs.after(method, request, self._states)
        except Refused as refusal:
            wanted = refusal
        operation = method if kill_after is None else f"{method} under fire"
        try:
            answer = self._run(self._called(method, request, kill_after))
        except Refused as refusal:
            self._count(operation, f"refused {refusal.reason}")
            if kill_after is not None and refusal.code == "UNAVAILABLE":
                self._settle(refusal, wanted)
            else:
                assert isinstance(wanted, Refused), f"refused {refusal.reason}, but should have been done"
                assert (refusal.code, refusal.reason) == (wanted.code, wanted.reason)
                assert wanted.fields <= refusal.fields
            return
        assert isinstance(wanted, State), f"done, but should have been refused: {wanted}"
        answers.check(method, request, before, wanted, answer)
        if request.get("validate_only"):
            self._count(operation, "tried")
            return
        self._count(operation, "done" if wanted.revision > before.revision else "done, no change")
        self._adopt(wanted, rpcs.reason(method, request))
        if told := answers.told_changes(answer):
            self._run(self._judge.changes(told))

    async def _called(self, method: str, request: dict[str, Any], kill_after: int | None) -> Any:
        call = asyncio.ensure_future(self._world.call(method, **request))
        if kill_after is not None:
            # Round trips to the database are what a write is made of, so they are the measure of when.
            for _ in range(kill_after):
                await self._world.revision()
            await self._world.kill_backends()
        return await call

    def _settle(self, refusal: Refused, wanted: State | Refused) -> None:
        """What came of a write whose connection was lost."""
        assert refusal.reason in ("STORE_UNREACHABLE", "OUTCOME_UNKNOWN")
        if refusal.reason == "STORE_UNREACHABLE" or isinstance(wanted, Refused):
            return
        if self._run(self._world.revision()) == wanted.revision:
            self._adopt(wanted)

    def _transact(self, several: list[Statement], *, commit: bool = True) -> None:
        operation = "SQL " + (type(several[0]).__name__ if len(several) == 1 else "transaction")
        table = Table(self._now)
        expected = ""
        try:
            for statement in several:
                statement.do(table)
        except Broken as broken:
            expected = str(broken)
        try:
            self._run(self._world.transact(several, commit=commit))
        except Broken as broken:
            assert str(broken) == expected
            self._count(operation, f"refused {broken}")
            return
        assert not expected, f"done, but should have been refused: {expected}"
        self._count(operation, "done" if commit else "rolled back")
        if commit:
            self._adopt(table.committed())
            self._behind = True

    def _adopt(self, state: State, reason: str | None = None) -> None:
        if state.revision > self._now.revision:
            self._states[state.revision] = state
            if reason is not None:
                self._reasons[state.revision] = reason

    def _revision_if(self, expectation: str) -> dict[str, Any]:
        if expectation == "none":
            return {}
        number = self._now.revision - (expectation == "wrong")
        return {"expected_revision": {"store_id": self._world.store_id, "number": number}}

    def _version_if(self, name: str, expectation: str) -> dict[str, Any]:
        if expectation == "none":
            return {}
        provider = self._now.providers.get(name)
        return {"expected_config_version": (provider.version if provider else 0) + (expectation == "wrong")}

    def _count(self, operation: str, outcome: str) -> None:
        self._bench.tally[operation, outcome] += 1

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._bench.loop.run_until_complete(work)


def _populated(content: dict[str, Any]) -> dict[str, Any]:
    return {column: value for column, value in content.items() if value is not None}
