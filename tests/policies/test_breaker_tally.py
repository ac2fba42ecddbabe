"""Breakers that many share: they open by failures within a window, and let one probe through."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from windlass.core.tallies import BreakerAnswer, BreakerOp, BreakerState
from windlass.policies.breaker_tally import LATE_SECONDS, move_breaker

PLAIN = BreakerOp("ask", "a|1|x#1", 100.0, failures=3, window=10.0, cooldown=5.0, patience=8.0)
OPS = st.builds(
    BreakerOp, verb=st.sampled_from(["ask", "failed", "succeeded"]), holder=st.sampled_from("abc"),
    at=st.integers(0, 60).map(float), failures=st.just(2), window=st.just(10.0), cooldown=st.just(5.0),
    patience=st.just(8.0),
)  # fmt: skip


def after(*ops: BreakerOp) -> tuple[BreakerState, BreakerAnswer]:
    """Do operations on a new breaker."""
    state, answer = BreakerState(), BreakerAnswer(admitted=True, status="closed")
    for op in ops:
        state, answer = move_breaker(state, op)
    return state, answer


def fail(at: float, holder: str = "a|1|x#1") -> BreakerOp:
    """Tell of a failure."""
    return replace(PLAIN, verb="failed", at=at, holder=holder)


def ask(at: float, holder: str = "a|1|x#1") -> BreakerOp:
    """Ask whether a call may be made."""
    return replace(PLAIN, at=at, holder=holder)


def succeed(at: float, holder: str = "a|1|x#1") -> BreakerOp:
    """Tell of a success."""
    return replace(PLAIN, verb="succeeded", at=at, holder=holder)


OPENED = (fail(100), fail(101), fail(102))


def test_it_opens_at_enough_failures_within_the_window() -> None:
    assert after(*OPENED[:2])[1] == BreakerAnswer(admitted=True, status="closed")
    state, answer = after(*OPENED)
    assert (state.status, state.until, state.times) == ("open", 107.0, 1)
    assert answer == BreakerAnswer(admitted=False, status="open", retry_at=107.0)
    assert after(fail(100), fail(105), fail(111))[1].status == "closed"


def test_a_success_does_not_close_what_is_closed_or_open() -> None:
    assert after(*OPENED[:2], succeed(101.5), OPENED[2])[0].status == "open"
    assert after(*OPENED, succeed(103))[0].status == "open"


def test_while_it_is_open_nobody_is_admitted() -> None:
    assert after(*OPENED, ask(106.9))[1] == BreakerAnswer(admitted=False, status="open", retry_at=107.0)


def test_the_first_who_asks_afterwards_is_the_probe() -> None:
    state, answer = after(*OPENED, ask(107, "p"))
    assert answer == BreakerAnswer(admitted=True, status="half-open", is_probe=True)
    assert (state.probe, state.until) == ("p", 115.0)
    assert after(*OPENED, ask(107, "p"), ask(108, "q"))[1] == BreakerAnswer(
        admitted=False, status="half-open", retry_at=115.0
    )
    assert after(*OPENED, ask(107, "p"), ask(108, "q"), ask(109, "p"))[1].is_probe


def test_a_probe_closes_it_or_opens_it_again() -> None:
    assert after(*OPENED, ask(107, "p"), succeed(108, "p"))[0] == BreakerState(times=1)
    state, _ = after(*OPENED, ask(107, "p"), fail(108, "p"))
    assert (state.status, state.until, state.probe, state.times) == ("open", 113.0, "", 2)


def test_nobody_else_closes_or_opens_it() -> None:
    probing = after(*OPENED, ask(107, "p"))[0]
    for op in (succeed(108, "q"), fail(108, "q")):
        state, answer = move_breaker(probing, op)
        assert state == probing
        assert not answer.admitted


def test_a_probe_that_is_not_heard_of_is_replaced() -> None:
    state, answer = after(*OPENED, ask(107, "p"), ask(115, "q"))
    assert (state.probe, answer.is_probe) == ("q", True)
    assert move_breaker(state, succeed(116, "p"))[0] == state


def test_a_clock_that_went_back_keeps_it_open_no_longer_than_its_cooldown() -> None:
    state, answer = after(*(replace(op, at=op.at + 1e6) for op in OPENED), ask(100))
    assert (state.until, answer.retry_at) == (105.0, 105.0)
    probing = after(*(replace(op, at=op.at + 1e6) for op in (*OPENED, ask(107, "p"))), ask(100, "q"))
    assert probing[1] == BreakerAnswer(admitted=False, status="half-open", retry_at=108.0)


def test_who_asks_late_does_not_make_room_for_a_second_probe() -> None:
    state, answer = after(*OPENED, ask(107, "p"), ask(90, "q"))
    assert (state.until, answer.retry_at) == (115.0, 115.0)


def test_a_failure_from_the_future_is_forgotten() -> None:
    assert after(fail(1e6), fail(1e6), fail(100))[0] == BreakerState(failures=(100.0,))


@given(st.lists(OPS, max_size=20))
def test_at_most_one_is_admitted_while_it_is_half_open(ops: list[BreakerOp]) -> None:
    state = BreakerState()
    for op in ops:
        state, answer = move_breaker(state, op)
        assert len(state.failures) <= op.failures
        assert answer.status == state.status
        assert answer.admitted == (state.status == "closed" or answer.is_probe)
        assert answer.is_probe == (state.status == "half-open" and state.probe == op.holder)
        assert answer.admitted or answer.retry_at == state.until
        if op.verb == "ask" and not answer.admitted:
            assert op.at < answer.retry_at <= op.at + 8.0 + LATE_SECONDS
            assert move_breaker(state, replace(op, at=answer.retry_at))[1].is_probe
