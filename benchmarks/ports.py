"""`python -m benchmarks ports`: what a call through a port costs over the bare function, on top of its commit.

Loops run in turns in one process, in short blocks, so that what else the machine does meets all of them. `bare` calls
the function and records as many bytes as a call does, past the port: the commit is in it. A figure is the median of the
differences of neighbouring blocks, for each call, in time that the loop's thread had the processor. Once only what
has to be is in force (a tool's grant, and the account); once also conditions, and a budget in every unit.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any, TypedDict

from msgspec import Raw

from benchmarks import machine
from windlass import (
    END,
    Allow,
    Budget,
    Context,
    Graph,
    Message,
    ModelAnswer,
    ModelRequest,
    Runtime,
    Usage,
    fallback,
    model,
    tool,
)
from windlass.core import ops

MOST_MICROSECONDS = 150.0
REQUEST = ModelRequest(
    (Message("system", "Be short. " * 20), Message("user", "What is it? " * 20)), parameters={"t": 0.5}
)
ANSWER = ModelAnswer("It is a thing. " * 10, usage=Usage(tokens_in=100, tokens_out=30), model="writer", version="1")
ASKED, ANSWERED = Raw(json.dumps("x" * 700).encode()), Raw(json.dumps("x" * 300).encode())
BUDGET = Budget(money=10**6, tokens_in=10**9, tokens_out=10**9, model_calls=10**8, tool_calls=10**8)


class Count(TypedDict):
    """The state of the loop."""

    n: int


async def answer(_: ModelRequest) -> ModelAnswer:
    """Answer at once."""
    return ANSWER


writer = model(answer, name="writer", version="1", cost=Usage(tokens_in=1_000, money="0.01"))


@tool
async def price(item: str, amount: int = 1) -> int:
    """Say a price."""
    return amount + len(item)


async def by_model(ctx: Context) -> None:
    """Ask a model."""
    await ctx.model(REQUEST)


async def by_fallback(ctx: Context) -> None:
    """Ask the first of two."""
    await ctx.model(REQUEST, model="both")


async def by_tool(ctx: Context) -> None:
    """Call a tool."""
    await ctx.tool("price", item="lamp", amount=3)


async def by_call(ctx: Context) -> None:
    """Make a plain recorded call, without permission and budget."""
    await ctx.call("price", price.fn, item="lamp", amount=3)


async def bare(ctx: Context) -> None:
    """Call the function, and record as many bytes past the port."""
    await answer(REQUEST)
    activation = ctx._activation
    number = activation.nth("bare")
    await activation.record(
        ops.CallRecorded(activation.address, f"bare|{number}", "bare", ANSWERED, 1, "model", {"model_calls": 1}, ASKED)
    )


SETUPS: dict[str, dict[str, Any]] = {
    "nothing else": {"grants": [Allow("price")]},
    "conditions and a budget": {
        "grants": [Allow("price", when="args.amount < 10"), Allow("model:*")],
        "budget": BUDGET,
    },
}
WORKS: dict[str, Callable[[Context], Awaitable[None]]] = {
    "bare": bare, "ctx.model": by_model, "fallback": by_fallback, "ctx.tool": by_tool, "ctx.call": by_call,
}  # fmt: skip


def loop(work: Callable[[Context], Awaitable[None]], steps: int, setup: str) -> Graph:
    """Build a loop of one node that makes one call a step."""
    models = [writer, fallback("both", [writer])]
    graph = Graph("loop", Count, step_limit=steps + 10, models=models, tools=[price], **SETUPS[setup])

    async def count(n: int, ctx: Context) -> dict[str, int]:
        await work(ctx)
        return {"n": n + 1}

    def more(n: int) -> str:
        return END if n >= steps else "count"

    node = graph.node(id="count", writes=["n"])(count)
    graph.start(node)
    graph.branch(node, more, [node, END])
    graph.compile()
    return graph


async def measure(url: str, setup: str, steps: int, pairs: int) -> dict[str, dict[str, float]]:
    """Let all run in turns; return microseconds of a step, and over the bare one."""
    graphs = {name: loop(work, steps, setup) for name, work in WORKS.items()}
    times: dict[str, list[float]] = {name: [] for name in WORKS}
    for pair in range(pairs + 1):
        for name in list(WORKS) if pair % 2 else reversed(WORKS):
            async with Runtime(url.replace("$", f"{setup}{name}{pair}".replace(" ", ""))) as runtime:
                begun = time.thread_time()
                found = await runtime.run(graphs[name], {"n": 0})
                seconds = time.thread_time() - begun
            assert found.output == {"n": steps}
            if pair:
                times[name].append(seconds / steps * 1e6)
    shown = {}
    for name, each in times.items():
        over = [one - other for one, other in zip(each, times["bare"], strict=True)]
        low, middle, high = quantiles(over, n=4) if len(over) > 1 else (over[0],) * 3
        shown[name] = {"step": median(each), "over": middle, "low": low, "high": high}
    return shown


def table(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return the figures, as Markdown."""
    lines = ["| a step with | in force | a step | over the bare one (quartiles) | reach | reached? |", "|---" * 6 + "|"]
    for store, figures in found.items():
        for name, one in figures.items():
            over = f"{one['over']:+.0f} µs ({one['low']:+.0f} to {one['high']:+.0f})"
            is_port = name in ("ctx.model", "ctx.tool") and "nothing else" in store
            reached = ("yes" if one["over"] <= MOST_MICROSECONDS else "**no**") if is_port else "–"
            reach = f"≤ {MOST_MICROSECONDS:g} µs" if is_port else "–"
            shown = "–" if name == "bare" else over
            lines.append(f"| {name} | {store} | {one['step']:.0f} µs | {shown} | {reach} | {reached} |")
    return "\n".join(lines)


def main(given: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks ports", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep all values there")
    parser.add_argument("--quick", action="store_true", help="small sizes: a try, no figures")
    parser.add_argument("--folder", type=Path, default=Path(".windlass"), help="for databases, on a disk")
    asked = parser.parse_args(given)
    asked.folder.mkdir(parents=True, exist_ok=True)
    steps, pairs = (30, 2) if asked.quick else (300, 30)
    found: dict[str, Any] = {}
    before = machine.load()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=asked.folder.resolve()) as folder:
        for setup in SETUPS:
            found[f"{setup}, memory store"] = asyncio.run(measure("memory:$", setup, steps, pairs))
            url = f"sqlite:///{folder}/$.db"
            found[f"{setup}, SQLite"] = asyncio.run(measure(url, setup, steps // 3, pairs // 2))
    print(table(found))
    print(f"load average: {before} before, {machine.load()} after", file=sys.stderr)
    if asked.json is not None:
        asked.json.write_text(json.dumps({"machine": machine.describe(), **found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
