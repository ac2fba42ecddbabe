"""Random trees of runs compared with a reference interpreter (S7 to S9 of nesting: nested × parallel × pause).

A program is a tree: its steps ask, call, have effects, sleep, fail and try again, go on at once, and start programs as
child runs. It goes through the simulation, where processes die and stand still between any two of its writes, and
where people answer in any order. It has to come to what `expected` says, with each question asked once and each effect
had once.
"""

import asyncio
import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Annotated, Any, TypedDict

from trials.figures import Figures, Trial
from windlass import Context, Failed, Graph, Pipeline, Retry, RunFailed, append, task
from windlass.core.blueprint import Definition
from windlass.core.ops import QuestionAsked
from windlass.core.records import BODY
from windlass.core.states import COMPLETED
from windlass.testing.sim_acts import ask_outside, happen
from windlass.testing.sim_play import Outcome, Simulation, here
from windlass.testing.sim_tape import Tape

DEPTH, WIDTH = 4, 4
ROUNDS = 400  # looks at a tree before it counts as stuck
AGAIN = Retry(on=(ValueError, ConnectionError, RunFailed), max_attempts=10, initial=1.0, jitter=0.0)
Program = dict[str, Any]


def make(dice: Random, depth: int, names: list[int]) -> Program:
    """Draw a program."""
    steps = [_step(dice, depth, names) for _ in range(dice.randint(1, 3 if depth == DEPTH else 2))]
    return {"kind": dice.choice(["pipe", "loop"]), "cut": dice.randint(0, len(steps)), "steps": steps}


def _step(dice: Random, depth: int, names: list[int]) -> Program:
    names.append(len(names))
    kinds = ["ask", "call", "effect", "sleep", "flaky", "once"] + ["children", "gather"] * 2 * (depth > 1)
    step: Program = {"do": dice.choice(kinds), "id": names[-1]}
    if step["do"] in ("children", "gather"):
        step["join"] = dice.choice(["all", "collect"])
        step["of"] = [make(dice, depth - 1, names) for _ in range(dice.randint(1, WIDTH if depth == DEPTH else 2))]
    if step["do"] == "once":
        step["of"] = [{"do": kind, "id": names[-1] + place / 10} for place, kind in enumerate(("ask", "call", "sleep"))]
    return step


def expected(program: Program) -> list[Any]:
    """Interpret a program: what it has to come to."""
    return [_expected(step) for step in program["steps"]]


def _expected(step: Program) -> Any:
    if step["do"] in ("children", "gather"):
        return [expected(one) for one in step["of"]]
    if step["do"] == "once":
        return [_expected(one) for one in step["of"]]
    return {"ask": 3, "call": 2, "effect": 10, "sleep": 0, "flaky": 1}[step["do"]] * step["id"]


def places(program: Program, what: str) -> list[Any]:
    """List the ids of all steps of a kind."""
    found: list[Any] = []
    for step in program["steps"]:
        if step["do"] in ("children", "gather"):
            found += [id_ for one in step["of"] for id_ in places(one, what)]
        else:
            found += [one["id"] for one in (step.get("of") or [step]) if one["do"] == what]
    return found


def output(program: Program, came: Any) -> Any:
    """Take what a program came to out of the output of its run."""
    return came["out"] if program["kind"] == "loop" and isinstance(came, dict) else came


async def perform(ctx: Context, step: Program) -> Any:
    """Do a step as a task does."""
    id_, what = step["id"], step["do"]
    if what == "ask":
        return await ctx.ask(f"question {id_}", float)
    if what == "call":
        return await ctx.call("twice", lambda: id_ * 2, key=f"{id_}")
    if what == "effect":
        return await ctx.effect("happen", happen, id_, f"{id_}|{ctx.key('happen', f'{id_}')}", key=f"{id_}",
                                on_doubt=ask_outside)  # fmt: skip
    if what == "sleep":
        await ctx.sleep(3.0)
        return 0
    if what == "flaky":
        tried = here().outside.setdefault("tried", Counter())
        tried[id_] += 1
        if tried[id_] == 1:
            raise ValueError(f"not yet: {id_}")
        return id_
    if what == "once":
        return list(await asyncio.gather(*(perform(ctx, one) for one in step["of"])))
    if what == "gather":
        found = await asyncio.gather(*(ctx.run(one["kind"], as_input(one)) for one in step["of"]))
        return [output(one, came) for one, came in zip(step["of"], found, strict=True)]
    runs: list[tuple[Any, Any]] = [(one["kind"], as_input(one)) for one in step["of"]]
    found = await ctx.run_all(runs, step["join"], name=f"team {id_}")
    return [output(one, came) for one, came in zip(step["of"], found, strict=True)]


def as_input(program: Program) -> Any:
    """Give a program to the definition that it is written for."""
    return program if program["kind"] == "pipe" else {"program": program}


@task(retry=AGAIN)
async def head(program: Program, ctx: Context) -> Program:
    """Do the first steps."""
    return {"program": program, "out": [await perform(ctx, step) for step in program["steps"][: program["cut"]]]}


@task(retry=AGAIN)
async def tail(head: Program, ctx: Context) -> list[Any]:
    """Do the rest."""
    program = head["program"]
    return [*head["out"], *[await perform(ctx, step) for step in program["steps"][program["cut"] :]]]


class State(TypedDict):
    """Of a program that goes a step at a time."""

    program: Program
    out: Annotated[list[Any], append]


loop = Graph("loop", State, types=[Failed])


@loop.node(writes=["out"], retry=AGAIN)
async def turn(program: Program, out: list[Any], ctx: Context) -> dict[str, Any]:
    """Do one step."""
    return {"out": [await perform(ctx, program["steps"][len(out)])]}


def more(program: Program, out: list[Any]) -> str:
    """Say whether a step is left."""
    return "turn" if len(out) < len(program["steps"]) else "last"


@loop.node(writes=[])
async def last() -> None:
    """End."""


loop.start("turn")
loop.branch("turn", more, ["turn", "last"])
pipe = Pipeline("pipe", [head, tail], types=[Failed])
DEFINITIONS: list[Definition] = [pipe, loop]


def play(program: Program, seed: int | None) -> tuple[Simulation, Outcome]:
    """Go through a program, with what a seed draws or without a fault."""

    async def script(sim: Simulation) -> None:
        await sim.start(pipe if program["kind"] == "pipe" else loop, as_input(program))
        for _ in range(ROUNDS):
            await sim.finish(answers=lambda asked: _answer(asked.prompt) if sim.tape.pick(2) or not seed else None)
            if sim.watch.stories["r"].status is COMPLETED:
                return
            await asyncio.sleep(1)
        sim.watch.blame(f"stuck: {[(run, kept.head.status.value) for run, kept in sim.world.runs.items()]}")

    sim = Simulation(Tape() if seed is None else Tape(dice=Random(seed)), DEFINITIONS, script)
    return sim, sim.run()


def _answer(prompt: str) -> float | None:
    return 3 * float(prompt.rpartition(" ")[2]) if prompt.startswith("question ") else None


def is_poisoned(program: Program, sim: Simulation) -> bool:
    """Say whether a child lost three owners in a row where failures are collected: that is an end like another."""
    failed = any(b'"Poison"' in row.body for kept in sim.world.runs.values() for row in kept.rows)
    return failed and '"collect"' in json.dumps(program)


def judge(program: Program, sim: Simulation, outcome: Outcome) -> list[str]:
    """Say what is wrong with how a program went."""
    wrong = list(outcome.trouble)
    if is_poisoned(program, sim):
        return wrong
    came, should = output(program, outcome.runs.get("r", ("lost", None))[1]), expected(program)
    if came != should:
        wrong.append(f"it came to {came}, not {should}")
    asked = Counter(
        float(op.prompt.rpartition(" ")[2])
        for kept in sim.world.runs.values() for row in kept.rows for op in BODY.decode(row.body).ops
        if isinstance(op, QuestionAsked) and op.prompt.startswith("question ")
    )  # fmt: skip
    once = Counter(map(float, places(program, "ask")))
    has_failed = "child failed" in outcome.reached or any(b"run.failed" in row.body for row in sim.world.runs["r"].rows)
    if asked != once and not (has_failed and asked.keys() == once.keys()):
        wrong.append(f"questions asked {dict(asked - once)} too often, {dict(once - asked)} too seldom")
    had = Counter(key.partition("|")[0] for key in sim.outside if "|" in str(key))
    should_have = Counter(str(id_) for id_ in places(program, "effect"))
    if had != should_have:
        wrong.append(f"effects {dict(had)}, not {dict(should_have)}")
    return wrong


def nested(folder: Path, *, trees: int, seed: int = 0) -> Figures:
    """Draw trees, play each, and compare."""
    del folder
    figures = Figures(trees, {"wrong": 0}, {"child born": 0, "takeover from the dead": 0, "child completed": 0})
    faults = runs = 0
    for number in range(seed, seed + trees):
        program = make(Random(number), DEPTH, [])
        sim, outcome = play(program, number)
        faults, runs = faults + outcome.faults, runs + len(sim.world.runs)
        for what in figures.reached:
            figures.reach(what, outcome.reached.get(what, 0))
        for said in judge(program, sim, outcome):
            figures.blame("wrong", f"tree {number}: {said}")
    figures.shown = {"runs": runs, "faults": faults}
    return figures


TRIALS = (
    Trial(
        "nested", "F1 F4", "random trees of runs come to what an interpreter says, each question and effect once",
        nested, {"trees": 60}, {"trees": 5_000},
    ),
)  # fmt: skip
