"""What makes a breaker, and whose failures count."""

from typing import Any

import pytest

from windlass.core.errors import AttemptTimeout, DefinitionError, StepLimitReached
from windlass.policies.breaker import Breaker, read_breakers, verdict


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"name": ""}, "breaker.name"),
        ({"name": 3}, "breaker.name"),
        ({"scope": "world"}, "breaker.scope"),
        ({"failures": 0}, "breaker.failures"),
        ({"failures": 2.5}, "breaker.failures"),
        ({"window": 0}, "breaker.wait"),
        ({"cooldown": -1}, "breaker.wait"),
        ({"patience": float("inf")}, "breaker.wait"),
        ({"on": "timeout"}, "breaker.on"),
    ],
)
def test_a_breaker_that_cannot_be(wrong: dict[str, Any], code: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        Breaker(**{"name": "openai", **wrong})
    assert caught.value.code == code


def test_what_counts_as_a_failure_of_the_dependency() -> None:
    def odd(error: BaseException) -> bool:
        raise ValueError

    breaker = Breaker("openai", on=(ConnectionError, TimeoutError))
    assert verdict(breaker, None) == "succeeded"
    assert verdict(breaker, ConnectionError()) == "failed"
    assert verdict(breaker, AttemptTimeout("slow")) == "failed"
    assert verdict(breaker, KeyError()) == ""
    assert verdict(Breaker("openai"), StepLimitReached("too many")) == ""
    assert verdict(Breaker("openai", on=odd), KeyError()) == "failed"


def test_who_shares_a_breaker() -> None:
    place = {"tenant": "acme", "definition": "review", "node": "look"}
    keys = [Breaker("a|b", scope=scope).key(**place) for scope in ("fleet", "tenant", "definition", "node")]
    assert keys == [
        "breaker|fleet||a%7Cb",
        "breaker|tenant|acme|a%7Cb",
        "breaker|definition|review|a%7Cb",
        "breaker|node|review.look|a%7Cb",
    ]


def test_how_breakers_are_named() -> None:
    openai = Breaker("openai")
    assert read_breakers(None, "task 'a'") is None
    assert read_breakers((), "task 'a'") == ()
    assert read_breakers("openai", "task 'a'") == ("openai",)
    assert read_breakers([openai, "db"], "task 'a'") == (openai, "db")
    for wrong, code in ((3, "breaker.kind"), ([""], "breaker.kind"), ([openai, "openai"], "breaker.twice")):
        with pytest.raises(DefinitionError, match="task 'a'") as caught:
            read_breakers(wrong, "task 'a'")
        assert caught.value.code == code
