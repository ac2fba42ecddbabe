"""Which rules are in force, where each came from, and what follows from the end of an attempt."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.core.blueprint import Blueprint
from windlass.core.errors import (
    AttemptTimeout,
    DefinitionError,
    StepLimitReached,
    StoreUnavailable,
    ValidationFailed,
    WriteUndeclared,
)
from windlass.core.words import Recover, RecoveryAction
from windlass.graph.pipeline import Pipeline
from windlass.graph.task import task
from windlass.graph.tools import tool
from windlass.policies.breaker import Breaker
from windlass.policies.budget import Budget
from windlass.policies.chain import NO_PLATFORM, Chain, bounds, clamp, classify, resolve
from windlass.policies.limit import Limit
from windlass.policies.permission import Allow, Ask, Deny
from windlass.policies.platform import Ceilings, Defaults, Platform
from windlass.policies.retry import NO_RETRY, Retry

OFTEN = Retry(on=OSError, max_attempts=5, initial=2, factor=1, jitter=0)


@tool
def pricing(amount: int) -> int:
    return amount


def compiled(options: dict[str, Any] | None = None, **definition: Any) -> Blueprint:
    @task(id="look", **(options or {}))
    async def look(x: int) -> int:
        return x

    return Pipeline("review", [look], **definition).compile()


def chain(options: dict[str, Any] | None = None, platform: Platform = NO_PLATFORM, **definition: Any) -> Chain:
    blueprint = compiled(options, **definition)
    return resolve(blueprint.nodes["look"], blueprint, platform)


def test_nothing_declared() -> None:
    bare = chain()
    assert (bare.timeout, bare.idle_timeout, bare.retry, bare.attempts, bare.wait) == (None, None, (), 100, 86400)
    assert bare.is_plain
    assert bare.layers == ()
    assert bare.max_attempts == 1
    assert bare.origins["timeout"] == bare.origins["retry"] == bare.origins["breakers"] == "not declared"


def test_the_nearest_declaration_wins() -> None:
    platform = Platform(defaults=Defaults(timeout=30, idle_timeout=5, retry=OFTEN))
    defaults = {"timeout": 20, "retry": NO_RETRY}
    assert chain({}, platform).timeout == 30
    assert chain({}, platform).origins["timeout"] == "platform default"
    assert chain({}, platform, defaults=defaults).timeout == 20
    assert chain({}, platform, defaults=defaults).origins["timeout"] == "definition review"
    own = chain({"timeout": 10, "retry": OFTEN}, platform, defaults=defaults)
    assert (own.timeout, own.idle_timeout, own.retry) == (10, 5, (OFTEN,))
    assert (own.origins["timeout"], own.origins["idle_timeout"]) == ("task look", "platform default")
    assert chain({}, platform, defaults=defaults).retry == ()


def test_a_task_may_want_nothing_of_a_default() -> None:
    platform = Platform(defaults=Defaults(timeout=30, retry=OFTEN))
    free = chain({"timeout": math.inf, "retry": NO_RETRY, "breaker": ()}, platform, defaults={"breaker": "openai"})
    assert (free.timeout, free.retry, free.breakers) == (None, (), ())
    assert free.origins["timeout"] == free.origins["retry"] == "task look"


def test_a_ceiling_holds_whatever_is_said() -> None:
    platform = Platform(ceilings=Ceilings(timeout=60, idle_timeout=9, attempts=3, wait=10))
    held = chain({"timeout": 900, "idle_timeout": 4, "retry": OFTEN}, platform)
    assert (held.timeout, held.idle_timeout, held.attempts, held.wait) == (60, 4, 3, 10)
    assert held.max_attempts == 3
    assert held.origins["timeout"] == "platform ceiling (task look asked for 900 s)"
    assert held.origins["idle_timeout"] == "task look"
    assert held.origins["attempts"] == "platform ceiling (task look asked for 5)"
    assert chain({}, platform).timeout == 60
    assert chain({}, platform).origins["timeout"] == "platform ceiling"
    unlimited = chain({"timeout": math.inf}, platform)
    assert unlimited.origins["timeout"] == "platform ceiling (task look asked for no limit)"


def test_breakers_and_limits_are_the_platforms_by_name() -> None:
    platform = Platform(
        breakers=[Breaker("openai", failures=2)], limits=[Limit("gpu", concurrency=4), Limit("mail", rate=1)]
    )
    named = chain({"breaker": ["openai", "db"], "limits": ["gpu"]}, platform)
    assert named.breakers == (Breaker("openai", failures=2), Breaker("db"))
    assert named.limits == (Limit("gpu", concurrency=4),)
    assert named.origins["breaker openai"] == "task look, as the platform declares it"
    assert named.origins["breaker db"] == "task look"
    assert not named.is_plain
    own = chain({"breaker": Breaker("openai", failures=9), "limits": [Limit("gpu", concurrency=8)]}, platform)
    assert own.breakers == (Breaker("openai", failures=9),)
    assert own.limits == (Limit("gpu", concurrency=4),)
    assert own.origins["limit gpu"] == "platform (task look asked for another)"
    with pytest.raises(DefinitionError, match="limits there: gpu, mail") as caught:
        chain({"limits": ["cpu"]}, platform)
    assert caught.value.code == "limit.unknown"


def test_every_place_has_a_say_in_permissions() -> None:
    blueprint = compiled({"grants": [Allow("pricing")]}, grants=[Allow("*"), Deny("effect:refund")], tools=[pricing])
    platform = Platform(grants={"*": [Allow("pricing")], "role:analyst": [Ask("pricing")]})
    found = resolve(blueprint.nodes["look"], blueprint, platform, tenant="acme", roles=["analyst"])
    assert [layer.name for layer in found.layers] == ["task look", "definition review", "platform", "role:analyst"]
    assert found.layers[1].rules == (Allow("*"), Deny("effect:refund"))


def test_budgets_of_one_tally_are_one() -> None:
    platform = Platform(
        defaults=Defaults(budget=Budget(tokens_in=7), run_timeout=50),
        ceilings=Ceilings(budget=Budget(money=10, steps=100), run_timeout=60),
        budgets=[Budget(money=50, per="tenant", window="day"), Budget(tokens_out=9)],
    )
    own = bounds(compiled(budget=Budget(money=20, model_calls=4, edge="ask"), run_timeout=90), platform)
    assert [one.budget for one in own.budgets] == [
        Budget(money=10, steps=100, model_calls=4, tokens_out=9, edge="ask"),
        Budget(money=50, per="tenant", window="day"),
    ]
    assert own.budgets[0].origins == {
        "model_calls": "definition review",
        "money": "platform ceiling (definition review asked for 20)",
        "steps": "platform ceiling",
        "tokens_out": "platform",
    }
    assert own.run_timeout == 60
    assert own.origins["run_timeout"] == "platform ceiling (definition review asked for 90 s)"
    assert bounds(compiled(), platform).budgets[0].budget.tokens_in == 7
    assert bounds(compiled(), platform).run_timeout == 50
    assert bounds(compiled()).budgets == ()
    assert bounds(compiled(dead_letters="triage"), Platform(handlers={"*": "other"})).handler == "triage"
    assert bounds(compiled(), Platform(handlers={"*": "other"})).handler == "other"


def judged(declared: Chain, attempt: int, error: BaseException) -> tuple[float | None, str]:
    ruling = classify(declared, attempt, error, dice=0.5, now=0)
    assert ruling.said
    return ruling.wait, ruling.reason


def test_what_follows_from_a_failed_attempt() -> None:
    often = chain({"retry": [OFTEN, Retry(on=ValidationFailed, max_attempts=2, initial=0)]})
    assert judged(often, 1, OSError())[0] == 2
    assert judged(often, 5, OSError()) == (None, "attempts")
    assert judged(often, 1, KeyError()) == (None, "error")
    assert judged(chain(), 1, OSError()) == (None, "error")
    assert judged(chain(), 1, AttemptTimeout("slow")) == (None, "timeout")
    assert judged(often, 1, AttemptTimeout("slow"))[0] == 2
    assert judged(often, 5, AttemptTimeout("slow")) == (None, "attempts")
    assert classify(often, 1, ValidationFailed("bad"), dice=0, now=0).fresh
    everything = chain({"retry": Retry(on=Exception, initial=0)})
    assert judged(everything, 1, StepLimitReached("100")) == (None, "step_limit")
    assert judged(everything, 1, WriteUndeclared("x")) == (None, "error")
    assert judged(everything, 1, StoreUnavailable("full"))[0] == 0


def test_a_predicate_that_raises_ends_what_it_judges() -> None:
    def odd(error: BaseException) -> bool:
        raise ValueError("odd")

    ruling = classify(chain({"retry": Retry(on=odd)}), 1, OSError(), dice=0, now=0)
    assert (ruling.wait, ruling.said) == (None, "retry's predicate raised ValueError('odd'): not retried")


def test_ceilings_of_attempts_and_waits_are_said() -> None:
    held = chain({"retry": OFTEN}, Platform(ceilings=Ceilings(attempts=3, wait=10)))
    ruling = classify(held, 3, OSError(), dice=0, now=0)
    assert (ruling.wait, ruling.reason) == (None, "attempts")
    assert ruling.clamped == "the platform allows 3 attempts, retry asks for 5"
    busy = OSError()
    busy.retry_after = 99  # type: ignore[attr-defined]
    ruling = classify(held, 1, busy, dice=0, now=0)
    assert (ruling.wait, ruling.clamped) == (10, "OSError asks to wait 99 s, the platform allows 10 s")


def test_what_recover_proposes_is_clamped() -> None:
    held = chain({}, Platform(ceilings=Ceilings(attempts=3)))
    abort = RecoveryAction("abort")
    assert clamp(held, Recover.retry(), attempt=2) == (Recover.retry(), "")
    assert clamp(held, Recover.retry(), attempt=3) == (
        abort, "recover proposed another attempt, the platform allows 3",
    )  # fmt: skip
    assert clamp(held, Recover.rollback("a"), attempt=9, rollbacks=2)[0] == Recover.rollback("a")
    assert clamp(held, Recover.rollback("a"), attempt=1, rollbacks=3)[0] == abort
    assert clamp(held, Recover.fallback(3), attempt=9) == (Recover.fallback(3), "")
    assert clamp(held, None, attempt=1) == (abort, "")
    assert clamp(held, "retry", attempt=1) == (abort, "recover returned 'retry', which is no RecoveryAction")


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.integers(1, 50), st.floats(0, 1))
def test_attempts_end(attempt: int, wanted: int, ceiling: int, dice: float) -> None:
    declared = Chain(node="a", retry=(Retry(on=OSError, max_attempts=wanted),), attempts=ceiling)
    ruling = classify(declared, attempt, OSError(), dice=dice, now=0)
    assert (ruling.wait is None) == (attempt >= min(wanted, ceiling))
    assert (clamp(declared, Recover.retry(), attempt=attempt)[0].kind == "abort") == (attempt >= ceiling)
