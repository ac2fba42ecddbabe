"""The runs that every version of the file format has to open again: made by `python -m trials.versions_work FILE`."""

import asyncio
import os
import sys
from typing import Annotated, Any, TypedDict

from windlass import END, Context, Graph, Pipeline, Runtime, append, task
from windlass.core.blueprint import Definition


class Loop(TypedDict):
    """The state of the graph."""

    n: int
    notes: Annotated[list[str], append]


looping = Graph("looping", Loop)


@looping.node(writes=["n", "notes"])
async def count(n: int) -> dict[str, Any]:
    """Count, and leave a large value once."""
    return {"n": n + 1, "notes": [f"wörd {n}" if n != 3 else "large" * 20_000]}


def more(n: int) -> str:
    """Go on to ten."""
    return END if n >= 10 else "count"


looping.start("count")
looping.branch("count", more, ["count", END])


@task
async def ask(n: int, ctx: Context) -> str:
    """Wait for a person, with a call and an effect behind it."""
    await ctx.call("called", _sent, n)
    await ctx.effect("sent", _sent, n)
    return await ctx.ask("well?", str)


@task
async def last(ask: str) -> str:
    """End."""
    return ask.upper()


asking = Pipeline("asking", [ask, last])


@task
async def doubtful(n: int, ctx: Context) -> int:
    """Die in the effect, where the file is made."""
    done: int = await ctx.effect("deadly", _deadly, n)
    return done


doubting = Pipeline("doubting", [doubtful])
DEFINITIONS: tuple[Definition, ...] = (looping, asking, doubting)


async def _sent(n: int) -> int:
    return n


async def _deadly(n: int) -> int:
    os._exit(0)


async def make(path: str) -> None:
    """Make the file; the process dies in the last run, so that its effect is in doubt."""
    runtime = Runtime(f"sqlite:///{path}")
    await runtime.__aenter__()
    await runtime.run(looping, {"n": 0, "notes": []}, id="ended", tags={"made": "before"})
    await runtime.run(asking, 7, id="asks")
    await runtime.pause(await runtime.fork("ended", at=3, id="forked"))
    await runtime.run(doubting, 1, id="doubts")


if __name__ == "__main__":
    asyncio.run(make(sys.argv[1]))
