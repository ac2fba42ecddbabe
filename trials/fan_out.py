"""A fan-out of 1,000, killed when about 500 have ended (F1).

Nothing that is acknowledged (told as `activation.completed` in the file) runs again.
"""

import asyncio
import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

from trials.figures import Figures, Trial
from windlass import Context, Edge, Graph, Pipeline, Runtime, Send, Update, append, task
from windlass.stores import sqlite as _warm  # noqa: F401 -- children import nothing
from windlass.testing.crash_forks import Say, fork
from windlass.testing.crash_trial import workplace
from windlass.testing.crash_world import World, enter, read, world

SIZE, HALF, MARGIN = 1_000, 500, 200
LABELS = ("commit.inside", "commit.after")


class HalfWay(World):
    """A world that ends at a label, once half of the activations have ended."""

    label = ""
    ended = 0

    def reach(self, label: str) -> None:
        """Die if it is time."""
        if label == self.label and self.ended >= HALF:
            os.kill(os.getpid(), signal.SIGKILL)


async def one(number: int, ctx: Context) -> int:
    """Take a moment, at the same time as the others."""
    here = world()
    here.note("body", address=ctx.address)
    await asyncio.sleep(random.uniform(0.05, 0.2))
    if isinstance(here, HalfWay):
        here.ended += 1
    return number * number


@task
async def spread(n: int) -> list[int]:
    return list(range(n))


@task(id="each")
async def each(spread: int, ctx: Context) -> int:
    return await one(spread, ctx)


@task
async def join(each: list[int]) -> int:
    return sum(each)


pipeline = Pipeline("map", [spread, each, join], [Edge("spread", "each", each=True), ("each", "join")])


class State(TypedDict):
    """Channels of the graph."""

    n: int
    squares: Annotated[list[int], append]
    total: int


def sends() -> Graph:
    graph = Graph("sends", State)

    @graph.node(sends=["each"])
    async def spread(n: int) -> Update:
        return Update(sends=[Send("each", number) for number in range(n)])

    @graph.node(id="each", writes=["squares"])
    async def each(item: int, ctx: Context) -> dict[str, list[int]]:
        return {"squares": [await one(item, ctx)]}

    @graph.node(writes=["total"])
    async def join(squares: list[int]) -> dict[str, int]:
        return {"total": sum(squares)}

    graph.start("spread")
    graph.edge("each", "join")
    return graph


TOTAL = sum(number * number for number in range(SIZE))
graph = sends()
SCENES: dict[str, tuple[Any, Any, Callable[[Any], int]]] = {
    "map": (pipeline, SIZE, lambda output: output),
    "sends": (graph, {"n": SIZE}, lambda output: output["total"]),
}


def spreading(name: str, folder: Path, here: World) -> Callable[[Say], None]:
    """A process that says what is acknowledged, and then goes on to the end."""
    definition, given, total = SCENES[name]

    def work(say: Say) -> None:
        enter(here)

        async def main() -> None:
            async with Runtime(f"sqlite:///{folder}/r.db") as runtime:
                if here.turn:
                    told = [e.address async for e in runtime.events("r") if e.type == "activation.completed"]
                    say(json.dumps([address for address in told if address.startswith("each")]))
                result = await runtime.run(definition, given, id="r")
                assert total(result.output) == TOTAL, result.output
                told = [e.address async for e in runtime.events("r") if e.type == "activation.completed"]
                assert len(told) == len(set(told)) == SIZE + 2, len(told)
                assert (await runtime.replay("r")).differing == ()

        asyncio.run(main())

    return work


def trial(name: str, label: str, folder: Path) -> dict[str, int]:
    """Kill a fan-out half way, let another process end it, and count."""
    folder.mkdir()
    here = HalfWay(folder / "ledger", 0)
    here.label = label
    killed = fork(spreading(name, folder, here)).end()
    second = fork(spreading(name, folder, World(folder / "ledger", 1)))
    ended, said = second.end(), second.rest()
    acknowledged = set(json.loads(said[0]) if said else [])
    ran = [[line.address for line in read(folder / "ledger") if line.turn == turn] for turn in (0, 1)]
    return {
        "killed": int(killed == -signal.SIGKILL),
        "ended": int(ended == 0),
        "acknowledged": len(acknowledged),
        "again": len(acknowledged.intersection(ran[1])),
        "twice": len(ran[1]) - len(set(ran[1])),
        "never": SIZE - len({*acknowledged, *ran[1]}),
        "repeated_unacknowledged": len({*ran[0]}.intersection(ran[1])),
    }


def run(folder: Path, rounds: int) -> Figures:
    """Kill each scene at each label."""
    figures = Figures(bad={"again": 0, "twice": 0, "never": 0, "stuck": 0})
    with workplace() as quick:
        for number in range(rounds):
            for scene in SCENES:
                for label in LABELS:
                    found = trial(scene, label, quick / f"{number}-{scene}-{label}")
                    figures.trials += 1
                    figures.reach("killed", found["killed"])
                    figures.reach("acknowledged", found["acknowledged"])
                    for kind in ("again", "twice", "never"):
                        if found[kind]:
                            figures.blame(kind, f"{scene}, {label}: {found[kind]} of {SIZE}")
                    if not found["ended"] or not HALF - MARGIN <= found["acknowledged"] <= HALF + MARGIN:
                        figures.blame("stuck", f"{scene}, {label}: {found}")
    return figures


TRIALS = (
    Trial(
        "fan-out", "F1 F48",
        "A map and a fan-out over a thousand items are killed half way; nothing acknowledged may run again.",
        run, short={"rounds": 1}, long={"rounds": 25},
    ),
)  # fmt: skip
