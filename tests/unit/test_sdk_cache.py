"""What may replace what in the cache, and what it says of itself."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerd import (
    Cause,
    ClientOptions,
    ClosedError,
    CredentialUnavailableError,
    NoActiveProviderError,
    NotReadyError,
    PermissionDeniedError,
    StaleError,
    State,
    UnavailableError,
)
from providerd.cache import Cache, OutOfStepError
from providerd.v1 import provider_pb2 as pb
from tests.unit.sdk_messages import OTHER_STORE, STORE, active, drain, heartbeat, provider


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> Cache:
    return Cache(ClientOptions(heartbeat_interval=10), clock)


def name(cache: Cache) -> str:
    return cache.current().provider.provider_name


class TestOrder:
    def test_the_first_value_is_initial_whatever_the_daemon_calls_it(self, cache: Cache) -> None:
        change = cache.apply(active(3, cause="RESYNC"))
        assert change is not None
        assert (change.cause, change.previous, change.revision.number) == (Cause.INITIAL, None, 3)
        assert change.provider is cache.served is cache.current().provider

    def test_a_later_revision_replaces(self, cache: Cache) -> None:
        first = cache.apply(active(3, "groq"))
        second = cache.apply(active(7, "openrouter"))
        assert first is not None
        assert second is not None
        assert second.cause is Cause.SWITCHED
        assert second.previous is first.provider
        assert name(cache) == "openrouter"

    def test_a_lower_revision_of_the_store_is_ignored(self, cache: Cache) -> None:
        cache.apply(active(7, "openrouter"))
        for cause in ("INITIAL", "SWITCHED", "UPDATED", "KEY_CHANGED", "NONE_ACTIVE"):
            assert cache.apply(active(6, "groq", cause)) is None
        assert (name(cache), cache.revision and cache.revision.number) == ("openrouter", 7)

    def test_a_resync_goes_back(self, cache: Cache) -> None:
        cache.apply(active(7, "openrouter"))
        change = cache.apply(active(2, "groq", "RESYNC"))
        assert change is not None
        assert change.cause is Cause.RESYNC
        assert (name(cache), cache.revision and cache.revision.number) == ("groq", 2)

    @pytest.mark.parametrize(("cause", "taken"), [("SWITCHED", False), ("INITIAL", True), ("RESYNC", True)])
    def test_another_store_needs_a_resync_or_a_new_watch(self, cache: Cache, cause: str, taken: bool) -> None:
        cache.apply(active(7, "groq"))
        change = cache.apply(active(1, "openrouter", cause, store=OTHER_STORE))
        assert name(cache) == ("openrouter" if taken else "groq")
        assert (change and change.cause) == (Cause.RESYNC if taken else None)

    def test_the_same_again_is_no_change(self, cache: Cache) -> None:
        cache.apply(active(7, "groq"))
        assert cache.apply(active(7, "groq")) is None
        assert cache.apply(active(9, "groq", "INITIAL")) is None
        assert cache.revision is not None
        assert cache.revision.number == 9

    def test_what_changed_while_away_gets_its_own_cause(self, cache: Cache) -> None:
        cache.apply(active(1, "groq"))
        causes = [
            cache.apply(active(2, "openrouter", "INITIAL")),
            cache.apply(active(3, provider("openrouter", config_version=2), "INITIAL")),
            cache.apply(active(4, None, "INITIAL")),
        ]
        assert [change and change.cause for change in causes] == [Cause.SWITCHED, Cause.UPDATED, Cause.NONE_ACTIVE]

    def test_another_key_alone_is_a_change(self, cache: Cache) -> None:
        cache.apply(active(1, "groq", key="canary-one"))
        change = cache.apply(active(2, "groq", "KEY_CHANGED", key="canary-two"))
        assert change is not None
        assert change.cause is Cause.KEY_CHANGED
        assert cache.credential().api_key == "canary-two"

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["INITIAL", "SWITCHED", "UPDATED", "RESYNC", "NONE_ACTIVE", "HEARTBEAT"]),
                st.integers(1, 6),
                st.sampled_from([STORE, OTHER_STORE]),
            )
        )
    )
    def test_no_sequence_goes_back_without_a_resync(self, steps: list[tuple[str, int, str]]) -> None:
        cache = Cache(ClientOptions())
        for cause, number, store in steps:
            before = cache.revision
            try:
                message = (
                    heartbeat(number, store=store) if cause == "HEARTBEAT" else active(number, "a", cause, store=store)
                )
                cache.apply(message)
            except OutOfStepError:
                assert cache.revision == before
            if before is None or cache.revision is None or cause == "RESYNC":
                continue
            assert cache.revision.reaches(before) or (cause == "INITIAL" and before.store_id != store)


class TestHeartbeats:
    def test_they_move_the_revision_and_nothing_else(self, cache: Cache) -> None:
        cache.apply(active(3))
        held = cache.served
        assert cache.apply(heartbeat(8)) is None
        assert cache.revision is not None
        assert cache.revision.number == 8
        assert cache.served is held

    def test_without_a_value_they_ask_for_a_new_watch(self, cache: Cache) -> None:
        with pytest.raises(OutOfStepError):
            cache.apply(heartbeat(3))
        assert cache.state is State.CONNECTING

    def test_of_another_store_they_ask_for_a_new_watch(self, cache: Cache) -> None:
        cache.apply(active(3))
        with pytest.raises(OutOfStepError):
            cache.apply(heartbeat(4, store=OTHER_STORE))

    def test_after_an_ignored_event_they_prove_nothing(self, cache: Cache) -> None:
        """A lagging daemon at 6 that folds 7 (away) and 8 (back again) sees no change between its own states."""
        cache.apply(active(7, "openrouter"))
        cache.apply(active(6, "groq", "INITIAL"))
        assert cache.state is State.STALE
        with pytest.raises(OutOfStepError):
            cache.apply(heartbeat(8))
        assert cache.revision is not None
        assert cache.revision.number == 7

    def test_a_lagging_daemon_that_catches_up_is_trusted_again(self, cache: Cache) -> None:
        cache.apply(active(7))
        cache.apply(heartbeat(6))
        assert cache.state is State.STALE
        cache.apply(heartbeat(7))
        assert cache.state is State.READY

    def test_a_drain_moves_nothing(self, cache: Cache) -> None:
        cache.apply(active(7))
        cache.apply(drain(9, 1.0))
        assert cache.revision is not None
        assert cache.revision.number == 7


class TestUnusableValues:
    @pytest.mark.parametrize(
        "field",
        ["provider_name", "display_name", "base_url", "endpoint_path_template", "default_model"],
    )
    def test_an_empty_field_keeps_the_old_value(self, cache: Cache, field: str) -> None:
        cache.apply(active(3, "groq"))
        assert cache.apply(active(4, provider("openrouter", **{field: " "}))) is None
        assert name(cache) == "groq"
        assert field in str(cache.error)
        assert cache.state is State.STALE

    @pytest.mark.parametrize("field", ["request_builder_config", "response_extractor_config"])
    def test_a_missing_struct_keeps_the_old_value(self, cache: Cache, field: str) -> None:
        cache.apply(active(3, "groq"))
        broken = provider("openrouter")
        broken.ClearField(field)
        assert cache.apply(active(4, broken)) is None
        assert name(cache) == "groq"
        assert field in str(cache.error)

    def test_a_time_out_of_range_keeps_the_old_value(self, cache: Cache) -> None:
        cache.apply(active(3, "groq"))
        broken = provider("openrouter")
        broken.update_time.seconds = 10**15
        cache.apply(active(4, broken))
        assert name(cache) == "groq"

    def test_a_missing_revision_is_no_first_value(self, cache: Cache) -> None:
        assert cache.apply(pb.WatchActiveResponse(active=active(1).active)) is None
        assert cache.state is State.CONNECTING

    def test_heartbeats_do_not_make_up_for_it(self, cache: Cache, clock: Clock) -> None:
        cache.apply(active(3, "groq"))
        cache.apply(active(4, provider("openrouter", base_url="")))
        clock.now += 5
        with pytest.raises(OutOfStepError):
            cache.apply(heartbeat(4))
        assert cache.age == 5
        assert cache.error is not None

    def test_a_good_value_does(self, cache: Cache) -> None:
        cache.apply(active(3, "groq"))
        cache.apply(active(4, provider("openrouter", base_url="")))
        cache.apply(active(5, "openrouter"))
        assert (name(cache), cache.state, cache.error) == ("openrouter", State.READY, None)


class TestState:
    def test_it_is_connecting_before_the_first_answer(self, cache: Cache) -> None:
        assert (cache.state, cache.revision, cache.age) == (State.CONNECTING, None, math.inf)

    def test_three_silent_intervals_make_it_stale(self, cache: Cache, clock: Clock) -> None:
        cache.apply(active(1))
        clock.now += 29.9
        assert cache.state is State.READY
        clock.now += 0.1
        assert cache.state is State.STALE
        cache.apply(heartbeat(1))
        assert cache.state is State.READY

    def test_a_lost_stream_makes_it_stale_at_once(self, cache: Cache) -> None:
        cache.apply(active(1))
        cache.lost(UnavailableError("gone"))
        assert (cache.state, str(cache.error), name(cache)) == (State.STALE, "gone", "groq")

    def test_a_stale_source_makes_it_stale(self, cache: Cache) -> None:
        cache.apply(active(1, stale=True))
        assert cache.state is State.STALE
        cache.apply(heartbeat(1))
        assert cache.state is State.READY

    def test_the_age_includes_the_age_of_the_source(self, cache: Cache, clock: Clock) -> None:
        cache.apply(active(1, age=2.5))
        clock.now += 4
        assert cache.age == 6.5

    def test_fatal_keeps_the_value_readable(self, cache: Cache) -> None:
        cache.apply(active(1))
        cache.fail(PermissionDeniedError("no"))
        assert (cache.state, name(cache)) == (State.FATAL, "groq")

    def test_fatal_without_a_value_is_raised(self, cache: Cache) -> None:
        cache.fail(PermissionDeniedError("no"))
        with pytest.raises(PermissionDeniedError, match="no") as first:
            cache.current()
        with pytest.raises(PermissionDeniedError) as second:
            cache.current()
        assert first.value is not second.value  # or every raise would lengthen one shared traceback


class TestReading:
    def test_nothing_yet(self, cache: Cache) -> None:
        with pytest.raises(NotReadyError, match=r"no answer from localhost:50051 yet$"):
            cache.current()
        cache.lost(UnavailableError("connection refused"))
        with pytest.raises(NotReadyError, match="yet: connection refused"):
            cache.current()

    def test_nobody_active(self, cache: Cache) -> None:
        cache.apply(active(1))
        change = cache.apply(active(2, None, "NONE_ACTIVE"))
        assert change is not None
        assert (change.cause, change.provider) == (Cause.NONE_ACTIVE, None)
        assert cache.served is None
        with pytest.raises(NoActiveProviderError):
            cache.current()

    def test_too_old(self, clock: Clock) -> None:
        cache = Cache(ClientOptions(max_age=8), clock)
        cache.apply(active(1, age=3))
        assert cache.served is None  # or reads would skip the look at the clock
        clock.now += 5
        assert name(cache) == "groq"
        clock.now += 0.1
        with pytest.raises(StaleError, match=r"8\.1 s old and max_age is 8 s"):
            cache.current()

    def test_closed(self, cache: Cache) -> None:
        cache.apply(active(1, key="canary"))
        cache.close(ClosedError("closed"))
        assert (cache.state, cache.served, cache.provider) == (State.CLOSED, None, None)
        for read in (cache.current, cache.credential):
            with pytest.raises(ClosedError):
                read()
        cache.apply(active(2))
        assert cache.served is None

    def test_the_key_was_not_asked_for(self, cache: Cache) -> None:
        cache.apply(active(1))
        with pytest.raises(CredentialUnavailableError, match="include_credential=True"):
            cache.credential()

    def test_there_is_no_key(self) -> None:
        cache = Cache(ClientOptions(include_credential=True))
        cache.apply(active(1))
        with pytest.raises(CredentialUnavailableError, match="'groq' has no key"):
            cache.credential()
