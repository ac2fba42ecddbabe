"""A tour of everything that has a label, killed at each of them: `python -m tests.kill.tour`.

A stream edge, a recorded call, a question, an effect with an undo, a rollback, a resume. Whatever the label, a fresh
process goes on, the tour comes to the same end, and nothing outside happens twice under one key, nor is undone twice.
"""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.kill.forks import fork, lanes
from tests.kill.judge import settle
from tests.kill.world import ADDRESS, Kill, World, enter, read, world
from windlass import Context, Edge, Output, Pipeline, Runtime, Stream, Yields, task
from windlass.stores import sqlite as _warm  # noqa: F401 -- children import nothing

Say = Callable[[str], None]
OUTPUT = {"listen": [0, 1, 2], "leave": "yes 60"}


@task
async def talk(n: int) -> Yields[int]:
    """Feed a stream edge."""
    for number in range(n):
        yield number
    yield Output(n)


@task
async def listen(talk: Stream[int]) -> list[int]:
    """Consume it."""
    return [number async for number in talk]


async def refund(number: int, key: str) -> None:
    """Undo a payment."""
    world().note("undone", value=number, key=key)


async def pay(number: int, key: str) -> int:
    """Happen."""
    world().note("done", value=number * 10, key=key)
    return number * 10


@task(undo=[refund])
async def settle_up(n: int, ctx: Context) -> int:
    """Call, and pay."""
    ADDRESS.set(ctx.address)

    async def double(number: int) -> int:
        return number * 2

    doubled: int = await ctx.call("double", double, n)
    paid: int = await ctx.effect("pay", pay, doubled, ctx.key("pay"), undo=refund)
    return paid


@task
async def leave(settle_up: int, ctx: Context) -> str:
    """Ask."""
    said: str = await ctx.ask("all well?", str)
    return f"{said} {settle_up}"


scene = Pipeline("tour", [talk, listen, settle_up, leave], [Edge("talk", "listen", stream=True)])


async def go_through(runtime: Runtime, ledger: Path) -> None:
    """Go on with the tour, wherever it stands, to its end: completed, after one rollback."""
    result = await runtime.run(scene, 3, id="r")
    while True:
        if result.status == "waiting":
            for question in await runtime.questions("r"):
                is_doubt = question.prompt.startswith("Did the effect")
                await runtime.answer(question.id, settle(read(ledger), question.address) if is_doubt else "yes")
        elif result.status == "paused":
            await runtime.resume("r")
        elif "run.rolled_back" in [event.type async for event in runtime.events("r")]:
            await runtime.pick_up("r")  # there is nothing to do: it is given up again
            await runtime.wait("r")
            return
        else:
            await runtime.rollback("r", ("settle_up", 1))
        result = await runtime.wait("r")


def tour(folder: Path, turn: int, kill: Kill | None) -> Callable[[Say], None]:
    """A process that goes through the tour."""

    def work(say: Say) -> None:
        here = enter(World(folder / "ledger", turn, kill))

        async def main() -> None:
            async with Runtime(f"sqlite:///{folder}/r.db", [scene]) as runtime:
                await go_through(runtime, folder / "ledger")
                events = [event.seq async for event in runtime.events("r")]
                assert events == list(range(1, len(events) + 1)), events
                assert (await runtime.replay("r")).differing == ()
                assert (await runtime.wait("r")).output == OUTPUT

        asyncio.run(main())
        say(json.dumps(here.reached))

    return work


def trouble(folder: Path, kill: Kill) -> list[str]:
    """Kill a tour, go through it again, and say what is wrong."""
    folder.mkdir()
    code = fork(tour(folder, 0, kill)).end()
    if code != -signal.SIGKILL:
        return [f"it was not killed, it ended {code}"]
    code = fork(tour(folder, 1, None)).end()
    found = [] if code == 0 else [f"it did not come to its end: {code}"]
    for kind in ("done", "undone"):
        times = Counter(line.key for line in read(folder / "ledger") if line.kind == kind)
        found += [f"{kind} {number} times under one key" for number in times.values() if number > 1]
    return found


def numbers(last: int, each: bool) -> list[int]:
    """Choose at which of its times a label kills."""
    return list(range(1, last + 1)) if each else sorted({1, last})


def main() -> int:
    """Go through the tour, then kill it at each label that it reached; print the labels, and what is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--each", action="store_true", help="each time that a label is reached, not the first and last")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "whole").mkdir()
        child = fork(tour(folder / "whole", 0, None))
        code, said = child.end(), child.rest()
        assert code == 0, code
        reached: dict[str, int] = json.loads(said[0])
        kills = [Kill(label, number) for label, last in sorted(reached.items()) for number in numbers(last, given.each)]
        troubles = lanes([partial(trouble, folder / str(place), kill) for place, kill in enumerate(kills)])
        found = {f"{kill.label} {kill.number}": what for kill, what in zip(kills, troubles, strict=True)}
    wrong = {where: what for where, what in found.items() if what}
    shown = {"labels": sorted(reached), "trials": len(found), "wrong": wrong}
    sys.stdout.write((json.dumps(shown) if given.json else str(shown)) + "\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
