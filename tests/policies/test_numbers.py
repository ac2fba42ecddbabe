"""Whatever is declared, it is a policy or a DefinitionError with a hint: never another error, and never nonsense."""

import math
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.core.errors import DefinitionError
from windlass.core.tallies import MOST
from windlass.core.usage import Usage, is_whole, millionths
from windlass.policies.breaker import Breaker, read_breakers
from windlass.policies.budget import UNITS, Budget, HandTo, WrapUp, in_units, read_budget
from windlass.policies.limit import Limit, read_limits
from windlass.policies.numbers import length
from windlass.policies.platform import Ceilings, Defaults, Platform, read_retry
from windlass.policies.retry import Retry
from windlass.policies.timeout import seconds

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**53, 10**400, -(10**400), 0.0, -0.0, 0.5, 1e-320, 1e308, math.nan, math.inf,
    -math.inf, "", "x", "1", "1e999999999", "NaN", "5/min", "day", "stop", b"", b"1", Decimal(1),
    Decimal("sNaN"), Decimal("1e99"), timedelta(0), timedelta.max, timedelta(seconds=-1), Fraction(1, 3), 1j,
    (), (3,), [], [None], {}, {"a": 1}, object(), int, OSError, (OSError,), ValueError("x"), len,
    Retry(on=OSError), Breaker("b"), Limit("l", rate=1), Budget(steps=1),
]  # fmt: skip
FAMILIES = ("retry", "timeout", "breaker", "limit", "budget", "platform", "redact", "output")
Make = Callable[[Any], Any]


def one(make: Callable[..., Any], field: str, **rest: Any) -> Make:
    return lambda odd: make(**{**rest, field: odd})


def default(field: str) -> Make:
    return lambda odd: Platform(defaults=Defaults(**{field: odd}))


def ceiling(field: str) -> Make:
    return lambda odd: Platform(ceilings=Ceilings(**{field: odd}))


def usage(field: str) -> Make:
    return lambda odd: Usage(**{field: odd}).amounts()


def reading(read: Callable[[Any, str], Any]) -> Make:
    return lambda odd: read(odd, "task 'a'")


MAKERS: list[Make] = [
    *(one(Retry, field, on=OSError) for field in ("on", "max_attempts", "initial", "factor", "cap", "jitter")),
    *(one(Breaker, field, name="x") for field in Breaker.__dataclass_fields__),
    *(one(Limit, field, name="x", rate=1) for field in Limit.__dataclass_fields__),
    *(one(Budget, field, steps=1) for field in (*UNITS, "depth", "fan_out", "per", "window", "edge")),
    one(WrapUp, "node"),
    one(WrapUp, "reserve", node="x"),
    one(HandTo, "definition"),
    *(usage(field) for field in Usage.__slots__),
    *(default(field) for field in Defaults.__dataclass_fields__),
    *(ceiling(field) for field in Ceilings.__dataclass_fields__),
    *(one(Platform, field) for field in Platform.__dataclass_fields__),
    *(reading(read) for read in (read_retry, read_breakers, read_limits, read_budget)),
    lambda odd: seconds(odd, "timeout", "task 'a'"),
]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_whatever_is_declared(odd: Any) -> None:
    for make in MAKERS:
        try:
            made = make(odd)
        except DefinitionError as error:
            assert error.code.split(".")[0] in FAMILIES  # noqa: PT017 -- either outcome will do
        else:
            assert "nan" not in repr(made)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-MOST, max_value=MOST))
def test_money_is_rounded_to_the_side_that_is_asked_for(amount: Decimal) -> None:
    low, high = millionths(amount, up=False), millionths(amount, up=True)
    if low is None or high is None:
        assert abs(amount) * 1_000_000 > MOST - 1
    else:
        assert high - low in (0, 1)
        assert Fraction(low, 1_000_000) <= Fraction(amount) <= Fraction(high, 1_000_000)


@given(st.floats(), st.sampled_from(["money", "wall", "tokens_in"]))
def test_a_number_in_units_can_always_be_counted(number: float, unit: str) -> None:
    if math.isfinite(number):
        assert abs(in_units(unit, number)) <= MOST


def test_what_a_number_may_be() -> None:
    assert [length(d) for d in (3, 2.5, timedelta(minutes=1), 10**400, math.inf)] == [3, 2.5, 60, float(MOST), math.inf]
    assert all(math.isnan(length(d)) for d in (True, None, "3", 1j))
    assert [is_whole(n) for n in (1, 0, True, 1.0, MOST, MOST + 1)] == [True, False, False, False, True, False]
    assert is_whole(0, 0)
