"""Scenes of sub-graphs: a team that loops beside checks in a frame each, asked, paused, and taken back into."""

import asyncio
from typing import Annotated, Any, TypedDict

from windlass.core import records as r
from windlass.core.blueprint import END
from windlass.core.states import COMPLETED
from windlass.engine.context import Context
from windlass.graph.graph import Graph
from windlass.graph.pipeline import Edge, Pipeline
from windlass.graph.reducers import append
from windlass.graph.task import task
from windlass.testing.sim_acts import ask_outside, double, happen, happen_once
from windlass.testing.sim_play import Outcome, Scene, Simulation

ROUNDS = 2


class State(TypedDict):
    """Channels of the graphs."""

    n: int
    log: Annotated[list[str], append]
    checked: list[str]


@task
async def split(n: int) -> list[int]:
    """Make a list to check."""
    return [n, n + 1]


@task
async def check(item: int, ctx: Context) -> int:
    """Have an effect, and wait."""
    await ctx.sleep(3)
    booked: int = await ctx.effect("book", happen, item, ctx.key("book"), on_doubt=ask_outside)
    return booked


@task
async def sign(check: int, ctx: Context) -> str:
    """Ask a person."""
    return f"{check} {await ctx.ask('Sign?', str)}"


checking = Pipeline("checking", [check, sign])
checks = Pipeline("checks", [split, checking], [Edge("split", "checking", each=True)])


def _more(n: int) -> str:
    return "write" if n % ROUNDS else END


def _team() -> Graph:
    graph = Graph("team", State)

    @graph.node(writes=["n", "log"])
    async def write(n: int, ctx: Context) -> dict[str, Any]:
        charged = await ctx.effect("charge", happen_once, n, ctx.key("charge"), on_doubt="retry")
        return {"n": n + 1, "log": [f"wrote {charged} {await ctx.call('double', double, n)}"]}

    graph.start(write)
    graph.branch(write, _more, [write, END])
    return graph


def _again(n: int) -> list[str]:
    return ["team", "checks"] if n < 2 * ROUNDS else [END]


def _desk() -> Graph:
    graph = Graph("desk", State)
    graph.subgraph(_team())
    graph.subgraph(checks, reads="n", writes="checked")

    @graph.node(writes=["log"])
    async def look(checked: list[str]) -> dict[str, Any]:
        return {"log": [f"looked at {checked}"]}

    graph.start("team", "checks")
    graph.edge(["team", "checks"], look)
    graph.branch(look, _again, ["team", "checks", END])
    return graph


desk = _desk()


def sign_it(question: r.Question) -> str | None:
    """Answer."""
    return question.address.partition("/")[0] if question.prompt == "Sign?" else None


async def play_frames(sim: Simulation) -> None:
    """Answer what is asked in every frame; it may be paused for a while."""
    await sim.start(desk, {"n": 0})
    if sim.tape.pick(2):
        await sim.written(2 + sim.tape.pick(30))
        if not await sim.said(lambda runtime: runtime.pause("r"), sim.names[sim.tape.pick(2)]):
            sim.watch.reach("paused in frames")
            await sim.said(lambda runtime: runtime.resume("r"), sim.names[sim.tape.pick(2)])
    await _see_to_the_end(sim)


async def _see_to_the_end(sim: Simulation) -> None:
    while True:
        await sim.finish(answers=sign_it)
        if sim.watch.stories["r"].status is COMPLETED:
            return
        await sim.said(lambda runtime: runtime.resume("r"))
        await asyncio.sleep(1)


def check_frames(_: Simulation, outcome: Outcome) -> list[str]:
    """It comes to what it comes to without a fault."""
    status, output = outcome.runs["r"]
    first, second = ["0 checks#1", "10 checks#1"], ["20 checks#2", "30 checks#2"]
    log = ["wrote 0 0", "wrote 10 2", f"looked at {first}", "wrote 20 4", "wrote 30 6", f"looked at {second}"]
    is_so = (status, output) == ("completed", {"n": 4, "log": log, "checked": second})
    return [] if is_so else [f"it ended {outcome.runs['r']}"]


async def play_frames_back(sim: Simulation) -> None:
    """Take it back into a frame, or before one, at some moment, and let it go on."""
    await sim.start(desk, {"n": 0})
    await sim.written(3 + sim.tape.pick(30))
    target = (("team/write", 2), "team", "checks#1/checking#1[0]/sign#1", "look")[sim.tape.pick(4)]
    said = await sim.said(lambda runtime: runtime.rollback("r", target), sim.names[sim.tape.pick(2)])
    sim.watch.reach("rollback refused" if said else "rolled back")
    await _see_to_the_end(sim)


FRAMES = (
    Scene("frames", [desk], play_frames, check_frames),
    Scene("frames back", [desk], play_frames_back, check_frames),
)
