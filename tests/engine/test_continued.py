"""Continue-as-new: a run that goes on as a new one, with a fresh log and the state that it had."""

import asyncio
from typing import Annotated, Any, TypedDict

import pytest

from windlass import Context, ContinueAsNew, Graph, Initial, Pipeline, RunFailed, Runtime, Send, Update, add, append, task
from windlass.core.states import COMPLETED, CREATED
from windlass.core.thread_errors import TurnOver


class Count(TypedDict):
    """A counter that goes on for ever, nearly."""

    n: Annotated[int, add, Initial(0)]
    log: Annotated[list[str], append]
    until: int


def counter(per_run: int = 3, **options: Any) -> Graph:
    """Count to `until`, a few steps a run."""
    graph = Graph("counter", Count, step_limit=per_run + 2, **options)

    @graph.node(writes=["n", "log"])
    async def step(n: int) -> dict[str, Any]:
        return {"n": 1, "log": [f"at {n}"]}

    @graph.node(writes=["n"])
    async def look(n: int, until: int, ctx: Context) -> ContinueAsNew | Update:
        if n == until:
            return Update(goto=[])
        if n % per_run == 0:
            return ContinueAsNew({"log": [f"anew at {n}"]})
        return Update(goto="step")

    graph.start(step)
    graph.edge(step, look)
    graph.goto(look, [step]) if hasattr(graph, "goto") else None
    return graph
