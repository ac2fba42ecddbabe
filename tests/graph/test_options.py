"""Policies and options, as a NodeSpec wants them."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, TypedDict

import pytest

from windlass.core.blueprint import Blueprint
from windlass.core.errors import TaskError
from windlass.core.words import Recover, RecoveryAction, Undo
from windlass.engine.context import Context
from windlass.graph.graph import Graph
from windlass.graph.options import policies
from windlass.graph.pipeline import Pipeline
from windlass.graph.task import AgentSpec, Task, task
from windlass.graph.tools import tool
from windlass.policies.breaker import Breaker
from windlass.policies.budget import Budget, HandTo, WrapUp
from windlass.policies.chain import Declared
from windlass.policies.limit import Limit
from windlass.policies.permission import Allow, Deny
from windlass.policies.retry import NO_RETRY, Retry

Refused = Callable[..., AbstractContextManager[None]]


def delete_branch() -> None: ...


def recover(error: TaskError) -> RecoveryAction:
    return Recover.abort()


async def too_late(error: TaskError) -> RecoveryAction:
    return Recover.abort()


def test_durations_are_seconds_and_undos_have_names() -> None:
    retry = Retry(on=OSError)
    assert policies(
        {
            "timeout": timedelta(minutes=2),
            "idle_timeout": 3,
            "retry": retry,
            "undo": [delete_branch],
            "recover": recover,
        },
        "task 'a'",
        {},
    ) == {
        "timeout": 120.0,
        "idle_timeout": 3.0,
        "retry": (retry,),
        "breakers": None,
        "limits": None,
        "grants": None,
        "undo": {"delete_branch": Undo(delete_branch)},
        "expect": None,
        "before": None,
        "after": None,
        "validate": None,
        "recover": recover,
    }


def test_a_policy_that_cannot_be_is_refused(refused: Refused) -> None:
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"timeout": 0}, "timeout.value", "timeout is 0 seconds"),
        ({"idle_timeout": -1.5}, "timeout.value", "idle_timeout is -1.5 seconds"),
        ({"timeout": float("nan")}, "timeout.value", "nan"),
        ({"retry": 3}, "retry.kind", "retry is 3"),
        ({"retry": [Retry(on=OSError), "twice"]}, "retry.kind", "'twice'"),
        ({"breaker": 3}, "breaker.kind", "breaker is 3"),
        ({"breaker": ["openai", Breaker("openai")]}, "breaker.twice", "openai"),
        ({"limits": [3]}, "limit.kind", "limits has 3"),
        ({"limits": ["gpu", Limit("gpu", rate=1)]}, "limit.twice", "gpu"),
        ({"grants": ["pricing"]}, "permission.rule", "'pricing'"),
        ({"grants": [Allow("pricing")]}, "permission.tool", "allow pricing"),
        ({"undo": [delete_branch, delete_branch]}, "policy.undo", "delete_branch"),
        ({"undo": [lambda: None]}, "definition.unnamed", "an undo"),
        ({"undo": [Undo(delete_branch, on_doubt="maybe")]}, "policy.undo", "on_doubt='maybe'"),  # type: ignore[arg-type]
        ({"recover": too_late}, "definition.async_hook", "recover is async"),
    ]
    for declared, code, words in wrong:
        with refused(code, "task 'a'", words):
            policies(declared, "task 'a'", {})  # type: ignore[arg-type]


@tool
def pricing(amount: int) -> int:
    return amount


class State(TypedDict):
    n: int


def pipeline(options: dict[str, Any] | None = None, **definition: Any) -> Blueprint:
    @task(id="look", **(options or {}))
    async def look(x: int) -> int:
        return x

    return Pipeline("review", [look], **definition).compile()


def graph(options: dict[str, Any] | None = None, **definition: Any) -> Blueprint:
    made = Graph("review", State, **definition)

    @made.node(id="look", writes=["n"], **(options or {}))
    async def look(n: int) -> dict[str, int]:
        return {"n": n}

    made.start("look")
    return made.compile()


@pytest.mark.parametrize("make", [pipeline, graph])
def test_what_a_definition_declares_about_its_runs(make: Callable[..., Blueprint]) -> None:
    budget = Budget(money=1, edge=HandTo("triage"))
    made = make(
        {"breaker": "openai", "limits": [Limit("gpu", rate=1)], "grants": [Allow("pricing")]},
        run_timeout=timedelta(hours=1), budget=budget, grants=[Deny("effect:*")], tools=[pricing],
        dead_letters=Pipeline("triage", [task(delete_branch)]),
        defaults={"timeout": 3, "retry": NO_RETRY, "breaker": "db", "recover": recover},
    )  # fmt: skip
    assert (made.run_timeout, made.budget, made.grants) == (3600, budget, (Deny("effect:*"),))
    assert (made.tools, made.dead_letters) == ({"pricing": pricing}, "triage")
    assert made.defaults == Declared(timeout=3, retry=(), breakers=("db",))
    look = made.nodes["look"]
    assert (look.timeout, look.retry, look.breakers) == (None, None, ("openai",))
    assert (look.limits, look.grants, look.recover) == ((Limit("gpu", rate=1),), (Allow("pricing"),), recover)


@pytest.mark.parametrize("make", [pipeline, graph])
def test_boundaries_are_not_structure(make: Callable[..., Blueprint]) -> None:
    bare = make()
    assert bare.defaults is None
    bounded = make(
        {"breaker": "openai", "limits": ["gpu"], "grants": [], "retry": [Retry(on=OSError)], "timeout": math.inf},
        run_timeout=9, budget=Budget(steps=3), grants=[Allow("pricing")], tools=[pricing], dead_letters="triage",
        defaults={"idle_timeout": 4},
    )  # fmt: skip
    assert bounded.fingerprint == bare.fingerprint


def test_the_class_form_declares_them_in_its_spec() -> None:
    class Look(Task[int, int]):
        id = "look"
        spec = AgentSpec(breaker="openai", limits=["gpu"], grants=[Deny("call:*")], retry=[Retry(on=OSError)])

        async def execute(self, input: int, ctx: Context) -> int:
            return input

    (node,) = Pipeline("review", [Look]).compile().nodes.values()
    assert (node.breakers, node.limits, node.grants) == (("openai",), ("gpu",), (Deny("call:*"),))
    assert node.recover is None
    assert Pipeline("x", [Look], defaults={"recover": recover}).compile().nodes["look"].recover is recover


@pytest.mark.parametrize("make", [pipeline, graph])
def test_a_boundary_that_cannot_be_is_refused(make: Callable[..., Blueprint], refused: Refused) -> None:
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"run_timeout": 0}, "timeout.value", "run_timeout is 0 seconds"),
        ({"budget": 5}, "budget.kind", "budget is 5"),
        ({"budget": Budget(steps=1, edge=HandTo("review"))}, "budget.edge", "hands over to itself"),
        ({"dead_letters": 5}, "policy.dead_letters", "dead_letters is 5"),
        ({"dead_letters": "review"}, "policy.dead_letters", "another definition"),
        ({"defaults": {"timeout": -1}}, "timeout.value", "defaults= of"),
        ({"defaults": {"recover": too_late}}, "definition.async_hook", "recover is async"),
        ({"grants": [Allow("princing")], "tools": [pricing]}, "permission.tool", "did you mean 'pricing'"),
        ({"tools": ["pricing"]}, "tool.kind", "pricing"),
    ]
    for declared, code, words in wrong:
        with refused(code, "review", words):
            make(**declared)
    with pytest.raises(TypeError, match="unexpected keyword argument 'undo'"):
        make(defaults={"undo": []})


def test_a_budget_wraps_up_at_a_node_of_a_graph(refused: Refused) -> None:
    assert graph(budget=Budget(steps=1, edge=WrapUp(node="look"))).budget is not None
    with refused("budget.edge", "did you mean 'look'"):
        graph(budget=Budget(steps=1, edge=WrapUp(node="lok")))
    with refused("budget.edge", "a pipeline cannot choose its next node"):
        pipeline(budget=Budget(steps=1, edge=WrapUp(node="look")))
