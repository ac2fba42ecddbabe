"""Scenes of people and clocks: an answer that races a deadline, and a question that somebody else gets in time."""

import asyncio

from windlass.core.states import COMPLETED
from windlass.core.words import Escalate
from windlass.engine.context import Context
from windlass.graph.pipeline import Pipeline
from windlass.graph.task import task
from windlass.testing.sim_play import Outcome, Scene, Simulation

LATE = ("AlreadyAnswered", "QuestionExpired")


@task
async def waits(n: int, ctx: Context) -> str:
    """Ask, with a reminder, and take a value if nobody answers in time."""
    said: str = await ctx.ask(f"What about {n}?", str, deadline=12, remind=5, otherwise="nobody")
    return said


@task
async def again(waits: str, ctx: Context) -> str:
    """Ask somebody, then somebody else."""
    said: str = await ctx.ask("And then?", str, to="user:one", deadline=6, otherwise=Escalate("user:two"))
    return f"{waits} {said}"


lapsing = Pipeline("lapsing", [waits, again])


async def play_deadline(sim: Simulation) -> None:
    """Answer about when the deadline is; then wait until the second question is somebody else's."""
    await sim.start(lapsing, 1)
    await sim.until(lambda story: story.status in ("waiting", "failed"))
    while not (asked := await sim.ask(lambda runtime: runtime.questions("r"))):
        await sim.finish(mend=True)
    await asyncio.sleep(sim.tape.pick(8) * 2)
    id_ = asked[0].id
    said = await sim.said(lambda runtime: runtime.answer(id_, "red"), sim.names[sim.tape.pick(2)])
    sim.outside["said"] = said
    sim.watch.reach("the deadline was first" if said else "the answer was first")
    while sim.watch.stories["r"].status is not COMPLETED:
        found = [one for one in await sim.ask(lambda runtime: runtime.questions("r")) if one.terms.to == "user:two"]
        for one in found:
            if not await sim.said(lambda runtime, q=one.id: runtime.answer(q, "blue", by="two")):  # type: ignore[misc]
                sim.watch.reach("escalated in time")
        if sim.watch.stories["r"].status == "failed":
            await sim.said(lambda runtime: runtime.resume("r"))
        await asyncio.sleep(1)


def check_deadline(sim: Simulation, outcome: Outcome) -> list[str]:
    """Whoever was told that the answer counts was told the truth, and so was whoever came too late.

    Where the clock of one process was set, the deadline lies ahead for one when it has passed for the other.
    """
    status, output = outcome.runs["r"]
    said = sim.outside["said"]
    if status != COMPLETED or output not in ("red blue", "nobody blue"):
        return [f"the run ended {status} {output}"]
    was_late = said in LATE and not (said == "QuestionExpired" and sim.watch.reached["clock jumped"])
    if (not said and output != "red blue") or (was_late and output != "nobody blue"):
        return [f"the answer met {said or 'nothing'}, and the output is {output}"]
    return []


PEOPLE = (Scene("deadline", [lapsing], play_deadline, check_deadline),)
