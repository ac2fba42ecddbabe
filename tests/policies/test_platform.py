"""What an operator may declare."""

import math
from typing import Any

import pytest

from windlass.core.errors import DefinitionError
from windlass.policies.breaker import Breaker
from windlass.policies.budget import Budget, WrapUp
from windlass.policies.limit import Limit
from windlass.policies.permission import Allow
from windlass.policies.platform import Ceilings, Defaults, Platform
from windlass.policies.retry import Retry


def untyped(value: Any) -> Any:
    return value


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"defaults": {"timeout": 3}}, "platform.kind"),
        ({"ceilings": None}, "platform.kind"),
        ({"budgets": [5]}, "platform.kind"),
        ({"breakers": ["openai"]}, "platform.kind"),
        ({"defaults": Defaults(timeout=-1)}, "timeout.value"),
        ({"ceilings": Ceilings(run_timeout=0)}, "timeout.value"),
        ({"ceilings": Ceilings(attempts=0)}, "platform.attempts"),
        ({"ceilings": Ceilings(attempts=untyped(math.inf))}, "platform.attempts"),
        ({"ceilings": Ceilings(wait=math.inf)}, "platform.wait"),
        ({"defaults": Defaults(timeout=9), "ceilings": Ceilings(timeout=8)}, "platform.ceiling"),
        ({"defaults": Defaults(timeout=math.inf), "ceilings": Ceilings(timeout=8)}, "platform.ceiling"),
        (
            {"defaults": Defaults(retry=Retry(on=OSError, max_attempts=9)), "ceilings": Ceilings(attempts=8)},
            "platform.ceiling",
        ),
        (
            {"defaults": Defaults(budget=Budget(money=2)), "ceilings": Ceilings(budget=Budget(money=1))},
            "platform.ceiling",
        ),
        (
            {"defaults": Defaults(budget=Budget(depth=2)), "ceilings": Ceilings(budget=Budget(depth=1))},
            "platform.ceiling",
        ),
        ({"defaults": Defaults(retry=untyped(3))}, "retry.kind"),
        ({"defaults": Defaults(budget=untyped(3))}, "budget.kind"),
        ({"defaults": Defaults(budget=Budget(steps=1, per="tenant"))}, "platform.budget"),
        ({"ceilings": Ceilings(budget=Budget(steps=1, per="tenant"))}, "platform.budget"),
        ({"budgets": [Budget(steps=1, edge=WrapUp(node="x"))]}, "platform.edge"),
        ({"budgets": [Budget(steps=1), Budget(money=1)]}, "platform.twice"),
        ({"limits": [Limit("a", rate=1), Limit("a", rate=2)]}, "platform.twice"),
        ({"breakers": [Breaker("a"), Breaker("a")]}, "platform.twice"),
        ({"grants": {"acme": [Allow("x")]}}, "platform.grants"),
        ({"grants": {"*": ["x"]}}, "platform.grants"),
        ({"grants": {"*": Allow("x")}}, "platform.grants"),
        ({"grants": {3: [Allow("x")]}}, "platform.grants"),
        ({"grants": [Allow("x")]}, "platform.grants"),
        ({"budgets": Budget(steps=1)}, "platform.kind"),
        ({"handlers": {"*": 3}}, "platform.kind"),
        ({"handlers": "triage"}, "platform.kind"),
    ],
)
def test_a_platform_that_cannot_be(wrong: dict[str, Any], code: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        Platform(**wrong)
    assert caught.value.code == code


def test_who_handles_dead_letters() -> None:
    platform = Platform(handlers={"order-*": "refund", "*": "triage"})
    assert [platform.handler(name) for name in ("order-eu", "review", "triage")] == ["refund", "triage", ""]
