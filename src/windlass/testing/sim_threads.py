"""The scene of threads: several people speak to one conversation at once, through two processes, as its turns go on.

The model is a list. Each turn begins with what the one before left, adds its message and, as it ends, its reply; a turn
that was taken back leaves the list as it was, one that was interrupted its message. One turn at a time is live.
"""

import asyncio
from collections import Counter
from typing import Annotated, Any, TypedDict

from windlass.core import records as r
from windlass.core.states import CANCELLED, COMPLETED, ENDED, WAITING
from windlass.core.thread import OVER, place_of
from windlass.core.words import ContinueAsNew
from windlass.engine.context import Context
from windlass.engine.reads import state
from windlass.graph.graph import Graph
from windlass.graph.reducers import append
from windlass.stores.memory_world import Kept
from windlass.testing.sim_acts import ask_outside, happen, reach_out
from windlass.testing.sim_play import Outcome, Scene, Simulation, here
from windlass.testing.sim_process import PROCESS

THREAD = "t"
MESSAGES = ("a", "?b", "on c", "d")  # one that asks a person, and one that goes on as a new run
POLICIES = ("enqueue", "enqueue", "interrupt", "rollback")


class Talk(TypedDict):
    """The channel of the conversation."""

    messages: Annotated[list[str], append]


async def unhappen(amount: int, key: str) -> None:
    """Undo."""
    del amount
    process = PROCESS.get()

    async def undo() -> None:
        if process is None or not process.overtaken:  # a zombie cannot know that it is one
            here().outside.setdefault("undone", Counter())[key] += 1

    await reach_out("undo", undo)


def _talking() -> Graph:
    graph = Graph("talking", Talk)

    @graph.node(writes=["messages"], undo=[unhappen])
    async def reply(messages: list[str], ctx: Context) -> dict[str, list[str]] | ContinueAsNew:
        said = messages[-1]
        await ctx.effect("book", happen, len(messages), ctx.key("book"), undo=unhappen, on_doubt=ask_outside)
        if said.startswith("?"):
            await ctx.ask("Well?", str)
        if said.startswith("on "):
            return ContinueAsNew({"messages": [f"more of {said[3:]}"]})
        return {"messages": [f"re {said}"]}

    graph.start(reply)
    return graph


talking = _talking()


async def play_threads(sim: Simulation) -> None:
    """Speak, at some moment each; answer what is asked; see all of it to its end."""
    sim.watch.heard.append(lambda _: check_live(sim))
    await asyncio.gather(*(_say(sim, number, message) for number, message in enumerate(MESSAGES)))
    while going := [run for run, kept in sim.world.runs.items() if kept.head.status not in ENDED]:
        for run in going:
            await answer_all(sim, run)
        await asyncio.sleep(1)


async def answer_all(sim: Simulation, run: str) -> None:
    """Answer what a run asks: of a doubt or an undo by what has happened, anything else as the scene does."""
    for question in await sim.ask(lambda runtime: runtime.questions(run)):
        value = sim.watch.verdict(question)
        value = how_undone(sim, question) if value is None else value
        await sim.said(lambda runtime, q=question.id, v=value: runtime.answer(q, v))  # type: ignore[misc]


async def _say(sim: Simulation, number: int, message: str) -> None:
    run, first = f"r{number}", sim.names[number % 2]
    on_busy = POLICIES[sim.tape.pick(len(POLICIES))]
    await asyncio.sleep(number + sim.tape.pick(4))
    given = {"messages": [message]}
    await sim.ask(lambda runtime: runtime.start(talking, given, run, thread=THREAD, on_busy=on_busy), first)
    sim.outside.setdefault("policies", {})[run] = on_busy
    sim.watch.reach(f"thread: {on_busy}")
    if run not in sim.world.runs:
        sim.watch.blame(f"{run} was acknowledged, and is not in the store")


def how_undone(sim: Simulation, question: r.Question) -> Any:
    """Answer by the question."""
    kind, _, rest = question.key.partition("|")
    if kind == "undo":
        return {"undone": bool(sim.outside.get("undone", Counter())[rest.partition("|")[0]])}
    return "well"


def turns(sim: Simulation) -> list[Kept]:
    """Return the turns of the thread, in order."""
    found = [kept for kept in sim.world.runs.values() if kept.record.thread == THREAD]
    return sorted(found, key=lambda kept: place_of(kept.record) or 0)


def check_live(sim: Simulation) -> None:
    """One turn at a time is live, and none is passed over."""
    begun = [kept.record.id for kept in turns(sim) if kept.head.status not in OVER and kept.head.n]
    if len(begun) > 1:
        sim.watch.blame(f"turns at once: {', '.join(begun)}")
    found = turns(sim)
    last = max((place for place, kept in enumerate(found) if kept.head.n), default=0)
    early = [kept.record.id for kept in found[:last] if kept.head.status not in OVER]
    if early:
        sim.watch.blame(f"{found[last].record.id} began before {', '.join(early)} were over")
    if any(kept.head.status is WAITING for kept in found) and any(not kept.head.n for kept in found):
        sim.watch.reach("thread: one queued behind one that waits")


def check_threads(sim: Simulation, outcome: Outcome) -> list[str]:
    """Each turn has seen what the one before left, and has left what it should."""
    found = turns(sim)
    wrong = [f"{run} is lost" for run in sim.outside["policies"] if run not in outcome.runs]
    numbers = [kept.record.turn for kept in found if not kept.record.part]
    if numbers != [*range(1, len(MESSAGES) + 1)]:
        wrong.append(f"the turns are {numbers}")
    before: list[str] = []
    for kept in found:
        run, status = kept.record.id, kept.head.status
        messages = sim.outside["states"][run]
        number = run.partition("~")[0].removeprefix("r")
        message = MESSAGES[int(number)]
        said = f"more of {message[3:]}" if kept.record.part else message
        whole = [*before, said] if message.startswith("on ") and not kept.record.part else [*before, said, f"re {said}"]
        if kept.record.part and not kept.head.n:
            allowed = [messages]  # it was made with the state of the run that it continues
        elif not kept.head.n:
            allowed = [before] if kept.head.branch else [[]]
        else:
            allowed = [whole] if status is COMPLETED else [[*before, said]]
        if messages not in allowed:
            wrong.append(f"{run} is {status.value} with {messages}, and {before} was before it")
        if kept.head.n:
            before = messages
        sim.watch.reach(f"thread: {status.value}, {'begun' if kept.head.n else 'not begun'}")
        stopped = {"interrupt", "rollback"} & set(sim.outside["policies"].values())
        if status is CANCELLED and not stopped:
            wrong.append(f"{run} is {status.value}")
    undone = sim.outside.get("undone", Counter())
    return wrong + [f"{key} was undone {times} times" for key, times in undone.items() if times > 1]


async def play(sim: Simulation) -> None:
    """Play it, and keep how the turns stand."""
    await play_threads(sim)
    shown = {run: await state(sim.plain, run, None, talking.compile()) for run in sim.world.runs}
    sim.outside["states"] = {run: channels.get("messages", []) for run, channels in shown.items()}


THREADS = (Scene("threads", [talking], play, check_threads),)
