"""A scene of signals: two clients tell a run something, before and while it waits, and somebody takes it back."""

import asyncio

from windlass.core import ops, queries
from windlass.core.position import load
from windlass.core.records import BODY
from windlass.core.states import COMPLETED, FAILED, PAUSED
from windlass.engine.context import Context
from windlass.graph.pipeline import Pipeline
from windlass.graph.task import task
from windlass.testing.sim_play import Outcome, Scene, Simulation

NONE = -1


@task
async def pair(ctx: Context) -> list[int]:
    """Take two at once."""
    return list(await asyncio.gather(ctx.signal("go", int), ctx.signal("go", int)))


@task
async def third(pair: list[int], ctx: Context) -> list[int]:
    """Take one more, if it comes in time."""
    return [*pair, await ctx.signal("go", int, deadline=6, otherwise=NONE)]


signalled = Pipeline("signalled", [pair, third])


async def _send(sim: Simulation, numbers: tuple[int, ...], first: str) -> None:
    for number in numbers:
        await asyncio.sleep(sim.tape.pick(4))
        if not await sim.said(lambda runtime, n=number: runtime.signal("r", "go", n, id=str(n)), first):  # type: ignore[misc]
            sim.outside.setdefault("sent", []).append(number)


async def _steer(sim: Simulation) -> None:
    await asyncio.sleep(sim.tape.pick(8))
    what = sim.tape.pick(4)
    if what == 1:
        await sim.said(lambda runtime: runtime.pause("r"), sim.names[sim.tape.pick(2)])
    elif what:
        target = ("pair", 1) if what == 2 else ("third", 1)  # noqa: PLR2004 -- one of four
        if not await sim.said(lambda runtime: runtime.rollback("r", target), sim.names[sim.tape.pick(2)]):
            sim.watch.reach("signals taken back")


async def play_signals(sim: Simulation) -> None:
    """Send four signals from two clients while the run is paused or rolled back at some moment; see it to its end."""
    await sim.start(signalled, None)
    beside = asyncio.gather(_send(sim, (1, 2), "one"), _send(sim, (3, 4), "two"), _steer(sim))
    while sim.watch.stories["r"].status is not COMPLETED or not beside.done():
        if sim.watch.stories["r"].status in (PAUSED, FAILED):
            await sim.said(lambda runtime: runtime.resume("r"))
        await asyncio.sleep(1)
    await beside
    loaded = await sim.plain.load("r")
    posted = await sim.plain.find(queries.Commands(run="r"))
    known = {command.arguments["value"] for command in posted if command.verb == "signal"}
    known |= {int(bytes(one.value)) for one in load(loaded).signals.values()}
    rows = await sim.plain.find(queries.Rows(run="r"))
    told = [op for row in rows for op in BODY.decode(row.body).ops if isinstance(op, ops.SignalReceived)]
    sim.outside["left"], sim.outside["told"] = known, [op.id for op in told]


def check_signals(sim: Simulation, outcome: Outcome) -> list[str]:
    """Each signal that was accepted is with one wait or with the run, none is with two, and a client's are in order."""
    status, output = outcome.runs["r"]
    if status != COMPLETED or not isinstance(output, list) or len(output) != 3:  # noqa: PLR2004 -- three waits
        return [f"the run ended {status} {output}"]
    taken, left, told = [one for one in output if one != NONE], sim.outside["left"], sim.outside["told"]
    sent = sim.outside.get("sent", ())
    wrong = [f"{number} was accepted and is lost" for number in sent if number not in {*taken, *left}]
    if len({*taken}) != len(taken) or {*taken} & left:
        wrong.append(f"{taken} were taken, and {left} are left")
    if len({*told}) != len(told):
        wrong.append(f"a signal was received twice: {told}")
    one_by_one = [*sorted(output[:2]), output[2]]  # which of two waits at once is the first is the loop's to say
    orders = [[one for one in one_by_one if one in mine] for mine in ((1, 2), (3, 4))]
    return wrong + [f"{order} were taken in another order" for order in orders if order != sorted(order)]


SIGNALS = (Scene("signals", [signalled], play_signals, check_signals),)
