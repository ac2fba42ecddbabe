"""`python -m benchmarks redact`: what known secrets and rules cost where they find nothing.

Loops run in one process, in turns, in short blocks, so that what else the machine does meets all of them: one knows no
secret and declares no rule, one knows fifty secrets, one has twenty names that are not kept as well. A figure is the
ratio of the processor time of the fastest quarter of the blocks, beside the quartiles of the ratios of neighbours:
waits for the disk, which would hide it, are not in, and what else the machine does mostly is not.
"""

import argparse
import asyncio
import random
import string
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, quantiles
from typing import Any, NamedTuple, TypedDict

from windlass import END, Context, Graph, Redact, Runtime
from windlass.core.secret import MASKS

SECRETS = 50
MOST_RATIO = 1.05
TEXT = "The parcel was handed over at the door on the third day, as was agreed with the customer. " * 3
NAMES = Redact(names=["password", "*_token", "*_secret", *(f"field_{number}" for number in range(17))])


class Sizes(NamedTuple):
    """Pairs of blocks, and steps of a block on the memory store and on SQLite."""

    pairs: int
    memory: int
    file: int


FULL, QUICK = Sizes(60, 200, 40), Sizes(4, 40, 20)


class State(TypedDict):
    """The state of the loop."""

    n: int
    said: dict[str, Any]


def loop(steps: int, *, calls: bool, redact: Redact | None = None) -> Graph:
    """Build a loop of one node that writes some text, and makes a call as well if it is to."""
    graph = Graph("loop", State, step_limit=steps + 10, redact=redact)

    async def writes(n: int) -> dict[str, Any]:
        return {"n": n + 1, "said": {"text": TEXT, "number": n}}

    async def answer() -> dict[str, Any]:
        return {"text": TEXT}

    async def asks(n: int, ctx: Context) -> dict[str, Any]:
        return {"n": n + 1, "said": await ctx.call("answer", answer)}

    node = graph.node(id="count", writes=["n", "said"])(asks if calls else writes)

    def more(n: int) -> str:
        return END if n >= steps else "count"

    graph.start(node)
    graph.branch(node, more, [node, END])
    graph.compile()
    return graph


def know(number: int) -> None:
    """Know so many secrets, as services give them out, and no others."""
    MASKS.forget()
    dice = random.Random(5)
    for place in range(number):
        MASKS.learn(f"canary-{place}", "".join(dice.choices(string.ascii_letters + string.digits + "-_", k=40)))


async def blocks(url: str, steps: int, pairs: int, *, calls: bool) -> dict[str, list[float]]:
    """Let the loops run in turns; return what each block took, the bare loop's first."""
    sides = {"bare": (0, None), f"{SECRETS} secrets": (SECRETS, None), "and 20 names": (SECRETS, NAMES)}
    times: dict[str, list[float]] = {name: [] for name in sides}
    for place, (name, (_, rules)) in enumerate(sides.items()):
        async with Runtime(url.replace("$", f"{place}")) as runtime:  # the first block warms up
            await runtime.run(loop(steps, calls=calls, redact=rules), {"n": 0, "said": {}})
        assert not times[name]
    for pair in range(pairs):
        order = list(sides.items())
        for name, (number, rules) in order if pair % 2 else order[::-1]:
            know(number)
            async with Runtime(url.replace("$", str(list(sides).index(name)))) as runtime:
                graph = loop(steps, calls=calls, redact=rules)
                begun = time.process_time()
                await runtime.run(graph, {"n": 0, "said": {}})
                times[name].append(time.process_time() - begun)
    MASKS.forget()
    return times


def fastest(seconds: list[float]) -> float:
    """Return the mean of the fastest quarter."""
    return mean(sorted(seconds)[: max(1, len(seconds) // 4)])


def main(given: list[str] | None = None) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks redact", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: a try, no figures")
    parser.add_argument("--folder", type=Path, default=Path(".windlass"), help="for databases, on a disk")
    asked = parser.parse_args(given)
    sizes = QUICK if asked.quick else FULL
    asked.folder.mkdir(parents=True, exist_ok=True)
    print("| what | reach | ratio (quartiles) | a bare step | reached? |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=asked.folder.resolve()) as folder:
        for store, url, steps in (
            ("memory store", "memory:redact$", sizes.memory), ("SQLite", f"sqlite:///{folder}/$.db", sizes.file)
        ):  # fmt: skip
            for calls in (False, True):
                found = asyncio.run(blocks(url.replace("$", f"{calls}$"), steps, sizes.pairs, calls=calls))
                bare = found.pop("bare")
                for name, seconds in found.items():
                    figure = fastest(seconds) / fastest(bare)
                    low, _, high = quantiles([one / other for one, other in zip(seconds, bare, strict=True)], n=4)
                    what = f"{name}, a step{' with a call' * calls}, {store}"
                    said = f"{figure:.3f} × ({low:.2f} to {high:.2f})"
                    reached = "yes" if figure <= MOST_RATIO else "**no**"
                    bare_us = fastest(bare) / steps * 1e6
                    print(f"| {what} | ≤ {MOST_RATIO:g} × | {said} | {bare_us:.0f} µs | {reached} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
