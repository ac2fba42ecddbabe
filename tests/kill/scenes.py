"""What is killed: a pipeline and a graph of twelve steps.

Each step makes a recorded call and an effect that asks when it is in doubt; both leave lines in the ledger.
"""

import asyncio
import random
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, TypedDict

from tests.kill.world import ADDRESS, world
from windlass import END, Context, Graph, Pipeline, Task, append
from windlass.core.blueprint import Definition

STEPS = 12
LAYERS = ((1,), (2, 3), (4,), (5, 6), (7,), (8, 9), (10,), (11, 12))  # two effects are under way at times


@dataclass(frozen=True)
class Scene:
    """A definition, its input, and what it must come to.

    Args:
        steps: the addresses, each of which makes one effect, and the value of it.
    """

    definition: Definition
    input: Any
    output: Any
    steps: dict[str, int]


async def think(number: int) -> int:
    """Cost something: a recorded call."""
    world().note("call", sync=False)
    await asyncio.sleep(random.uniform(0, 0.0005))
    return number * 2


async def pay(number: int) -> int:
    """Happen: one line in the world."""
    world().note("begun")
    world().reach("world.begun")
    await asyncio.sleep(random.uniform(0.002, 0.004))
    world().note("done", value=number * 10)
    world().reach("world.done")
    await asyncio.sleep(random.uniform(0.001, 0.003))
    return number * 10


async def work(number: int, ctx: Context) -> int:
    """Do one step."""
    ADDRESS.set(ctx.address)
    world().note("body", sync=False)
    thought: int = await ctx.call("think", think, number)
    paid: int = await ctx.effect("pay", pay, thought // 2)
    return paid


class Paying(Task[Any, int]):
    """One task of the pipeline."""

    def __init__(self, place: int) -> None:
        self.id = f"s{place}"
        self.place = place

    async def execute(self, input: Any, ctx: Context) -> int:
        """Pay, and add what was paid before."""
        before: int = max(input.values()) if isinstance(input, dict) else input
        return await work(self.place, ctx) + before


def _pipeline() -> Scene:
    edges = [(f"s{a}", f"s{b}") for before, after in pairwise(LAYERS) for a in before for b in after]
    tasks = [Paying(place) for place in range(1, STEPS + 1)]
    before = sum(max(layer) * 10 for layer in LAYERS[:-1])
    output = {f"s{place}": before + place * 10 for place in LAYERS[-1]}
    steps = {f"s{place}#1": place * 10 for place in range(1, STEPS + 1)}
    return Scene(Pipeline("layers", tasks, edges), 0, output, steps)


class State(TypedDict):
    """Channels of the loop."""

    n: int
    paid: Annotated[list[int], append]


def _loop() -> Scene:
    graph = Graph("loop", State, step_limit=50)

    @graph.node(writes=["n", "paid"])
    async def step(n: int, ctx: Context) -> dict[str, object]:
        return {"n": n + 1, "paid": [await work(n, ctx)]}

    def more(n: int) -> str:
        return END if n > STEPS else "step"

    graph.start(step)
    graph.branch(step, more, [step, END])
    steps = {f"step#{n}": n * 10 for n in range(1, STEPS + 1)}
    return Scene(graph, {"n": 1}, {"n": STEPS + 1, "paid": list(steps.values())}, steps)


SCENES = {"pipeline": _pipeline(), "graph": _loop()}
