"""Random definitions, and simulations of them: the same results always, in any order and at any pace."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Annotated, Any, TypedDict, TypeVar

from hypothesis import strategies as st

from windlass import (
    END,
    Context,
    Edge,
    Graph,
    Pipeline,
    Runtime,
    Send,
    SyncContext,
    Task,
    Update,
    add,
    append,
    maximum,
    merge,
    task,
    unique_by,
)
from windlass.core.blueprint import Definition
from windlass.stores.base import Store
from windlass.testing.simloop import SimulatedLoop, simulated_seams

T = TypeVar("T")
MOST_NODES = 5


class State(TypedDict):
    """Channels with every reducer, and a value for each node."""

    total: Annotated[int, add]
    log: Annotated[list[str], append]
    votes: Annotated[dict[str, int], merge]
    best: Annotated[int, maximum]
    seen: Annotated[list[list[int]], unique_by(lambda pair: pair[0], name="first")]
    v0: int
    v1: int
    v2: int
    v3: int
    v4: int


class Pace:
    """How long everything takes in one simulation; a definition is compiled once, and simulated at many paces."""

    dice = Random(0)

    @classmethod
    async def wait(cls) -> None:
        """Take any time."""
        await asyncio.sleep(cls.dice.choice((0, 0, 0.001, 0.1, 5.0)) * cls.dice.random())


@dataclass(frozen=True)
class Shape:
    """A random graph: who leads to whom (a branch, back and forth), joins, and who sends how many."""

    nodes: int
    ways: tuple[tuple[int, ...], ...]
    joins: tuple[tuple[int, int, int], ...]
    sends: tuple[int, ...]
    limit: int


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Draw a graph that ends: each step adds to `total`, and from `limit` on nobody leads anywhere."""
    nodes = draw(st.integers(2, MOST_NODES))
    some = st.lists(st.integers(0, nodes - 1), min_size=1, max_size=2, unique=True).map(tuple)
    ways = draw(st.tuples(*[some] * nodes))
    pairs = st.lists(st.integers(0, nodes - 1), min_size=3, max_size=3, unique=True).map(tuple)
    joins = draw(st.lists(pairs, max_size=1)) if nodes > 2 else []
    sends = draw(st.tuples(*[st.sampled_from((0, 0, 3))] * nodes))
    return Shape(nodes, ways, tuple(joins), sends, draw(st.integers(5, 40)))  # type: ignore[arg-type]


def graph_of(shape: Shape) -> Graph:
    """Build a graph of this shape. What a node writes follows from what it reads, and from nothing else."""
    graph = Graph("random", State, step_limit=100)

    def declare(place: int) -> None:
        async def node(total: int, log: list[str], ctx: Context) -> Update:
            await Pace.wait()
            written: int = await ctx.call("look", look, total, place)
            said = f"{ctx.address} at {total} of {len(log)}"
            writes: dict[str, Any] = {
                "total": 1 + place % 2, "log": [said], "votes": {f"n{place}": total},
                "best": total * 7 % 13, "seen": [[total % 3, place]], f"v{place}": written,
            }  # fmt: skip
            return Update(sends=[Send("worker", number) for number in range(shape.sends[place])], **writes)

        def choose(total: int) -> list[str]:
            return [END] if total >= shape.limit else [f"n{way}" for way in shape.ways[place]]

        name = f"n{place}"
        writes = ["total", "log", "votes", "best", "seen", f"v{place}"]
        graph.node(id=name, writes=writes, sends=["worker"] if shape.sends[place] else [])(node)
        graph.branch(name, choose, [*(f"n{way}" for way in shape.ways[place]), END], name=f"after_{place}")

    for place in range(shape.nodes):
        declare(place)

    if any(shape.sends):

        @graph.node(writes=["total", "log", "votes"])
        async def worker(item: int, total: int, ctx: Context) -> dict[str, object]:
            await Pace.wait()
            return {"total": 1, "log": [ctx.address], "votes": {f"w{item}": total}}

    if shape.joins:

        @graph.node(writes=["log"])
        async def joined(log: list[str]) -> dict[str, object]:
            return {"log": [f"joined after {len(log)}"]}

        a, b, _ = shape.joins[0]
        graph.edge([f"n{a}", f"n{b}"], "joined")
    graph.start(*(f"n{place}" for place in range(shape.nodes)))
    return graph


async def look(total: int, place: int) -> int:
    """A call that takes its time."""
    await Pace.wait()
    return total * 10 + place


RICH = graph_of(Shape(5, ((1, 2), (2,), (3, 0), (4,), (0, 1)), ((0, 1, 2),), (3, 0, 0, 3, 0), 90))
GIVEN = {"total": 0}


class Adding(Task[Any, int]):
    """A task that adds up what it is given."""

    def __init__(self, place: int) -> None:
        self.id = f"t{place}"
        self.place = place

    async def execute(self, input: Any, ctx: Context) -> int:
        """Take any time, then add."""
        await Pace.wait()
        return self.place + (sum(map(total_of, input.values())) if isinstance(input, dict) else total_of(input))


def total_of(value: Any) -> int:
    """Add up a number, or a list of them."""
    return sum(value) if isinstance(value, list) else value


@task(id="spread")
async def spread(start: int) -> list[int]:
    """A list to map over."""
    return list(range(start, start + 6))


@task(id="each")
async def each(spread: int, ctx: Context) -> int:
    """One of the list."""
    await Pace.wait()
    return spread * spread


@task(id="plain")
def plain(each: list[int], ctx: SyncContext) -> int:
    """A sync task."""
    return sum(each)


@st.composite
def pipelines(draw: st.DrawFn) -> Pipeline:
    """Draw a pipeline: a map, and tasks each of which depends on some before it."""
    size = draw(st.integers(2, 6))
    edges: list[Any] = [Edge("spread", "each", each=True), ("each", "plain")]
    for place in range(size):
        before = ["each", "plain", *(f"t{earlier}" for earlier in range(place))]
        edges += [(source, f"t{place}") for source in draw(st.lists(st.sampled_from(before), max_size=3, unique=True))]
    return Pipeline("random", [spread, each, plain, *(Adding(place) for place in range(size))], edges)


def simulate(
    definition: Definition, given: Any, seed: int, store: Store | None = None,
    then: Callable[[Runtime], Coroutine[Any, Any, T]] | None = None, **options: Any,
) -> T:  # fmt: skip
    """Run a definition at the pace and in the order of a seed; return what `then` makes of it."""
    loop = SimulatedLoop(Random(seed).randrange)
    Pace.dice = Random(seed)

    async def main() -> Any:
        if store is not None:
            await store.open()
        async with Runtime(store or "memory:", seams=simulated_seams(loop, seed)) as runtime:
            result = await runtime.run(definition, given, id="r", **options)
            return await then(runtime) if then is not None else result

    outcome: T = loop.run(main())
    assert not loop.failures, loop.failures
    return outcome
