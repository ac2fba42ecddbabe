"""Calls, effects and questions gathered in one node, with random latencies and kills (F1, F4).

Every answer reaches its own question and every recorded result its own call, whatever the order in which they end and
whoever is killed: each lane's result is a function of the lane alone, so one that is swapped is seen.
"""

import asyncio
import json
import random
import signal
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from trials.figures import Figures, Trial
from windlass import Context, Pipeline, Runtime, task
from windlass.core.errors import RunUnknown
from windlass.stores import sqlite as _warm  # noqa: F401 -- children import nothing
from windlass.testing.crash import LANES as PROCESSES
from windlass.testing.crash_forks import Child, Say, fork, lanes
from windlass.testing.crash_trial import workplace
from windlass.testing.crash_world import Kill, World, enter, read, world

LANES = 24
KINDS = ("call", "twin", "asked effect", "retried effect", "question", "both")


def expected(lane: int) -> str:
    """What a lane has to come to."""
    return {
        "call": f"called {lane}", "twin": "called twin", "asked effect": f"did {lane}", "retried effect": f"did {lane}",
        "question": f"answer to lane {lane}?", "both": f"answer to called {lane}?",
    }[KINDS[lane % len(KINDS)]]  # fmt: skip


async def say_called(what: str) -> str:
    """A call."""
    await asyncio.sleep(random.uniform(0, 0.01))
    world().note("call", address=what)
    return f"called {what}"


async def do(lane: int, key: str) -> str:
    """An effect."""
    await asyncio.sleep(random.uniform(0, 0.01))
    world().note("done", value=lane, key=key)
    await asyncio.sleep(random.uniform(0, 0.01))
    return f"did {lane}"


@task
async def everything(n: int, ctx: Context) -> dict[str, str]:
    async def one(lane: int) -> str:
        await asyncio.sleep(random.uniform(0, 0.02))
        kind = KINDS[lane % len(KINDS)]
        if kind == "call":
            return str(await ctx.call("say", say_called, str(lane)))
        if kind == "twin":  # four calls that only their number tells apart
            return str(await ctx.call("say", say_called, "twin"))
        if kind == "question":
            return await ctx.ask(f"lane {lane}?", str)
        if kind == "both":
            said: str = await ctx.call("say", say_called, str(lane))
            return await ctx.ask(f"{said}?", str)
        name = str(lane)
        doubt = "ask" if kind == "asked effect" else "retry"
        return str(await ctx.effect("do", do, lane, ctx.key("do", name), key=name, on_doubt=doubt))  # type: ignore[arg-type]

    lanes = await asyncio.gather(*(one(lane) for lane in range(n)))
    return {str(lane): said for lane, said in enumerate(lanes)}


scene = Pipeline("gathered", [everything])


def process(folder: Path, turn: int, kill: Kill | None) -> Callable[[Say], None]:
    """A process that says what is recorded, and goes on; it answers questions in any order, all but a few at a time."""

    def work(say: Say) -> None:
        enter(World(folder / "ledger", turn, kill))

        async def answer(runtime: Runtime) -> None:
            questions = await runtime.questions("r")
            random.shuffle(questions)
            for question in questions[: random.randint(1, 6)]:
                value: object = f"answer to {question.prompt}"
                if question.prompt.startswith("Did the effect"):
                    done = [line for line in read(folder / "ledger") if line.key and line.key in question.prompt]
                    value = {"happened": True, "value": f"did {done[0].value}"} if done else {"happened": False}
                await runtime.answer(question.id, value)
                await asyncio.sleep(random.uniform(0, 0.005))

        async def main() -> None:
            async with Runtime(f"sqlite:///{folder}/r.db") as runtime:
                say(json.dumps(await recorded(runtime)))
                result = await runtime.run(scene, LANES, id="r")
                while result.status == "waiting":
                    await answer(runtime)
                    result = await runtime.wait("r")
                say(json.dumps(result.output))

        asyncio.run(main())

    return work


async def recorded(runtime: Runtime) -> list[str]:
    """List the results of calls and effects that are in the file."""
    try:
        events = [event async for event in runtime.events("r")]
    except RunUnknown:
        return []
    return [event.data["value"] for event in events if event.type in ("call.recorded", "effect.completed")]


def trial(folder: Path, dice: random.Random) -> tuple[list[str], int]:
    """Kill twice, end the run in a third process; return what is wrong, and how many were killed."""
    folder.mkdir()
    wrong: list[str] = []
    kinds = ["record.before", "record.after", "effect.call.after", "post.inside", "commit.inside", "interrupt.create"]
    last: list[str] = []
    killed = 0
    for turn in range(3):
        kill = Kill(dice.choice(kinds), dice.randint(1, 4 + 2 * turn)) if turn < 2 else None
        child: Child = fork(process(folder, turn, kill))
        code, said = child.end(), child.rest()
        killed += code == -signal.SIGKILL
        if turn == 2 and code != 0:
            return [f"it did not end: {code}"], killed
        lines = [line for line in read(folder / "ledger") if line.turn >= turn]
        before = json.loads(said[0]) if said else []
        again = {f"called {line.address}" for line in lines if line.kind == "call" and line.address != "twin"}
        again |= {f"did {line.value}" for line in lines if line.kind == "done"}
        wrong += [f"recorded, and called again: {one}" for one in again.intersection(before)]
        twins = sum(line.address == "twin" for line in lines) + before.count("called twin")
        wrong += [f"{twins} twins"] if turn == 2 and twins != LANES // len(KINDS) else []
        last = said[1:]
    output = json.loads(last[0])
    wrong += [f"lane {lane}: {output[str(lane)]!r}" for lane in range(LANES) if output[str(lane)] != expected(lane)]
    done = [line for line in read(folder / "ledger") if line.kind == "done"]
    asked = Counter(line.value for line in done if KINDS[line.value % len(KINDS)] == "asked effect")
    wrong += [f"effect {lane} happened {number} times" for lane, number in asked.items() if number > 1]
    keys = {(line.value, line.key) for line in done}
    wrong += ["an effect has two keys"] if len(keys) > len({line.value for line in done}) else []
    return wrong, killed


def run(folder: Path, trials: int, seed: int = 1) -> Figures:
    """Make the trials."""
    figures, dice = Figures(bad={"wrong": 0}), random.Random(seed)
    with workplace() as quick:
        jobs = [partial(trial, quick / str(number), random.Random(dice.random())) for number in range(trials)]
        for number, (wrong, killed) in enumerate(lanes(jobs, PROCESSES)):
            figures.trials += 1
            figures.reach("killed", killed)
            for what in wrong:
                figures.blame("wrong", f"trial {number}: {what}")
    return figures


TRIALS = (
    Trial(
        "gather", "F1 F4",
        "Calls, effects and questions are gathered in one node and killed; each result has to reach its own place.",
        run, short={"trials": 12}, long={"trials": 600},
    ),
)  # fmt: skip
