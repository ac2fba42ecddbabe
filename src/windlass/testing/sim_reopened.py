"""The scene of turns that begin anew: one that failed is resumed, one that ended taken back, as the next would begin.

Either the next turn begins with what was left, and whoever comes later is refused; or it waits, and begins with what
the reopened turn leaves in the end. A resume that was acknowledged stands in the log.
"""

import asyncio
from collections import Counter
from typing import Any

from windlass.core.states import COMPLETED, ENDED, FAILED, PAUSED
from windlass.engine.context import Context
from windlass.engine.reads import state
from windlass.graph.graph import Graph
from windlass.testing.sim_acts import ask_outside, happen
from windlass.testing.sim_play import Outcome, Scene, Simulation, here
from windlass.testing.sim_threads import THREAD, Talk, answer_all, check_live, turns, unhappen

MESSAGES = ("!a", "b", "c")  # the first fails until somebody has mended what it needs


def _hoping() -> Graph:
    graph = Graph("hoping", Talk)

    @graph.node(writes=["messages"], undo=[unhappen])
    async def reply(messages: list[str], ctx: Context) -> dict[str, list[str]]:
        said = messages[-1]
        await ctx.effect("book", happen, len(messages), ctx.key("book"), undo=unhappen, on_doubt=ask_outside)
        if said.startswith("!") and "mended" not in here().outside:
            raise ValueError(said)
        return {"messages": [f"re {said}"]}

    graph.start(reply)
    return graph


hoping = _hoping()


async def play_reopened(sim: Simulation) -> None:
    """Speak thrice, resume the first and take the second back, at some moment each; see all of it to its end."""
    sim.watch.heard.append(lambda _: check_live(sim))
    sees = asyncio.create_task(_see(sim))
    await asyncio.gather(_resume(sim), _take_back(sim), *(_say(sim, number) for number in range(len(MESSAGES))))
    while going := [kept.record.id for kept in turns(sim) if kept.head.status not in ENDED]:
        await sim.until(lambda story: story.status in ENDED, going[0])
    sees.cancel()
    shown = {run: await state(sim.plain, run, None, hoping.compile()) for run in sim.world.runs}
    sim.outside["states"] = {run: channels.get("messages", []) for run, channels in shown.items()}


async def _see(sim: Simulation) -> None:
    """Answer what is asked, and let go on what was paused by being taken back."""
    while True:
        for run, status in [(kept.record.id, kept.head.status) for kept in turns(sim)]:
            if status is PAUSED:
                await sim.said(lambda runtime, run=run: runtime.resume(run))  # type: ignore[misc]
            elif status not in ENDED:
                await answer_all(sim, run)
        await asyncio.sleep(1)


async def _say(sim: Simulation, number: int) -> None:
    await asyncio.sleep(number * (1 + sim.tape.pick(3)))
    given = {"messages": [MESSAGES[number]]}
    first = sim.names[number % 2]
    await sim.ask(lambda runtime: runtime.start(hoping, given, f"r{number}", thread=THREAD), first)


async def _resume(sim: Simulation) -> None:
    """Mend what the first turn needs, and let it go on, if it is not too late."""
    await sim.until(lambda story: story.status in ENDED, "r0")
    await asyncio.sleep(sim.tape.pick(4) / 2)
    sim.outside["mended"] = True
    said = await sim.said(lambda runtime: runtime.resume("r0"), sim.names[sim.tape.pick(2)])
    sim.outside["resumed"] = said
    sim.watch.reach(f"thread: resume met {said or 'nothing'}")


async def _take_back(sim: Simulation) -> None:
    """Take the second turn back to its beginning, if it is not too late: it runs once more."""
    await sim.until(lambda story: story.status in ENDED, "r1")
    await asyncio.sleep(sim.tape.pick(4) / 2)
    said = await sim.said(lambda runtime: runtime.rollback("r1", 1), sim.names[sim.tape.pick(2)])
    sim.watch.reach(f"thread: rollback met {said or 'nothing'}")


def check_reopened(sim: Simulation, outcome: Outcome) -> list[str]:
    """Each turn begins with what the one before has left in the end."""
    found, wrong, before = turns(sim), list[str](), list[str]()
    if sorted(kept.record.id for kept in found) != sorted(outcome.runs) or len(found) != len(MESSAGES):
        wrong.append(f"the turns are {[kept.record.id for kept in found]}")
    for kept in found:
        run, status = kept.record.id, kept.head.status
        said = MESSAGES[int(run.removeprefix("r"))]
        left = [*before, said, *([f"re {said}"] if status is COMPLETED else [])] if kept.head.n else []
        messages = sim.outside["states"][run]
        if messages != left or status not in (COMPLETED, FAILED):
            wrong.append(f"{run} is {status.value} with {messages}, and {before} was before it")
        before = messages or before
    if not sim.outside["resumed"] and not any(b"run.resumed" in row.body for row in sim.world.runs["r0"].rows):
        wrong.append("r0: a resume was acknowledged, and is not in its log")
    undone: Any = sim.outside.get("undone", Counter())
    return wrong + [f"{key} was undone {times} times" for key, times in undone.items() if times > 1]


REOPENED = (Scene("reopened", [hoping], play_reopened, check_reopened),)
