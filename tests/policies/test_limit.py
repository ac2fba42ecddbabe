"""What makes a limit."""

from typing import Any

import pytest

from windlass.core.errors import DefinitionError
from windlass.policies.limit import Limit, read_limits, tightest


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"name": "", "rate": 1}, "limit.name"),
        ({"rate": 1, "scope": "world"}, "limit.scope"),
        ({}, "limit.empty"),
        ({"concurrency": 0}, "limit.concurrency"),
        ({"concurrency": True}, "limit.concurrency"),
        ({"rate": 0}, "limit.rate"),
        ({"rate": float("nan")}, "limit.rate"),
        ({"rate": "100"}, "limit.rate"),
        ({"rate": "0/min"}, "limit.rate"),
        ({"rate": "100/fortnight"}, "limit.rate"),
        ({"concurrency": 1, "burst": 3}, "limit.burst"),
        ({"rate": 1, "burst": 0}, "limit.burst"),
    ],
)
def test_a_limit_that_cannot_be(wrong: dict[str, Any], code: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        Limit(**{"name": "openai", **wrong})
    assert caught.value.code == code


def test_a_rate_is_permits_per_second() -> None:
    rates = [Limit("x", rate=rate).rate for rate in ("120/min", "3 / s", "1.5/sec", "36/h", "864/day", 4, 0.5)]
    assert rates == [2, 3, 1.5, 0.01, 0.01, 4, 0.5]
    assert [Limit("x", rate=rate).burst for rate in (0.5, 4, 4.2)] == [1, 4, 5]
    assert Limit("x", rate=4, burst=9).burst == 9
    assert Limit("x", concurrency=4).rate is None


def test_the_tightest_of_two_keeps_the_scope_of_the_first() -> None:
    ours, theirs = Limit("x", concurrency=5, scope="tenant"), Limit("x", concurrency=9, rate="60/min", burst=3)
    assert tightest(ours, theirs) == Limit("x", concurrency=5, rate=1, burst=3, scope="tenant")
    assert tightest(theirs, Limit("x", rate=5)) == Limit("x", concurrency=9, rate=1, burst=3)


def test_how_limits_are_named() -> None:
    own = Limit("gpu", concurrency=1)
    assert read_limits(None, "task 'a'") is None
    assert read_limits("openai", "task 'a'") == ("openai",)
    assert read_limits(["openai", own], "task 'a'") == ("openai", own)
    assert own.key(tenant="acme") == "limit|fleet||gpu"
    for wrong, code in (([3], "limit.kind"), (3, "limit.kind"), ([own, "gpu"], "limit.twice")):
        with pytest.raises(DefinitionError, match="task 'a'") as caught:
            read_limits(wrong, "task 'a'")
        assert caught.value.code == code
