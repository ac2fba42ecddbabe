"""What nesting costs, runs or frames four deep beside one run with the same steps: `python -m benchmarks.nesting`.

Each level takes some steps and then has the next one, as a child run or as a sub-graph (a frame of the same run). The
flat run takes as many steps as all levels. All three are timed in turns, and a ratio is that of their medians; the
store writes every step durably (`sync`).
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, TypedDict

from windlass import END, Context, Graph, Runtime

DEEP, ROUNDS, MOST_RATIO = 4, 15, 1.5


class State(TypedDict):
    """How far it is, and how many steps are left."""

    n: int
    left: int


def level(depth: int, steps: int) -> Graph:
    """Make a graph that counts, and below it as many levels as are left."""
    graph = Graph(f"level-{depth}", State, children=[level(depth - 1, steps)] if depth > 1 else [])

    @graph.node(writes=["n", "left"])
    async def step(n: int, left: int) -> dict[str, Any]:
        return {"n": n + 1, "left": left - 1}

    @graph.node(writes=["n"])
    async def down(n: int, ctx: Context) -> dict[str, Any]:
        below = await ctx.run(f"level-{depth - 1}", {"n": n, "left": steps}) if depth > 1 else {"n": n}
        return {"n": below["n"] + 1}

    def more(left: int) -> str:
        return "step" if left else "down"

    graph.start(step)
    graph.branch(step, more, [step, down])
    return graph


def framed(depth: int, steps: int) -> Graph:
    """Make a graph that counts, and within it as many levels as are left, each a sub-graph."""
    graph = Graph(f"frame-{depth}", State)

    @graph.node(writes=["n", "left"])
    async def step(n: int, left: int) -> dict[str, Any]:
        return {"n": n + 1, "left": left - 1}

    @graph.node(writes=["n", "left"])
    async def down(n: int) -> dict[str, Any]:
        return {"n": n + 1, "left": steps}

    def more(left: int) -> str:
        return "step" if left else "down"

    graph.start(step)
    graph.branch(step, more, [step, down])
    if depth > 1:
        graph.edge(down, graph.subgraph(framed(depth - 1, steps), id="below"))
    return graph


def flat() -> Graph:
    """Make one graph that counts."""
    graph = Graph("flat", State)

    @graph.node(writes=["n", "left"])
    async def step(n: int, left: int) -> dict[str, Any]:
        return {"n": n + 1, "left": left - 1}

    def more(left: int) -> str:
        return "step" if left else END

    graph.start(step)
    graph.branch(step, more, [step, END])
    return graph


async def compare(
    url: str, steps: int, rounds: int = ROUNDS, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, float, float]:
    """Return the seconds that child runs take, frames, and a flat run: medians."""
    nested, frames, plain = level(DEEP, steps), framed(DEEP, steps), flat()
    seconds: dict[Graph, list[float]] = {nested: [], frames: [], plain: []}
    async with Runtime(url, [nested, frames, plain]) as runtime:
        for _ in range(rounds):
            for definition, left in ((nested, steps), (frames, steps), (plain, (steps + 1) * DEEP)):
                begun = clock()
                result = await runtime.run(definition, {"n": 0, "left": left})
                seconds[definition].append(clock() - begun)
                if result.output["n"] != (steps + 1) * DEEP:
                    raise AssertionError(result)
    return median(seconds[nested]), median(seconds[frames]), median(seconds[plain])


def main(given: list[str] | None = None) -> int:
    """Print a line for each store and size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nesting", description=__doc__)
    parser.add_argument("--steps", type=int, action="append", help="of each level; default 10, 25 and 50")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument(
        "--cpu", action="store_true", help="count processor time, which others on the machine share less"
    )
    parser.add_argument("--folder", type=Path, help="for databases, on a disk")
    asked = parser.parse_args(given)
    for steps in asked.steps or (10, 25, 50):
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            for url in ("memory:", f"sqlite:///{folder}/runs.db"):
                clock = time.process_time if asked.cpu else time.perf_counter
                nested, frames, plain = asyncio.run(compare(url, steps, asked.rounds, clock))
                said = f"{steps:>4} steps a level, {url.partition(':')[0]:<6}  flat {plain * 1000:7.2f} ms"
                for name, took in (("child runs", nested), ("frames", frames)):
                    said += f"  {name} {took * 1000:7.2f} ms, ratio {took / plain:.2f}"
                print(said)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
