"""What makes a budget, and how amounts are read."""

import math
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from windlass.core.errors import DefinitionError
from windlass.core.usage import Usage
from windlass.policies.budget import (
    Budget,
    Cost,
    HandTo,
    Settled,
    WrapUp,
    in_units,
    read_budget,
    settled,
    spell_amount,
    tightest,
    window_start,
)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({}, "budget.empty"),
        ({"tokens_in": -1}, "budget.amount"),
        ({"tokens_in": 1.5}, "budget.amount"),
        ({"tokens_in": True}, "budget.amount"),
        ({"tokens_out": 2**60}, "budget.amount"),
        ({"money": -0.01}, "budget.amount"),
        ({"money": math.nan}, "budget.amount"),
        ({"money": "lots"}, "budget.amount"),
        ({"money": Decimal("inf")}, "budget.amount"),
        ({"money": True}, "budget.amount"),
        ({"wall_time": timedelta(seconds=-1)}, "budget.amount"),
        ({"wall_time": math.inf}, "budget.amount"),
        ({"depth": -1}, "budget.amount"),
        ({"fan_out": 2.0}, "budget.amount"),
        ({"steps": 1, "per": "team"}, "budget.per"),
        ({"depth": 1, "per": "tenant"}, "budget.per"),
        ({"steps": 1, "window": "day"}, "budget.window"),
        ({"steps": 1, "per": "tenant", "window": "week"}, "budget.window"),
        ({"steps": 1, "edge": "panic"}, "budget.edge"),
    ],
)
def test_a_budget_that_cannot_be(wrong: dict[str, Any], code: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        Budget(**wrong)
    assert caught.value.code == code
    assert caught.value.hint


def test_an_edge_that_cannot_be() -> None:
    makers: list[tuple[Any, str]] = [
        (lambda: WrapUp(node=""), "budget.edge"),
        (lambda: WrapUp(node="report", reserve=1), "budget.reserve"),
        (lambda: WrapUp(node="report", reserve=math.nan), "budget.reserve"),
        (lambda: HandTo(""), "budget.edge"),
        (lambda: HandTo(3), "budget.edge"),  # type: ignore[arg-type]
        (lambda: read_budget(5, "graph 'g'"), "budget.kind"),
    ]
    for make, code in makers:
        with pytest.raises(DefinitionError) as caught:
            make()
        assert caught.value.code == code
    assert HandTo(SimpleNamespace(name="short")).definition == "short"  # type: ignore[arg-type]


def test_limits_are_whole_numbers_by_unit() -> None:
    budget = Budget(
        tokens_in=5, tokens_out=0, money="1.0000019", model_calls=1, wall_time=timedelta(seconds=1.5), bytes=9, depth=3
    )
    assert budget.shared == {
        "tokens_in": 5, "tokens_out": 0, "money": 1_000_001, "model_calls": 1, "wall": 1500, "bytes": 9,
    }  # fmt: skip
    assert budget == Budget(
        tokens_in=5, tokens_out=0, money="1.0000019", model_calls=1, wall_time=timedelta(seconds=1.5), bytes=9, depth=3
    )


def test_a_usage_is_never_counted_as_less() -> None:
    assert Usage(money=0.0000001, tokens_in=3).amounts() == {"money": 1, "tokens_in": 3}
    assert [Usage(money=money).amounts()["money"] for money in (0.1, "0.1", Decimal("0.1"))] == [100_000] * 3
    for wrong in (Usage(tokens_in=-1), Usage(money=-1), Usage(money=math.nan), Usage(model_calls=1.0)):  # type: ignore[arg-type]
        with pytest.raises(DefinitionError, match="a usage of"):
            wrong.amounts()


def test_a_call_counts_at_its_estimate_where_no_usage_can_be_read() -> None:
    def broken(result: Any) -> Usage:
        raise KeyError(result)

    cost = Cost(estimate=Usage(tokens_in=10))
    estimate = {"tokens_in": 10}
    assert settled(cost, SimpleNamespace(usage=Usage(tokens_in=7))) == Settled({"tokens_in": 7})
    assert settled(cost, SimpleNamespace(usage=Usage())) == Settled({})
    assert settled(cost, "text") == Settled(estimate, "the result says no usage")
    assert settled(cost, SimpleNamespace(usage={"tokens_in": 7})) == Settled(estimate, "the result says no usage")
    assert settled(cost, SimpleNamespace(usage=Usage(tokens_in=-7))) == Settled(estimate, "a usage of -7 tokens_in")
    read = Cost(estimate=Usage(tokens_in=10), read=lambda result: Usage(tokens_in=result))
    assert settled(read, 30) == Settled({"tokens_in": 30})
    assert settled(Cost(estimate=Usage(tokens_in=10), read=broken), 1).said == "the usage cannot be read: KeyError(1)"
    for wrong in ({"tokens_in": 1}, Usage(tokens_in=-1)):
        with pytest.raises(DefinitionError, match=r"a cost of|a usage of"):
            Cost(estimate=wrong)  # type: ignore[arg-type]


def test_a_window_begins_at_midnight_utc() -> None:
    at = 1_795_305_599.0  # 2026-11-21 23:59:59
    assert [window_start(window, at) for window in (None, "day", "month")] == ["", "2026-11-21", "2026-11"]
    assert window_start("day", at + 1) == "2026-11-22"


def test_the_tightest_of_several_keeps_the_edge_of_the_first() -> None:
    first = Budget(tokens_in=100, money=2, depth=3, edge=WrapUp(node="report"))
    found = tightest([first, Budget(tokens_in=50, money=5, steps=9, depth=5, fan_out=2)])
    assert found == Budget(tokens_in=50, money=2, steps=9, depth=3, fan_out=2, edge=WrapUp(node="report"))


def test_numbers_as_people_say_them() -> None:
    said = [("money", 2.5), ("wall", 1.5), ("tokens_in", 7.9), ("steps", 1e300), ("money", 1e300), ("wall", math.inf)]
    assert [in_units(*one) for one in said] == [2_500_000, 1500, 7, 0, 0, 0]


def test_amounts_for_people() -> None:
    amounts = [("money", 2_500_000), ("money", 3_000_000_000), ("wall", 90_500), ("tokens_in", 10_000)]
    assert [spell_amount(*amount) for amount in amounts] == ["2.5", "3,000", "90.5 s", "10,000"]
