"""Continue-as-new: a run that goes on as a new one, with a fresh log and the state that it had."""

import asyncio
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from windlass import END, Context, ContinueAsNew, Graph, Initial, Pipeline, RunFailed, Runtime, add, append, task
from windlass.core.errors import RunState
from windlass.core.queries import Commands
from windlass.core.records import Command
from windlass.core.states import CANCELLED, COMPLETED
from windlass.core.thread_errors import TurnOver


class Count(TypedDict):
    """A counter that goes on for long."""

    n: Annotated[int, add, Initial(0)]
    log: Annotated[list[str], append]
    until: int


TOLD = ("run.created", "run.begun", "run.completed", "run.continued")


def counter(per_run: int = 3, **options: Any) -> Graph:
    """Count to `until`, a few steps a run; a run could not do it alone."""
    graph = Graph("counter", Count, step_limit=2 * per_run + 1, **options)

    @graph.node(writes=["n", "log"])
    async def step(n: int, ctx: Context) -> dict[str, Any]:
        if n == 4 and options.get("version") == "asks":
            await ctx.ask("go on?", str)
        return {"n": 1, "log": [f"at {n}"]}

    @graph.node()
    async def look(n: int, until: int) -> ContinueAsNew | None:
        return ContinueAsNew({"log": [f"anew at {n}"]}) if n % per_run == 0 and n < until else None

    def more(n: int, until: int) -> str:
        return END if n >= until else "step"

    graph.start(step)
    graph.edge(step, look)
    graph.branch(look, more, [step, END])
    return graph


async def test_a_run_goes_on_as_a_new_one_and_whoever_waits_hears_its_end(runtime: Runtime) -> None:
    result = await runtime.run(counter(), {"until": 7}, "long")
    assert result.status == COMPLETED
    assert result.output["n"] == 7
    assert result.output["log"] == [
        "at 0", "at 1", "at 2", "anew at 3", "at 3", "at 4", "at 5", "anew at 6", "at 6",
    ]  # fmt: skip
    later = await runtime.thread("long")
    assert [(one.turn, one.part, one.head.status) for one in later] == [(1, 1, COMPLETED), (1, 2, COMPLETED)]
    assert result.run == later[-1].id
    assert (await runtime.wait("long")).run == result.run
    assert (await runtime.get("long")).head.status is COMPLETED
    assert (await runtime.state("long"))["n"] == 3
    for run in ("long", *(one.id for one in later)):
        assert (await runtime.replay(run)).differing == ()
    last = [event async for event in runtime.events("long")][-1]
    assert (last.type, last.address, last.data) == (
        "run.continued",
        "look#3",
        {"run": later[0].id, "dropped": ["step#4"]},
    )


async def test_execute_follows_the_chain(runtime: Runtime) -> None:
    events = [event async for event in runtime.execute(counter(), {"until": 7}, "long")]
    assert len({event.run for event in events}) == 3
    kinds = [event.type for event in events if event.type in TOLD]
    onward = ["run.completed", "run.continued", "run.created", "run.begun"]
    assert kinds == ["run.created", *onward, *onward, "run.completed"]


async def test_attaching_goes_on_with_the_run_that_a_process_continued_as_and_left(tmp_path: Path) -> None:
    url, graph, left = f"sqlite:///{tmp_path}/c.db", Graph("left", Count), asyncio.Event()

    @graph.node(writes=["n"])
    async def step(n: int) -> dict[str, int] | ContinueAsNew:
        if n == 1 and not left.is_set():
            left.set()
            await asyncio.sleep(60)
        return {"n": 1} if n else ContinueAsNew({"n": 1})

    graph.start(step)
    async with Runtime(url) as runtime:
        await runtime.start(graph, {}, "long")
        await left.wait()
    async with Runtime(url) as runtime, asyncio.timeout(10):
        assert (await runtime.get("long")).head.status is COMPLETED
        assert (await runtime.run(graph, {}, "long")).output["n"] == 2


async def test_what_was_queued_comes_after_the_continuation(url: str) -> None:
    graph = counter(version="asks")
    async with Runtime(url) as runtime:
        first = await runtime.run(graph, {"until": 7}, "one", thread="t")
        turns = await runtime.thread("t")
        assert [(one.turn, one.part) for one in turns] == [(1, 0), (1, 1)]
        assert first.run == turns[-1].id
        await runtime.start(graph, {"until": 9}, "two", thread="t")
        await runtime.answer(first.waiting[0], "yes")
        async with asyncio.timeout(5):
            while (result := await runtime.wait("two")).status != COMPLETED:
                pass
        assert [(one.turn, one.part) for one in await runtime.thread("t")][:4] == [(1, 0), (1, 1), (1, 2), (2, 0)]
    assert [line for line in result.output["log"] if line.startswith("at")] == [f"at {n}" for n in range(9)]


async def test_an_interrupt_reaches_the_run_that_goes_on(runtime: Runtime) -> None:
    graph = counter(version="asks")
    first = await runtime.run(graph, {"until": 7}, "one", thread="t")
    result = await runtime.run(graph, {"until": 5}, "two", thread="t", on_busy="interrupt")
    assert (await runtime.get(first.run)).head.status is CANCELLED
    assert result.waiting  # it asks at the same count, itself
    assert (await runtime.state("two"))["n"] == 4


async def test_a_run_that_went_on_cannot_be_taken_back(runtime: Runtime) -> None:
    await runtime.run(counter(), {"until": 7}, "long")
    for run in ("long", (await runtime.thread("long"))[0].id):
        with pytest.raises(TurnOver):
            await runtime.rollback(run, 1)
    forked = await runtime.fork("long", at=2)
    assert (await runtime.wait(forked)).output["n"] == 7


@pytest.mark.parametrize("thread", ["", "t"])
async def test_a_rollback_that_came_as_the_run_went_on_falls_away(runtime: Runtime, thread: str) -> None:
    graph, posted = Graph("late", Count), list[str]()

    @graph.node(writes=["n"])
    async def step() -> dict[str, int]:
        return {"n": 1}

    @graph.node()
    async def look(n: int, until: int) -> ContinueAsNew | None:
        if not posted:  # and nobody hears of it before the run has gone on
            posted.append("c")
            await runtime.store.post(Command(id="c", run="late", verb="rollback", arguments={"to": 1}))
        return ContinueAsNew() if n < until else None

    graph.start(step)
    graph.edge(step, look)
    async with asyncio.timeout(10):
        result = await runtime.run(graph, {"until": 3}, "late", thread=thread)
        assert result.output["n"] == 3
        with pytest.raises(RunState):
            await runtime.resume("late")
        again = await runtime.run(graph, {"until": 4}, thread=thread or "late")
    assert again.output["n"] == 4
    assert (await runtime.get("late")).head.status is COMPLETED
    assert await runtime.store.find(Commands(run="late")) == []


async def test_a_new_input_to_the_thread_of_a_run_that_went_on(runtime: Runtime) -> None:
    await runtime.run(counter(), {"until": 7}, "long")
    result = await runtime.run(counter(), {"until": 8}, thread="long")
    assert result.output["n"] == 8
    assert [(one.turn, one.part) for one in await runtime.thread("long")] == [(1, 1), (1, 2), (2, 0)]


async def test_the_runs_before_may_be_pruned(url: str) -> None:
    async with Runtime(url) as runtime:
        result = await runtime.run(counter(version="asks"), {"until": 7}, "long")
        assert (await runtime.store.maintain("prune", before=2e12, keep="nothing"))["runs"] == 1
        await runtime.answer(result.waiting[0], "yes")
    async with Runtime(url, [counter(version="asks")]) as runtime:
        await runtime.resume(result.run)
        assert (await runtime.wait(result.run)).output["n"] == 7
        last = (await runtime.thread("long"))[-1].id
        assert (await runtime.replay(last)).differing == ()


async def test_many_runs_in_a_row(runtime: Runtime) -> None:
    assert (await runtime.run(counter(1), {"until": 200}, "long")).output["n"] == 200
    assert len(await runtime.thread("long", limit=1_000)) == 199


@task
async def anew(n: int) -> Any:
    return ContinueAsNew({"n": n})


async def test_a_pipeline_and_a_child_run_cannot_continue(runtime: Runtime) -> None:
    with pytest.raises(RunFailed, match="Pipeline has no state"):
        await runtime.run(Pipeline("p", [anew]), 1)

    @task
    async def parent(ctx: Context) -> Any:
        return (await ctx.run(counter(), {"until": 7}))["n"]

    with pytest.raises(RunFailed, match="child run"):
        await runtime.run(Pipeline("above", [parent], children=[counter()]))


async def test_a_node_continues_while_a_subgraph_beside_it_has_steps_to_go(runtime: Runtime) -> None:
    inner = Graph("team", Count)

    @inner.node(writes=["log"])
    async def write(log: list[str]) -> dict[str, Any]:
        return {"log": [f"write {len(log)}"]}

    def more(log: list[str]) -> str:
        return "write" if len(log) < 3 else END

    inner.start(write)
    inner.branch(write, more, [write, END])
    outer = Graph("outer", Count)

    @outer.node()
    async def look(n: int) -> ContinueAsNew | None:
        return ContinueAsNew({"n": 1}) if n < 1 else None

    outer.subgraph(inner, id="team", reads={"log": "log"}, writes={"log": "log"})
    outer.start("look", "team")
    result = await runtime.run(outer, {"until": 1}, "beside")
    assert result.status == COMPLETED
    assert result.output["log"] == ["write 0", "write 1", "write 2", "write 3"]
    assert result.run.startswith("beside~1-")


async def test_two_nodes_of_one_step_cannot_both_continue(runtime: Runtime) -> None:
    graph = Graph("both", Count)

    @graph.node()
    async def a(n: int) -> ContinueAsNew:
        return ContinueAsNew()

    @graph.node()
    async def b(n: int) -> ContinueAsNew:
        return ContinueAsNew()

    graph.start(a)
    graph.start(b)
    with pytest.raises(RunFailed, match="twice"):
        await runtime.run(graph, {"until": 1}, "r")
    assert await runtime.thread("r") == []


async def test_a_wrong_input_of_the_next_run_fails_the_attempt(runtime: Runtime) -> None:
    graph = Graph("wrong", Count)

    @graph.node()
    async def a(n: int) -> ContinueAsNew:
        return ContinueAsNew({"nothing": 1})

    graph.start(a)
    with pytest.raises(RunFailed, match="no channel 'nothing'"):
        await runtime.run(graph, {"until": 1}, "r")
