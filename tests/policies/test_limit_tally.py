"""Limits that many share: so many at once, and so many a second."""

from hypothesis import given
from hypothesis import strategies as st

from windlass.core.tallies import LimitAnswer, LimitOp, LimitState, Permit
from windlass.policies.limit_tally import move_limit

NOON = 1_750_000_000.0
TAKES = st.lists(st.tuples(st.floats(0, 3), st.integers(0, 4)), max_size=20)
OPS = st.builds(
    LimitOp, run=st.sampled_from("abc"), epoch=st.integers(1, 2), at=st.integers(0, 40).map(float),
    take=st.integers(0, 4), give=st.integers(0, 3), keep=st.booleans(), until=st.integers(0, 60).map(float),
    concurrency=st.just(5), close=st.booleans(),
)  # fmt: skip


def test_as_many_are_granted_as_there_are() -> None:
    state, answer = move_limit(LimitState(), LimitOp("a", 1, 1.0, take=3, until=9.0, concurrency=4))
    assert answer == LimitAnswer(3, 1.0, 3)
    state, answer = move_limit(state, LimitOp("b", 1, 2.0, take=3, until=8.0, concurrency=4))
    assert answer == LimitAnswer(1, 8.0, 4)
    state, answer = move_limit(state, LimitOp("a", 1, 3.0, give=2, concurrency=4))
    assert (answer, state.held["a"]) == (LimitAnswer(0, 3.0, 2, is_wanted=True), Permit(1, 1, 9.0))
    assert not move_limit(state, LimitOp("a", 1, 5.0, concurrency=4))[1].is_wanted  # b has not asked again
    assert not move_limit(state, LimitOp("b", 1, 3.0, take=1, concurrency=9))[1].is_wanted  # it waits itself
    state, answer = move_limit(state, LimitOp("a", 1, 3.0, close=True, concurrency=4))
    assert (answer.busy, list(state.held)) == (1, ["b"])


def test_holders_are_forgotten_when_their_time_is_over_and_kept_when_they_say_so() -> None:
    state = LimitState({"a": Permit(1, 2, 5.0), "b": Permit(1, 1, 5.0)})
    kept, _ = move_limit(state, LimitOp("a", 1, 4.0, keep=True, until=20.0))
    assert kept.held["a"] == Permit(1, 2, 20.0)
    after, answer = move_limit(kept, LimitOp("c", 1, 6.0, take=9, until=21.0, concurrency=3))
    assert (answer, sorted(after.held)) == (LimitAnswer(1, 20.0, 3), ["a", "c"])


def test_a_new_owner_forgets_what_the_one_before_held_and_that_one_gets_nothing() -> None:
    state = LimitState({"a": Permit(1, 3, 9.0)})
    after, answer = move_limit(state, LimitOp("a", 2, 1.0, take=1, until=9.0, concurrency=3))
    assert (answer.granted, after.held) == (1, {"a": Permit(2, 1, 9.0)})
    again, refused = move_limit(after, LimitOp("a", 1, 1.0, take=1, give=1, until=9.0, concurrency=3))
    assert (refused.granted, again) == (0, after)


def test_of_a_rate_alone_nobody_holds_anything() -> None:
    state, answer = move_limit(LimitState(), LimitOp("a", 1, NOON, take=2, until=NOON + 9, rate=1.0, burst=5))
    assert (state, answer) == (LimitState({}, NOON + 2), LimitAnswer(2, NOON, 0))
    assert move_limit(state, LimitOp("a", 1, NOON + 9, rate=1.0, burst=5))[0] == LimitState()


def test_a_clock_that_went_back_waits_no_longer_than_for_an_empty_bucket() -> None:
    _, answer = move_limit(LimitState({}, NOON + 1e6), LimitOp("a", 1, NOON, take=9, rate=2.0, burst=4))
    assert answer == LimitAnswer(0, NOON + 0.5, 0)


def test_an_operation_that_comes_late_gets_nothing_and_gives_the_next_one_nothing() -> None:
    state, _ = move_limit(LimitState(), LimitOp("a", 1, NOON, take=2, until=NOON + 9, rate=0.5, burst=2))
    state, late = move_limit(state, LimitOp("b", 1, NOON - 25, take=2, until=NOON, rate=0.5, burst=2))
    _, next_one = move_limit(state, LimitOp("b", 1, NOON, take=2, until=NOON + 9, rate=0.5, burst=2))
    assert (late.granted, next_one.granted) == (0, 0)


@given(TAKES, st.sampled_from([0.5, 3.0, 1000 / 7]), st.integers(1, 4))
def test_a_rate_is_never_exceeded_and_never_wasted(takes: list[tuple[float, int]], rate: float, burst: int) -> None:
    state, at, granted, bucket = LimitState(), NOON, 0, float(burst)
    for pause, take in takes:
        at += pause
        bucket = min(float(burst), bucket + pause * rate)
        state, answer = move_limit(state, LimitOp("a", 1, at, take=take, until=at + 9, rate=rate, burst=burst))
        granted += answer.granted
        assert abs(answer.granted - min(take, int(bucket + 1e-3))) <= (1 if abs(bucket - round(bucket)) < 1e-2 else 0)
        bucket -= answer.granted
        assert granted <= burst + (at - NOON) * rate + 1e-2
        if answer.granted < take:
            again = LimitOp("a", 1, answer.retry_at, take=1, until=at + 9, rate=rate, burst=burst)
            assert move_limit(state, again)[1].granted == 1


@given(st.lists(OPS, max_size=20))
def test_never_more_are_held_than_may_be(ops: list[LimitOp]) -> None:
    state = LimitState()
    for op in ops:
        state, answer = move_limit(state, op)
        assert answer.busy == sum(permit.n for permit in state.held.values()) <= 5
        assert 0 <= answer.granted <= op.take
        assert all(permit.n > 0 for permit in state.held.values())
        if answer.granted < op.take:
            assert answer.busy == 5 or answer.granted == 0
