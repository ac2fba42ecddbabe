"""Budgets that many share: nothing is granted that is not there, whatever the order of operations."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from windlass.core.tallies import MOST, BudgetAnswer, BudgetOp, BudgetState, Held
from windlass.policies.budget_tally import RAISES, settle_budget

UNITS = st.sampled_from(["tokens_in", "money"])
SMALL = st.dictionaries(UNITS, st.integers(0, 6), max_size=2)
LIMIT = {"tokens_in": 20, "money": 9}
OPS = st.builds(
    BudgetOp, run=st.sampled_from("abc"), epoch=st.integers(1, 3), at=st.just(1.0), used=SMALL, spent=SMALL,
    raise_by=st.dictionaries(UNITS, st.integers(-2, 3), max_size=1), raise_id=st.sampled_from(["", "x", "y"]),
    want=SMALL, need=SMALL, limit=st.just(LIMIT), close=st.booleans(), write_off=st.booleans(),
)  # fmt: skip


@dataclass
class Pot:
    """A budget with its holders."""

    state: BudgetState = field(default_factory=BudgetState)
    holders: dict[str, Held] = field(default_factory=dict)

    def do(self, op: BudgetOp) -> BudgetAnswer:
        """Do an operation."""
        self.state, mine, answer = settle_budget(self.state, self.holders.get(op.run), op)
        self.holders.pop(op.run, None)
        if mine is not None:
            self.holders[op.run] = mine
        return answer


@given(st.lists(OPS, max_size=12))
def test_a_grant_never_exceeds_what_is_left(ops: list[BudgetOp]) -> None:
    pot = Pot()
    for op in ops:
        answer = pot.do(op)
        for unit, most in LIMIT.items():
            held = sum(holder.amounts.get(unit, 0) for holder in pot.holders.values())
            assert pot.state.held.get(unit, 0) == held  # the sum is the sum
            left = most + pot.state.extra.get(unit, 0) - pot.state.spent.get(unit, 0) - held
            assert answer.left[unit] == left
            given_now = answer.granted.get(unit, 0)
            assert 0 <= given_now <= op.want.get(unit, 0)
            if given_now and not op.write_off:
                assert left >= 0
        if answer.is_granted:
            assert all(answer.granted.get(unit, 0) >= amount for unit, amount in op.need.items())
        else:
            assert answer.granted == {}


@given(st.lists(OPS, max_size=12))
def test_what_comes_to_nothing_is_left_out(ops: list[BudgetOp]) -> None:
    pot = Pot()
    for op in ops:
        pot.do(op)
        amounts = [pot.state.spent, pot.state.held, pot.state.extra, *(held.amounts for held in pot.holders.values())]
        assert all(amount for part in amounts for amount in part.values())


@given(st.lists(OPS, min_size=1, max_size=6))
def test_what_was_is_not_changed(ops: list[BudgetOp]) -> None:
    pot = Pot()
    for op in ops[:-1]:
        pot.do(op)
    state, mine = pot.state, pot.holders.get(ops[-1].run)
    first = settle_budget(state, mine, ops[-1])
    assert settle_budget(state, mine, ops[-1]) == first


@given(st.lists(OPS, max_size=8))
def test_one_that_was_replaced_only_raises(ops: list[BudgetOp]) -> None:
    pot = Pot()
    for op in ops:
        pot.do(op)
    before = pot.state.spent, pot.state.held, dict(pot.holders)
    for run, held in list(pot.holders.items()):
        answer = pot.do(BudgetOp(run, held.epoch - 1, 1.0, used={"money": 1}, spent={"money": 1}, want={"money": 1}))
        assert not answer.is_granted
        assert (pot.state.spent, pot.state.held, pot.holders) == before


def test_every_part_is_done_in_its_order() -> None:
    pot = Pot()
    pot.do(BudgetOp("a", 1, 1.0, want={"money": 9}, limit=LIMIT))
    op = BudgetOp(
        "a", 2, 2.0, used={"money": 5}, spent={"money": 1}, raise_by={"money": 4}, want={"money": 9, "steps": 7},
        need={"money": 3}, limit=LIMIT, close=True, write_off=True,
    )  # fmt: skip
    assert pot.do(op) == BudgetAnswer({"money": 3, "steps": 7}, is_granted=True, left={"tokens_in": 20, "money": 0})
    assert pot.state == BudgetState({"money": 9 + 1 + 3, "steps": 7}, {}, {"money": 4})
    assert pot.holders == {}


def test_a_need_of_what_is_not_wanted_is_not_granted() -> None:
    assert not Pot().do(BudgetOp("a", 1, 1.0, need={"money": 1}, limit=LIMIT)).is_granted
    assert Pot().do(BudgetOp("a", 1, 1.0, need={"money": 0}, limit=LIMIT)).is_granted


def test_acts_of_raising_are_remembered_but_not_for_ever() -> None:
    pot = Pot()
    for number in range(RAISES + 1):
        for _ in range(2):
            pot.do(BudgetOp("a", 1, 1.0, raise_by={"money": 1}, raise_id=f"q-{number}"))
    assert pot.state.extra == {"money": RAISES + 1}
    assert len(pot.state.raised) == RAISES


def test_a_sum_stops_at_what_json_keeps() -> None:
    pot = Pot()
    for _ in range(3):
        pot.do(BudgetOp("a", 1, 1.0, spent={"money": MOST}, raise_by={"money": MOST}, want={"money": MOST}))
    assert (pot.state.spent, pot.state.held, pot.state.extra) == ({"money": MOST},) * 3
