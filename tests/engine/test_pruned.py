"""Runs whose history was pruned: what can still be addressed, what says that it was pruned, and that they go on."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
import pytest_asyncio

from windlass import END, Context, Graph, Result, Runtime, append
from windlass.core import queries
from windlass.core.errors import CheckpointUnknown
from windlass.engine import reads, tree
from windlass.stores.base import Store, open_store

BIG = "a long text " * 7_000  # stands out of line
AGES = {"before": 1e11, "keep": "heads"}


class State(TypedDict):
    n: int
    log: Annotated[list[str], append]
    big: str


def counter(until: int, gate: asyncio.Event | None = None) -> Graph:
    """A loop that asks at its end, makes a savepoint at 5, and keeps a large value that changes now and then."""
    graph = Graph("counter", State, step_limit=until + 10)

    @graph.node(writes=["n", "log", "big"])
    async def count(n: int, ctx: Context) -> dict[str, Any]:
        if n == 5:
            ctx.savepoint("five")
        if n == until - 1:
            await ctx.ask("well?")
        if gate is not None:
            await gate.wait()
        return {"n": n + 1, "log": [f"step {n}"], "big": f"{n // 4} {BIG}"}

    def more(n: int) -> str:
        return END if n >= until else "count"

    graph.start(count)
    graph.branch(count, more, [count, END])
    return graph


async def answered(runtime: Runtime, waiting: Result) -> Result:
    """Answer a run's question and see it to its end."""
    await runtime.answer(waiting.waiting[0], "yes")
    await runtime.resume(waiting.run)
    return await runtime.wait(waiting.run)


@pytest_asyncio.fixture(params=["memory:", "sqlite:///{}/runs.db"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store = open_store(request.param.format(tmp_path))
    await store.open()
    yield store
    await store.close()


async def test_a_waiting_run_goes_on_after_its_history_was_pruned(store: Store) -> None:
    graph = counter(20)
    async with Runtime(store, [graph]) as runtime:
        waiting = await runtime.run(graph, {"n": 0}, id="r")
        assert waiting.status == "waiting"
        before = await runtime.state("r")
        told = await store.maintain("prune", **AGES, grace=0)
        assert told["rows"] > 10
        assert await runtime.state("r") == before
        assert (await runtime.replay("r")).differing == ()
        done = await answered(runtime, waiting)
        assert (done.status, done.output["n"], len(done.output["log"])) == ("completed", 20, 20)
        assert (await runtime.replay("r")).differing == ()


async def test_savepoints_and_the_head_are_addressed_and_the_rest_says_that_it_was_pruned(store: Store) -> None:
    graph = counter(12)
    async with Runtime(store, [graph]) as runtime:
        await runtime.run(graph, {"n": 0}, id="r")
        at_five = await runtime.state("r", at="five")
        head = await runtime.state("r")
        await store.maintain("prune", **AGES, grace=0)
        assert await runtime.state("r", at="five") == at_five
        assert await runtime.state("r") == head
        with pytest.raises(CheckpointUnknown, match="pruned"):
            await runtime.state("r", at=3)
        with pytest.raises(CheckpointUnknown, match="pruned"):
            await runtime.fork("r", at=3)
        with pytest.raises(CheckpointUnknown, match="pruned"):
            await runtime.rollback("r", to=3)
        with pytest.raises(CheckpointUnknown, match="has no checkpoint 99"):
            await runtime.state("r", at=99)
        told = [event.type async for event in runtime.events("r")]
        assert told[0] == "log.pruned"


async def test_a_checkpoint_that_goes_between_its_look_up_and_its_reading_is_told(store: Store) -> None:
    graph = counter(12)
    async with Runtime(store, [graph]) as runtime:
        await runtime.run(graph, {"n": 0}, id="r")
        record = await reads.get(store, "r")
        rows = await tree.steps(store, "r")
        await store.maintain("prune", **AGES, grace=0)
        for row in rows[1:4]:
            with pytest.raises(CheckpointUnknown, match=f"event {row.last} was pruned"):
                await tree.position_at(store, record, row.last)
        last = await tree.position_at(store, record, rows[-1].last)
        assert last.n == rows[-1].n


async def test_a_rollback_to_a_savepoint_runs_again_after_a_prune(store: Store) -> None:
    graph = counter(12)
    async with Runtime(store, [graph]) as runtime:
        waiting = await runtime.run(graph, {"n": 0}, id="r")
        await store.maintain("prune", **AGES, grace=0)
        await runtime.rollback("r", to="five")
        await store.maintain("prune", **AGES, grace=0)
        assert (await runtime.state("r"))["n"] == 6
        await runtime.resume("r")
        again = await runtime.wait("r")
        assert again.waiting != waiting.waiting
        done = await answered(runtime, again)
        assert done.output["log"] == [f"step {n}" for n in range(12)]
        assert (await runtime.replay("r")).differing == ()


async def test_a_fork_lives_when_its_parent_is_pruned(store: Store) -> None:
    graph = counter(12)
    async with Runtime(store, [graph]) as runtime:
        waiting = await runtime.run(graph, {"n": 0}, id="r")
        at_four = await runtime.state("r", at=4)
        fork = await runtime.fork("r", at=4, id="f")
        await runtime.wait(fork)
        await store.maintain("prune", **AGES, grace=0)
        assert (await runtime.state("r", at=4))["n"] == at_four["n"]
        await runtime.cancel("r")
        told = await store.maintain("prune", before=1e11, grace=0)
        assert told["kept"] == {"forked": 1}
        assert (await runtime.state(fork))["big"].endswith(BIG)
        of_fork = await runtime.wait(fork)
        assert of_fork.waiting != waiting.waiting
        assert (await answered(runtime, of_fork)).status == "completed"
        assert (await store.maintain("prune", before=1e11, grace=0))["runs"] == 2
        assert await store.find(queries.Runs()) == []


async def test_a_run_that_is_being_driven_is_pruned_meanwhile(store: Store) -> None:
    gate = asyncio.Event()
    gate.set()
    graph = counter(150, gate)
    async with Runtime(store, [graph]) as runtime:
        await runtime.start(graph, {"n": 0}, id="r")
        dropped = 0
        for _ in range(8):
            dropped += (await store.maintain("prune", **AGES, grace=0))["rows"]
            await asyncio.sleep(0.01)
        waiting = await runtime.wait("r")
        dropped += (await store.maintain("prune", **AGES, grace=0))["rows"]
        assert dropped > 140
        done = await answered(runtime, waiting)
        assert done.output["log"] == [f"step {n}" for n in range(150)]
        assert (await runtime.state("r", at="five"))["n"] == 6
        assert (await runtime.replay("r")).differing == ()


async def test_the_same_large_value_again_outlives_the_prune_of_the_row_that_brought_it(store: Store) -> None:
    """An owner has a value at hand that its log need not name any more; a later row refers to it all the same."""
    graph = Graph("again", State, step_limit=10)
    pruned: list[Any] = []

    @graph.node(writes=["n", "big"])
    async def count(n: int) -> dict[str, Any]:
        if n == 2:
            pruned.append(await store.maintain("prune", **AGES, grace=0))
        return {"n": n + 1, "big": "small" if n == 1 else BIG}

    def more(n: int) -> str:
        return END if n == 4 else "count"

    graph.start(count)
    graph.branch(count, more, [count, END])
    async with Runtime(store, [graph]) as runtime:
        done = await runtime.run(graph, {"n": 0}, id="r")
        assert done.output["big"] == BIG
        assert pruned[0]["rows"]
        await store.maintain("prune", **AGES, grace=0)
        assert (await runtime.state("r"))["big"] == BIG
