"""Graphs from end to end: super-steps, reducers, branches, sends, joins, isolation."""

import asyncio
from typing import Annotated, TypedDict

import pytest

from windlass import END, Graph, Initial, RunFailed, Runtime, Send, Update, add, append, maximum, merge, unique_by


class State(TypedDict):
    """Channels of the test graphs."""

    n: int
    log: Annotated[list[str], append]
    votes: Annotated[dict[str, int], merge]
    best: Annotated[int, maximum, Initial(0)]
    total: Annotated[int, add, Initial(0)]
    seen: Annotated[list[list[int]], unique_by(lambda pair: pair[0], name="first")]


def more(n: int) -> str:
    """Loop until three."""
    return END if n >= 3 else "step"


def loop() -> Graph:
    """A graph with a cycle and a state-based exit."""
    graph = Graph("loop", State, step_limit=50)

    @graph.node(writes=["n", "log", "votes", "best", "total", "seen"])
    async def step(n: int) -> dict[str, object]:
        return {
            "n": n + 1, "log": [f"at {n}"], "votes": {f"v{n}": n}, "best": 5 - n, "total": 2,
            "seen": [[n % 2, n]],
        }  # fmt: skip

    graph.start(step)
    graph.branch(step, more, [step, END])
    return graph


async def test_a_loop_ends_by_its_state(runtime: Runtime) -> None:
    result = await runtime.run(loop(), {"n": 0})
    assert result.output == {
        "n": 3, "log": ["at 0", "at 1", "at 2"], "votes": {"v0": 0, "v1": 1, "v2": 2}, "best": 5, "total": 6,
        "seen": [[0, 2], [1, 1]],
    }  # fmt: skip
    replayed = await runtime.replay(result.run)
    assert replayed.differing == ()
    assert replayed.checkpoints == 4
    assert replayed.state == result.output
    assert (await runtime.state(result.run, at=2))["log"] == ["at 0"]
    assert (await runtime.diff(result.run, 2, 3))["n"] == (1, 2)


async def test_the_step_limit_fires_and_leaves_the_plan(runtime: Runtime) -> None:
    graph = Graph("endless", State, step_limit=5)

    @graph.node(writes=["n"])
    async def step(n: int) -> dict[str, int]:
        return {"n": n + 1}

    graph.start("step")
    graph.edge("step", "step")
    with pytest.raises(RunFailed, match="5 steps"):
        await runtime.run(graph, {"n": 0}, id="endless")
    assert (await runtime.state("endless"))["n"] == 5


async def test_sends_fan_out_and_the_join_waits_for_all(runtime: Runtime) -> None:
    graph = Graph("fan", State)

    @graph.node(sends=["work"])
    async def split(n: int) -> Update:
        return Update(sends=[Send("work", place) for place in range(n)])

    @graph.node(writes=["log"])
    async def work(item: int) -> dict[str, list[str]]:
        await asyncio.sleep((item * 7 % 3) / 1000)
        return {"log": [str(item)]}

    @graph.node(writes=["n"])
    async def join(log: list[str]) -> dict[str, int]:
        return {"n": len(log)}

    graph.start("split")
    graph.edge("work", "join")
    result = await runtime.run(graph, {"n": 25})
    assert result.output["log"] == [str(n) for n in range(25)]
    assert result.output["n"] == 25


async def test_a_join_waits_for_branches_of_different_length(runtime: Runtime) -> None:
    graph = Graph("join", State)
    for name in ("a", "b", "c"):

        async def node(name: str = name) -> dict[str, list[str]]:
            return {"log": [name]}

        async def run_a() -> dict[str, list[str]]:
            return {"log": ["a"]}

    @graph.node(writes=["log"])
    async def short() -> dict[str, list[str]]:
        return {"log": ["short"]}

    @graph.node(writes=["log"])
    async def long1() -> dict[str, list[str]]:
        return {"log": ["long1"]}

    @graph.node(writes=["log"])
    async def long2() -> dict[str, list[str]]:
        return {"log": ["long2"]}

    @graph.node(writes=["log"])
    async def end(log: list[str]) -> dict[str, list[str]]:
        return {"log": [f"end after {len(log)}"]}

    graph.start("short", "long1")
    graph.edge("long1", "long2")
    graph.edge(["short", "long2"], "end")
    assert (await runtime.run(graph, {})).output["log"] == ["long1", "short", "long2", "end after 3"]


async def test_subscribers_run_when_their_channel_changes(runtime: Runtime) -> None:
    graph = Graph("subscribed", State)

    @graph.node(writes=["n"])
    async def first() -> dict[str, int]:
        return {"n": 1}

    @graph.node(on=["n"], writes=["log"])
    async def watcher(n: int) -> dict[str, list[str]]:
        return {"log": [f"saw {n}"]}

    graph.start("first")
    assert (await runtime.run(graph, {})).output["log"] == ["saw 1"]


async def test_a_node_that_mutates_its_list_changes_nothing_anywhere(runtime: Runtime) -> None:
    class Items(TypedDict):
        items: list[dict[str, str]]
        saw: Annotated[list[str], append]

    graph = Graph("isolation", Items)
    reached = asyncio.Event()

    @graph.node(writes=["saw"])
    async def mutator(items: list[dict[str, str]]) -> dict[str, list[str]]:
        items.append({"k": "injected"})
        items[0]["k"] = "changed"
        reached.set()
        return {"saw": ["mutator"]}

    @graph.node(writes=["saw"])
    async def reader(items: list[dict[str, str]]) -> dict[str, list[str]]:
        await reached.wait()
        return {"saw": [str(items)]}

    graph.start("mutator", "reader")
    given = [{"k": "original"}]
    result = await runtime.run(graph, {"items": given})
    assert result.output == {"items": [{"k": "original"}], "saw": ["mutator", "[{'k': 'original'}]"]}
    assert given == [{"k": "original"}]


async def test_two_writers_of_one_value_fail_the_run_and_apply_nothing(runtime: Runtime) -> None:
    graph = Graph("two", State)

    def both() -> list[str]:
        return ["a", "b"]

    @graph.node
    async def begin() -> None:
        return None

    @graph.node(writes=["n", "log"])
    async def a() -> dict[str, object]:
        return {"n": 1, "log": ["a"]}

    @graph.node(writes=["n", "log"])
    async def b() -> dict[str, object]:
        return {"n": 2, "log": ["b"]}

    graph.start("begin")
    graph.branch("begin", both, ["a", "b"])
    with pytest.raises(RunFailed, match="a#1 and b#1"):
        await runtime.run(graph, {"n": 0}, id="two")
    assert await runtime.state("two") == {"n": 0, "log": [], "votes": {}, "best": 0, "total": 0, "seen": []}


async def test_goto_replaces_edges(runtime: Runtime) -> None:
    graph = Graph("goto", State)

    @graph.node(writes=["n"])
    async def ask(n: int) -> Update:
        return Update(n=n + 1, goto="ask" if n < 2 else END)

    @graph.node(writes=["log"])
    async def never() -> dict[str, list[str]]:
        return {"log": ["never"]}

    graph.start("ask")
    graph.edge("ask", "never")
    assert (await runtime.run(graph, {"n": 0})).output["n"] == 3


@pytest.mark.parametrize("chosen", [None, 5, ["look", None]])
async def test_a_branch_that_chooses_nothing_that_there_is_fails_the_run(runtime: Runtime, chosen: object) -> None:
    graph = Graph("blind", State)

    @graph.node(writes=["n"])
    async def look() -> dict[str, int]:
        return {"n": 1}

    def choose(n: int) -> object:
        return chosen

    graph.start(look)
    graph.branch(look, choose, [look, END])  # type: ignore[arg-type]
    with pytest.raises(RunFailed, match="branch choose after look chose"):
        await runtime.run(graph, {}, id="r")
