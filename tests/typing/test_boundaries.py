"""What tasks, definitions and platforms may declare, as a type checker sees it."""

from datetime import timedelta
from typing import TypedDict

import pytest

from windlass import (
    NO_RETRY,
    AgentSpec,
    Allow,
    Ask,
    Breaker,
    Budget,
    Ceilings,
    Context,
    Cost,
    Defaults,
    DefinitionError,
    Deny,
    Graph,
    HandTo,
    Limit,
    Pipeline,
    Platform,
    Retry,
    Task,
    Usage,
    WrapUp,
    task,
)


@task(
    timeout=timedelta(minutes=1),
    retry=[Retry(on=(ConnectionError, TimeoutError), max_attempts=5), Retry.fixed(2, on=lambda e: "busy" in str(e))],
    breaker="openai",
    limits=["gpu", Limit("mail", rate="100/min")],
    grants=[Allow("call:*"), Ask("effect:push"), Deny("effect:drop")],
)  # fmt: skip
async def draft(topic: str, ctx: Context) -> str:
    return topic


@task(retry=NO_RETRY, breaker=["db", Breaker("openai", failures=3, on=ConnectionError)])
def report(draft: str) -> str:
    return draft


class Look(Task[str, str]):
    id = "look"
    spec = AgentSpec(retry=Retry(on=OSError), breaker=Breaker("db"), limits=[Limit("gpu", concurrency=2)])

    async def execute(self, input: str, ctx: Context) -> str:
        return input


review = Pipeline(
    "review",
    tasks=[draft, report],
    run_timeout=timedelta(hours=1),
    budget=Budget(money="2.50", tokens_in=10_000, wall_time=60, edge="ask"),
    grants=[Allow("call:*"), Allow("effect:*")],
    dead_letters="triage",
    defaults={"timeout": 30, "retry": Retry(on=OSError), "breaker": "openai"},
)


class State(TypedDict):
    text: str


graph = Graph("loop", State, budget=Budget(steps=5, edge=WrapUp(node="write")), dead_letters=review)


@graph.node(writes=["text"], breaker="openai", limits=[Limit("gpu", concurrency=1)], retry=NO_RETRY)
async def write(text: str) -> dict[str, str]:
    return {"text": text}


platform = Platform(
    defaults=Defaults(timeout=30, retry=[Retry(on=ConnectionError)], budget=Budget(money=1)),
    ceilings=Ceilings(timeout=timedelta(minutes=10), attempts=20, budget=Budget(money=10)),
    budgets=[Budget(money=100, per="tenant", window="day", edge=HandTo("cheap"))],
    breakers=[Breaker("openai", scope="tenant")],
    limits=[Limit("gpu", concurrency=4, scope="definition")],
    grants={"*": [Allow("call:*")], "role:analyst": [Ask("effect:*", when="args.amount > 5")]},
    handlers={"order-*": "refund"},
)

cost = Cost(estimate=Usage(tokens_in=500, money=0.01), read=lambda result: Usage(tokens_in=len(str(result))))


def test_what_is_declared_is_taken() -> None:
    assert set(review.compile().nodes) == {"draft", "report"}
    assert Pipeline("one", [Look]).compile().nodes["look"].breakers == (Breaker("db"),)
    assert platform.handler("order-eu") == "refund"
    assert cost.estimate.amounts() == {"tokens_in": 500, "money": 10_000}
    with pytest.raises(DefinitionError, match="which errors"):
        Retry(max_attempts=3)
