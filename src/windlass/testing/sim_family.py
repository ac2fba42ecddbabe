"""Scenes of runs within runs: parents that wait, children that are asked about and killed, a cancel that goes down."""

import asyncio

from windlass.core import records as r
from windlass.core.states import ENDED
from windlass.engine.context import Context
from windlass.graph.pipeline import Pipeline
from windlass.graph.task import task
from windlass.testing.sim_acts import ask_outside, brief, happen
from windlass.testing.sim_play import Outcome, Scene, Simulation


@task
async def consult(n: int, ctx: Context) -> int:
    """Ask a person, and start a run of one's own."""
    said: int = await ctx.ask("How many?", int)
    return said + int(await ctx.run(brief, n, name="deep"))


consulting = Pipeline("consulting", [consult], children=[brief])


@task
async def organise(n: int, ctx: Context) -> list[int]:
    """Start runs, one after the other, at once, and within each other."""
    first: int = await ctx.run(brief, n)
    rest: list[int] = await ctx.run_all([(consulting, n + 1), (brief, n + 2)], name="team")
    await ctx.sleep(5)
    return [first, *rest, int(await ctx.effect("book", happen, n, ctx.key("book"), on_doubt=ask_outside))]


organising = Pipeline("organising", [organise], children=[consulting, brief])


def how_many(question: r.Question) -> int | None:
    """Answer."""
    return 7 if question.prompt.startswith("How many") else None


async def all_ended(sim: Simulation) -> None:
    """Give what was cancelled below the time that it needs."""
    for _ in range(60):
        if any(kept.head.status not in ENDED for kept in sim.world.runs.values()):
            await asyncio.sleep(10)


async def play_children(sim: Simulation) -> None:
    """Answer what is asked below, and see it and all below to their ends."""
    await sim.start(organising, 3)
    await sim.finish(answers=how_many)
    await all_ended(sim)


def check_children(sim: Simulation, outcome: Outcome) -> list[str]:
    """It comes to what it comes to without a fault, and everything has ended."""
    wrong = [] if outcome.runs["r"] == ("completed", [300, 407, 500, 30]) else [f"it ended {outcome.runs['r']}"]
    return wrong + check_cascade(sim, outcome)


async def play_cascade(sim: Simulation) -> None:
    """Cancel it at some moment: all below ends as well."""
    await sim.start(organising, 3)
    await sim.written(2 + sim.tape.pick(8))
    if sim.tape.pick(4):
        said = await sim.said(lambda runtime: runtime.cancel("r"), sim.names[sim.tape.pick(2)])
        sim.watch.reach("cancel refused" if said else "cancelled")
    await sim.finish(answers=how_many, mend=False)
    await all_ended(sim)


def check_cascade(sim: Simulation, _: Outcome) -> list[str]:
    """Everything has ended."""
    going = {run: kept.head.status.value for run, kept in sim.world.runs.items() if kept.head.status not in ENDED}
    return [f"still going: {going}"] if going else []


FAMILY = (
    Scene("children", [organising, consulting, brief], play_children, check_children),
    Scene("cascade", [organising, consulting, brief], play_cascade, check_cascade),
)
