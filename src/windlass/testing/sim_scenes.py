"""The scenes of the simulation: small definitions, each with people around it, and what it must come to.

Each is the smallest thing that has the feature: effects that are asked about, verified or repeated, a map, loops, a
question that two people answer at once, timers, retries, a cancel that races the end, a pause, a rollback with undos,
waits inside each other, a stream edge, a reducer that raises.
"""

import asyncio
from collections import Counter
from typing import Annotated, Any, TypedDict, TypeVar

from windlass.core import records as r
from windlass.core.blueprint import END
from windlass.core.states import CANCELLED, COMPLETED, FAILED
from windlass.core.words import Output, Stream, Yields
from windlass.engine.context import Context
from windlass.engine.reads import state
from windlass.graph.graph import Graph
from windlass.graph.pipeline import Edge, Pipeline
from windlass.graph.reducers import add, append, merge, reducer
from windlass.graph.task import task
from windlass.policies.retry import Retry
from windlass.testing.sim_acts import ask_outside, book, brief, charge, double, happen, mail, reach_out
from windlass.testing.sim_bounds import BOUNDS
from windlass.testing.sim_family import FAMILY
from windlass.testing.sim_frames import FRAMES
from windlass.testing.sim_people import PEOPLE
from windlass.testing.sim_play import Outcome, Scene, Simulation, here
from windlass.testing.sim_process import PROCESS
from windlass.testing.sim_reopened import REOPENED
from windlass.testing.sim_signals import SIGNALS
from windlass.testing.sim_threads import THREADS

T = TypeVar("T")
ROUNDS, FAILURES = 2, 2  # of the loop, of the flaky task


effects = Pipeline("effects", [book, charge, mail])


async def play_effects(sim: Simulation) -> None:
    """Follow it to its end."""
    follower = asyncio.ensure_future(sim.follow())
    await sim.start(effects, 3)
    await sim.finish()
    await follower


@task
async def parts(n: int) -> list[int]:
    """Make a list."""
    return list(range(n))


@task
async def work(parts: int, ctx: Context) -> int:
    """Do something with each."""
    doubled: int = await ctx.call("double", double, parts)
    return doubled + int(await ctx.effect("book", happen, parts, ctx.key("book"), on_doubt=ask_outside))


@task
async def add_up(work: list[int]) -> int:
    """Join."""
    return sum(work)


fan = Pipeline("fan", [parts, work, add_up], [Edge("parts", "work", each=True), ("work", "add_up")])


async def play_fan(sim: Simulation) -> None:
    """Two clients start the same run at once."""
    other = asyncio.ensure_future(sim.ask(lambda runtime: runtime.start(fan, 3, "r"), "two"))
    await sim.start(fan, 3)
    await other
    await sim.finish()


def _keep_all(current: list[int], incoming: list[int]) -> list[int]:
    trap = here().outside.get("trap")
    if trap and incoming == [trap]:
        here().outside["trap"] = 0
        raise ValueError("the reducer fell into the trap")
    return current + incoming


class State(TypedDict):
    """Channels of the graphs."""

    n: int
    log: Annotated[list[str], append]
    votes: Annotated[dict[str, int], merge]
    total: Annotated[int, add]
    kept: Annotated[list[int], reducer(_keep_all, name="keep_all")]


def _more(n: int) -> list[str]:
    return [END] if n >= ROUNDS else ["left", "right"]


def _loop() -> Graph:
    graph = Graph("loop", State, step_limit=20)

    @graph.node(writes=["log", "votes", "kept"])
    async def left(n: int, ctx: Context) -> dict[str, Any]:
        doubled = await ctx.call("double", double, n)
        return {"log": [f"left {doubled}"], "votes": {f"l{n}": n}, "kept": [n]}

    @graph.node(writes=["log", "votes", "total"])
    async def right(n: int) -> dict[str, Any]:
        await asyncio.sleep(0.01)
        return {"log": [f"right {n}"], "votes": {f"r{n}": n}, "total": 2}

    @graph.node(writes=["n", "log", "kept"])
    async def count(n: int, votes: dict[str, int]) -> dict[str, Any]:
        return {"n": n + 1, "log": [f"count {sorted(votes)}"], "kept": [-n]}

    graph.start("left", "right")
    graph.edge(["left", "right"], "count")
    graph.branch("count", _more, ["left", "right", END])
    return graph


loop = _loop()


async def play_loop(sim: Simulation) -> None:
    """See it to its end."""
    await sim.start(loop, {"n": 0})
    await sim.finish()


async def play_reducer(sim: Simulation) -> None:
    """Let the reducer raise at one step; nothing of that step may stand, and the run goes on from before it."""
    sim.outside["trap"] = -1
    await sim.start(loop, {"n": 0})
    await sim.until(lambda story: story.status in (FAILED, COMPLETED))
    channels = await state(sim.plain, "r", None, loop.compile())
    said, kept = len(channels.get("log", ())), len(channels.get("kept", ()))
    if (said, kept) not in ((0, 0), (2, 1), (3, 2), (5, 3), (6, 4)):
        sim.watch.blame(f"a step stands in part: {channels}")
    await sim.finish()


@task
async def question(n: int, ctx: Context) -> str:
    """Ask."""
    said: str = await ctx.ask(f"What about {n}?", str)
    return said


@task
async def keep(question: str) -> str:
    """Keep the answer."""
    return question.upper()


asking = Pipeline("asking", [question, keep])


async def _answer(sim: Simulation, question: str, value: str, first: str) -> None:
    said = await sim.said(lambda runtime: runtime.answer(question, value, by=first), first)
    if not said:
        sim.outside.setdefault("accepted", []).append(value)
    elif said == "AlreadyAnswered":
        sim.watch.reach("double answer lost the race")


async def play_question(sim: Simulation) -> None:
    """Two people answer at once, each through another process."""
    await sim.start(asking, 1)
    await sim.until(lambda story: story.status in ("waiting", "failed"))
    while not (asked := await sim.ask(lambda runtime: runtime.questions("r"))):
        await sim.finish(mend=True)
    id_ = asked[0].id
    await asyncio.gather(_answer(sim, id_, "red", "one"), _answer(sim, id_, "blue", "two"))
    await sim.finish(answers=lambda _: "green")


def check_question(sim: Simulation, outcome: Outcome) -> list[str]:
    """One of the two answers was taken, and nobody was told that the other one was."""
    status, output = outcome.runs["r"]
    accepted = sim.outside.get("accepted", [])
    if status != COMPLETED or output not in ("RED", "BLUE"):
        return [f"the run ended {status} {output}"]
    return [f"{value} was acknowledged, and {output} was taken" for value in accepted if value.upper() != output]


@task
async def nap(n: int, ctx: Context) -> int:
    """Sleep so long that no process is needed, then a moment."""
    await ctx.sleep(20)
    await ctx.sleep(0.5)
    return n + 1


@task(retry=Retry(on=ConnectionError, max_attempts=20, initial=0.4, factor=3.0, cap=4.0, jitter=0.5))
async def flaky(nap: int, ctx: Context) -> int:
    """Fail twice."""
    doubled: int = await ctx.call("double", double, nap)
    if ctx.attempt <= FAILURES:
        raise ConnectionError("down")
    return doubled


timer = Pipeline("timer", [nap, flaky])


async def play_timer(sim: Simulation) -> None:
    """See it to its end."""
    await sim.start(timer, 1)
    await sim.finish()


async def play_cancel(sim: Simulation) -> None:
    """Cancel at some moment."""
    await sim.start(effects, 3)
    await sim.written(1 + sim.tape.pick(10))
    said = await sim.said(lambda runtime: runtime.cancel("r"), sim.names[sim.tape.pick(2)])
    status = sim.watch.stories["r"].status
    sim.watch.reach("cancel beat completion" if status is CANCELLED else "completion beat cancel")
    if not said and status not in (CANCELLED, COMPLETED):
        sim.watch.blame(f"a cancel was acknowledged, and the run is {status.value}")
    await sim.finish(ends=frozenset({CANCELLED, COMPLETED}))
    sim.outside["said"] = said


def check_cancel(_: Simulation, outcome: Outcome) -> list[str]:
    """It was cancelled or completed."""
    end = outcome.runs["r"]
    return [] if end in (("cancelled", None), ("completed", 3000)) else [f"the run ended {end}"]


async def play_pause(sim: Simulation) -> None:
    """Pause at some moment, at a boundary or at once, and let it go on."""
    await sim.start(fan, 2)
    await sim.written(1 + sim.tape.pick(8))
    immediate = bool(sim.tape.pick(2))
    if not await sim.said(lambda runtime: runtime.pause("r", immediate=immediate), sim.names[sim.tape.pick(2)]):
        sim.watch.reach("paused")
    while True:
        await sim.finish()
        if sim.watch.stories["r"].status in (COMPLETED, CANCELLED):
            return
        await sim.said(lambda runtime: runtime.resume("r"))
        await asyncio.sleep(1)


async def take_back(amount: int, key: str) -> None:
    """Undo."""
    del amount
    process = PROCESS.get()

    async def undo() -> None:
        if process is None or not process.overtaken:  # a zombie cannot know that it is one
            here().outside.setdefault("undone", Counter())[key] += 1

    await reach_out("undo", undo)


@task(undo=[take_back])
async def one(n: int, ctx: Context) -> int:
    """Have an effect that can be undone."""
    value: int = await ctx.effect("one", happen, n, ctx.key("one"), undo=take_back, on_doubt=ask_outside)
    return value


@task(undo=[take_back])
async def two(one: int, ctx: Context) -> int:
    """Have another one."""
    value: int = await ctx.effect("two", happen, one, ctx.key("two"), undo=take_back, on_doubt=ask_outside)
    return value


back = Pipeline("back", [one, two])


def tell_undone(question: r.Question) -> Any:
    """Say whether something was undone."""
    kind, _, rest = question.key.partition("|")
    here().watch.reach("undo in doubt")
    return {"undone": bool(here().outside.get("undone", Counter())[rest.partition("|")[0]])} if kind == "undo" else None


async def play_rollback(sim: Simulation) -> None:
    """Roll back at some moment, and let it go on."""
    await sim.start(back, 1)
    await sim.written(3 + sim.tape.pick(6))
    target = ("one", 1) if sim.tape.pick(2) else ("two", 1)
    said = await sim.said(lambda runtime: runtime.rollback("r", target), sim.names[sim.tape.pick(2)])
    sim.watch.reach("rollback refused" if said else "rolled back")
    while True:
        await sim.finish(answers=tell_undone)
        if sim.watch.stories["r"].status is COMPLETED:
            return
        await sim.said(lambda runtime: runtime.resume("r"))
        await asyncio.sleep(1)


def check_rollback(sim: Simulation, outcome: Outcome) -> list[str]:
    """It completed, and nothing was undone twice, or more often than it had happened."""
    if outcome.runs["r"] != ("completed", 100):
        return [f"the run ended {outcome.runs['r']}"]
    undone = sim.outside.get("undone", Counter())
    return [f"{key} was undone {times} times" for key, times in undone.items() if times > 1]


@task
async def nested(n: int, ctx: Context) -> str:
    """Wait for a person, a clock and a call at once."""

    async def slowly() -> int:
        await ctx.sleep(5)
        doubled: int = await ctx.call("double", double, n)
        return doubled

    async with asyncio.TaskGroup() as group:
        said = group.create_task(ctx.ask("Go on?", str))
        slow = group.create_task(slowly())
        more = group.create_task(ctx.ask("How?", str))
    return f"{said.result()} {slow.result()} {more.result()}"


nesting = Pipeline("nesting", [nested])


def say(question: r.Question) -> str:
    """Answer by the question."""
    return {"Go on?": "yes", "How?": "well"}.get(question.prompt, "?")


async def play_nested(sim: Simulation) -> None:
    """Answer what is asked."""
    await sim.start(nesting, 4)
    await sim.finish(answers=say)


@task
async def talk(n: int) -> Yields[int]:
    """Feed a stream edge."""
    for number in range(n):
        yield number
    yield Output(n)


@task
async def listen(talk: Stream[int], ctx: Context) -> list[int]:
    """Consume it."""
    heard = [number async for number in talk]
    return [*heard, int(await ctx.call("double", double, len(heard)))]


stream = Pipeline("stream", [talk, listen], [Edge("talk", "listen", stream=True)])


async def play_stream(sim: Simulation) -> None:
    """Follow it, and see it to its end."""
    follower = asyncio.ensure_future(sim.follow())
    await sim.start(stream, 3)
    await sim.finish()
    await follower


async def play_brief(sim: Simulation) -> None:
    """See it to its end."""
    await sim.start(brief, 3)
    await sim.finish()


SCENES: dict[str, Scene] = {
    scene.name: scene
    for scene in (
        Scene("effects", [effects], play_effects),
        Scene("fan", [fan], play_fan),
        Scene("loop", [loop], play_loop),
        Scene("reducer", [loop], play_reducer),
        Scene("question", [asking], play_question, check_question),
        Scene("timer", [timer], play_timer),
        Scene("cancel", [effects], play_cancel, check_cancel),
        Scene("pause", [fan], play_pause),
        Scene("rollback", [back], play_rollback, check_rollback),
        Scene("nested", [nesting], play_nested),
        Scene("stream", [stream], play_stream),
        Scene("brief", [brief], play_brief),
        *PEOPLE,
        *SIGNALS,
        *FAMILY,
        *FRAMES,
        *THREADS,
        *REOPENED,
        *BOUNDS,
    )
}
