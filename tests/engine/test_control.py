"""Steering: pause, cancel, resume, rollback, fork, from this process and from another."""

import asyncio
from typing import Annotated, Any, TypedDict

import pytest

from windlass import (
    END,
    SAVEPOINTS,
    Context,
    Graph,
    Pipeline,
    Runtime,
    append,
    task,
)
from windlass.core.errors import CheckpointUnknown, DefinitionChanged, InputError, RunOwned, RunState, RunUnknown
from windlass.core.queries import Commands


class State(TypedDict):
    """Channels of the test graph."""

    n: int
    log: Annotated[list[str], append]


def counter(limit: int, pace: float = 0.0, name: str = "counter", **options: Any) -> Graph:
    """Count up to a limit, at a pace."""
    graph = Graph(name, State, step_limit=1000, **options)

    @graph.node(writes=["n", "log"])
    async def step(n: int, ctx: Context) -> dict[str, object]:
        await asyncio.sleep(pace)
        if n == 2:
            ctx.savepoint("two")
        return {"n": n + 1, "log": [f"{n}"]}

    def more(n: int) -> str:
        return END if n >= limit else "step"

    graph.start(step)
    graph.branch(step, more, [step, END])
    return graph


async def reached(runtime: Runtime, run: str, n: int) -> None:
    """Wait until a counter has come to n."""
    while (await runtime.state(run)).get("n", 0) < n:  # noqa: ASYNC110 -- a test waits by looking
        await asyncio.sleep(0.002)


async def test_pause_stops_at_a_boundary_and_resume_goes_on(runtime: Runtime) -> None:
    run = await runtime.start(counter(20, 0.005), {"n": 0})
    await reached(runtime, run, 3)
    await runtime.pause(run)
    assert (await runtime.get(run)).head.status == "paused"
    stopped = (await runtime.state(run))["n"]
    await asyncio.sleep(0.02)
    assert (await runtime.state(run))["n"] == stopped
    await runtime.resume(run)
    assert (await runtime.wait(run)).output["n"] == 20


async def test_an_immediate_pause_interrupts_the_node(runtime: Runtime) -> None:
    run = await runtime.start(counter(2, 30), {"n": 0})
    await asyncio.sleep(0.02)
    await runtime.pause(run, immediate=True)
    assert (await runtime.get(run)).head.status == "paused"


async def test_resume_with_edits_sets_channels(runtime: Runtime) -> None:
    run = await runtime.start(counter(20, 0.005), {"n": 0})
    await reached(runtime, run, 2)
    await runtime.pause(run)
    with pytest.raises(InputError, match="no channel 'm'"):
        await runtime.resume(run, edits={"m": 1})
    await runtime.resume(run, edits={"n": 18})
    result = await runtime.wait(run)
    assert result.output["n"] == 20
    assert result.output["log"][-2:] == ["18", "19"]


async def test_cancel_ends_a_run_and_withdraws_its_questions(runtime: Runtime) -> None:
    @task
    async def ask(n: int, ctx: Context) -> str:
        return await ctx.ask("well?", str)

    await runtime.run(Pipeline("ask", tasks=[ask]), 0, id="a")
    await runtime.cancel("a")
    assert (await runtime.get("a")).head.status == "cancelled"
    assert await runtime.questions() == []
    with pytest.raises(RunState, match="cancelled"):
        await runtime.resume("a")
    run = await runtime.start(counter(2, 30), {"n": 0})
    await asyncio.sleep(0.01)
    await runtime.cancel(run)
    assert (await runtime.wait(run)).status == "cancelled"
    with pytest.raises(RunUnknown):
        await runtime.cancel("nobody")


@pytest.mark.parametrize("target", [3, ("step", 3), "two"])
async def test_rollback_goes_back_on_a_new_branch(runtime: Runtime, target: Any) -> None:
    result = await runtime.run(counter(5), {"n": 0})
    run = result.run
    await runtime.rollback(run, target)
    record = await runtime.get(run)
    assert record.head.status == "paused"
    assert record.head.branch == 1
    assert (await runtime.state(run))["n"] == (3 if target == "two" else 2)
    await runtime.resume(run)
    assert (await runtime.wait(run)).output == result.output
    assert (await runtime.replay(run)).differing == ()
    with pytest.raises(CheckpointUnknown):
        await runtime.rollback(run, 99)


async def test_rollback_undoes_effects_in_reverse_order(runtime: Runtime) -> None:
    world: list[str] = []

    async def remove(name: str) -> None:
        world.append(f"remove {name}")

    async def create(name: str) -> str:
        world.append(f"create {name}")
        return name

    @task
    async def plan(name: str) -> str:
        return name

    @task(undo=[remove])
    async def build(plan: str, ctx: Context) -> str:
        await ctx.effect("one", create, f"{plan}1", undo=remove)
        await ctx.effect("two", create, f"{plan}2", undo=remove)
        await ctx.effect("left", create, f"{plan}3")
        return plan

    pipeline = Pipeline("build", tasks=[plan, build])
    await runtime.run(pipeline, "x", id="b")
    await runtime.rollback("b", ("build", 1))
    assert world == ["create x1", "create x2", "create x3", "remove x2", "remove x1"]
    (back,) = [e async for e in runtime.events("b") if e.type == "run.rolled_back"]
    assert back.data["standing"] == ["build#1 left"]
    await runtime.resume("b")
    assert (await runtime.wait("b")).output == "x"
    # Undone effects happen again under a new key; the one that stands is adopted.
    assert world[5:] == ["create x1", "create x2"]
    kinds = [event.type async for event in runtime.events("b")]
    assert kinds.count("effect.adopted") == 1


async def test_a_second_rollback_undoes_what_an_earlier_branch_did(runtime: Runtime) -> None:
    world: list[str] = []

    async def remove(name: str) -> None:
        world.append(f"remove {name}")

    async def create(name: str) -> str:
        world.append(f"create {name}")
        return name

    @task(undo=[remove])
    async def first(name: str, ctx: Context) -> str:
        await ctx.effect("make", create, f"{name}1", undo=remove)
        return name

    @task(undo=[remove])
    async def second(first: str, ctx: Context) -> str:
        await ctx.effect("make", create, f"{first}2", undo=remove)
        return first

    await runtime.run(Pipeline("twice", tasks=[first, second]), "x", id="t")
    await runtime.rollback("t", ("second", 1))
    await runtime.rollback("t", ("first", 1))
    assert world == ["create x1", "create x2", "remove x2", "remove x1"]


async def test_a_pipeline_rolls_back_a_node_and_what_depends_on_it(runtime: Runtime) -> None:
    made: list[str] = []

    @task
    async def a(n: int) -> int:
        made.append("a")
        return n

    @task
    async def b(a: int) -> int:
        made.append("b")
        return a + 1

    @task
    async def c(a: int) -> int:
        made.append("c")
        return a + 2

    @task
    async def d(b: int, c: int) -> int:
        made.append("d")
        return b * c

    pipeline = Pipeline("abcd", tasks=[a, b, c, d])
    await runtime.run(pipeline, 1, id="p")
    made.clear()
    await runtime.rollback("p", ("c", 1))
    await runtime.resume("p")
    assert (await runtime.wait("p")).output == 6
    assert made == ["c", "d"]


async def test_fork_copies_a_checkpoint_into_a_new_run(runtime: Runtime) -> None:
    result = await runtime.run(counter(5), {"n": 0})
    fork = await runtime.fork(result.run, at=3, edits={"n": 4})
    forked = await runtime.wait(fork)
    assert forked.output == {"n": 5, "log": ["0", "1", "4"]}
    assert (await runtime.get(fork)).parent is not None
    assert (await runtime.state(result.run))["n"] == 5
    again = await runtime.wait(await runtime.fork(result.run, at=3))
    assert again.output == result.output


async def test_the_strategy_says_which_checkpoints_stay(runtime: Runtime) -> None:
    result = await runtime.run(counter(5, name="saved", checkpoints=SAVEPOINTS), {"n": 0})
    with pytest.raises(CheckpointUnknown, match="not kept"):
        await runtime.rollback(result.run, 3)
    assert (await runtime.state(result.run, at="two"))["n"] == 3


async def test_a_changed_structure_is_refused_and_a_changed_body_is_not(url: str) -> None:
    async with Runtime(url) as runtime:
        run = await runtime.start(counter(50, 0.005), {"n": 0}, id="r")
        await reached(runtime, run, 1)
        await runtime.pause(run)
    other = Graph("counter", State)

    @other.node(writes=["n"])
    async def step(n: int) -> dict[str, int]:
        return {"n": n}

    other.start("step")
    async with Runtime(url, [other]) as runtime:
        before = await runtime.get("r")
        with pytest.raises(DefinitionChanged, match="step") as caught:
            await runtime.resume("r")
        assert before.fingerprint in str(caught.value)
        assert await runtime.get("r") == before
    async with Runtime(url, [counter(4)]) as runtime:
        await runtime.resume("r")
        assert (await runtime.wait("r")).output["n"] >= 4


async def test_commands_reach_an_owner_in_another_runtime(url: str) -> None:
    async with Runtime(url) as owner, Runtime(url, [counter(3)]) as other:
        run = await owner.start(counter(200, 0.002), {"n": 0}, id="r")
        await reached(other, run, 2)
        with pytest.raises(RunOwned, match="until"):
            await other.resume(run)
        await other.pause(run)
        assert (await other.get(run)).head.status == "paused"
        assert not owner.driving
        await other.cancel(run)
        assert (await owner.wait(run)).status == "cancelled"


async def test_a_pause_that_comes_as_the_run_completes_changes_nothing(runtime: Runtime) -> None:
    @task
    async def linger(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "done"

    run = await runtime.start(Pipeline("linger", tasks=[linger]), 0.05)
    await asyncio.sleep(0.01)
    await runtime.pause(run)
    assert (await runtime.wait(run)).status == "completed"
    assert await runtime.store.find(Commands(run=run)) == []
