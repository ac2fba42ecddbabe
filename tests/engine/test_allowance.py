"""An allowance covers what it is said to: what is held is free, used or set aside, and what is not covered is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.core.tallies import BudgetAnswer
from windlass.engine.allowance import Level, add, room
from windlass.policies.budget import Budget

KEY = "budget|run|r"


def allowance(budget: Budget, **held: int) -> Level:
    """Make an allowance of which so much is held, and a thousand times as much is left."""
    level = Level(budget, dict(budget.shared), key=KEY)
    level.granted(KEY, BudgetAnswer(held, is_granted=True, left={unit: 1_000 * n for unit, n in held.items()}))
    return level


def aside(level: Level, **amounts: int) -> dict[str, int]:
    """Set an estimate aside, as for a call."""
    add(level.free, {unit: -number for unit, number in level.bounded(amounts).items()})
    return amounts


def test_what_a_call_has_not_used_is_free_again() -> None:
    level = allowance(Budget(tokens_out=10**6), tokens_out=50)
    assert not level.settle(aside(level, tokens_out=10), {"tokens_out": 4})
    assert (level.free, level.used, level.spent) == ({"tokens_out": 46}, {"tokens_out": 4}, {"tokens_out": 4})
    assert level.wants() == {}


def test_what_is_not_covered_is_told_at_once() -> None:
    level = allowance(Budget(tokens_out=10**6, tokens_in=10**6), tokens_out=50)
    assert level.settle(aside(level, tokens_out=10), {"tokens_out": 10, "tokens_in": 7})
    assert level.is_owing
    assert (level.used, level.spent) == ({"tokens_out": 10}, {"tokens_out": 10, "tokens_in": 7})


def test_what_a_budget_does_not_speak_of_need_not_be_told() -> None:
    level = allowance(Budget(steps=1_000), steps=50)
    assert not level.settle(aside(level, tokens_out=10), {"tokens_out": 10})
    assert level.spent == {"tokens_out": 10}
    assert level.wants() == {}


@pytest.mark.parametrize(
    ("per", "left", "wanted"), [("run", 50_000, 100), ("run", 5_000, 50), ("run", 500, 10), ("tenant", 50_000, 50)]
)
def test_several_calls_are_asked_for_where_much_is_left(per: str, left: int, wanted: int) -> None:
    level = allowance(Budget(tokens_out=10**6, per=per), tokens_out=10)  # type: ignore[arg-type]
    level.left = {"tokens_out": left}
    assert level.settle(aside(level, tokens_out=10), {"tokens_out": 10})
    assert level.wants() == {"tokens_out": wanted}
    add(level.asked, level.wants())
    assert level.wants() == {}, "it is on its way"


def test_what_has_to_be_asked_for_takes_the_rest_along() -> None:
    level = allowance(Budget(steps=1_000, tokens_out=10**6), steps=50, tokens_out=100)
    level.settle(aside(level, tokens_out=10), {"tokens_out": 10})
    level.count({"steps": 24})
    assert (level.wants(), room([level])) == ({}, {"steps": 1})
    level.count({"steps": 1})
    assert level.wants() == {"steps": 25, "tokens_out": 10}
    assert room([level]) == {"steps": 0}


AMOUNTS = st.dictionaries(st.sampled_from(["tokens_in", "tokens_out", "money"]), st.integers(1, 40))


@given(st.lists(st.tuples(AMOUNTS, AMOUNTS)))
def test_what_is_held_is_free_used_or_set_aside(calls: list[tuple[dict[str, int], dict[str, int]]]) -> None:
    """Whatever calls take, also more than was held: what the store is told was used is what it has."""
    held = {"tokens_in": 60, "tokens_out": 60}
    level = allowance(Budget(tokens_in=10**6, tokens_out=10**6), **held)
    for reserved, actual in calls:
        if level.lacks(reserved):
            continue
        told = level.settle(aside(level, **reserved), actual)
        for unit, number in held.items():
            assert level.free.get(unit, 0) >= 0
            assert level.free[unit] + level.used.get(unit, 0) == number
        if level.bounded(reserved) and not told:
            assert all(level.spent[unit] == level.used.get(unit, 0) for unit in level.spent if unit in held)
