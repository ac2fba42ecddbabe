"""Random nested graphs compared with a reference interpreter: sub-graphs, fan-outs, loops, children, waits (S7 to S9).

A program is drawn as plain data, built into definitions (`build`), and interpreted without the product (`Reference`).
The definitions go through the simulation, where processes die and stand still between any two writes, and where
people answer in any order. A run has to come to what the interpreter says, with each question asked once and each
effect had once. A program that does not is made smaller as long as it stays wrong, and printed.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from trials.figures import Figures, Trial
from trials.nested_build import Definitions, takes
from trials.nested_reference import Reference
from windlass.core.ops import QuestionAsked
from windlass.core.records import BODY
from windlass.core.states import COMPLETED
from windlass.testing.sim_play import Outcome, Simulation
from windlass.testing.sim_tape import Tape

DEPTH, WIDTH = 4, 8
MOST_LEAVES = 200  # visits of leaves in a program
ROUNDS = 600  # looks at a run before it counts as stuck
SMALLER = 12  # seeds that a smaller program is tried with
ACTIONS = ("ask", "call", "effect", "sleep", "flaky", "once", "plain", "plain")
WITHIN = ("frames at once", "takeover within a frame", "parked within a frame")
Program = dict[str, Any]


class Draw:
    """Draws programs; every leaf has a number of its own."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        self.last = 0

    def definition(self, depth: int, *, listed: bool = False) -> Program:
        """Draw a definition. `listed`: a pipeline that gives a list, as a graph's channel takes it."""
        number = self._number()
        size = self.dice.randint(1, 3 if depth > 2 else 2)
        if self.dice.random() < 0.5:
            return {"kind": "graph", "id": number, "phases": [self._phase(depth) for _ in range(size)]}
        nodes: list[Program] = []
        for _ in range(size):
            known = [node["id"] for node in nodes]
            node = self._node(depth)
            node["needs"] = sorted(self.dice.sample(known, self.dice.randint(0, min(2, len(known)))))
            nodes.append(node)
        return {"kind": "pipeline", "id": number, "nodes": nodes, "listed": listed}

    def _number(self) -> int:
        self.last += 1
        return self.last

    def _leaf(self, depth: int) -> Program:
        if depth > 1 and self.dice.random() < 0.15:
            return {"do": "child", "id": self._number(), "of": self.definition(depth - 1)}
        return {"do": self.dice.choice(ACTIONS), "id": self._number()}

    def _part(self, depth: int, *, listed: bool) -> Program:
        """Draw a leaf or a sub-graph."""
        if depth > 1 and self.dice.random() < 0.5:
            return {"do": "sub", "id": self._number(), "of": self.definition(depth - 1, listed=listed)}
        return self._leaf(depth)

    def _node(self, depth: int) -> Program:
        if self.dice.random() < 0.35:
            count = self.dice.randint(0, WIDTH if depth == DEPTH else 3)
            held = self.dice.choice([None, None, 1, 2])
            return {"do": "each", "id": self._number(), "count": count, "held": held,
                    "of": self._part(depth, listed=False)}  # fmt: skip
        return self._part(depth, listed=False)

    def _phase(self, depth: int) -> Program:
        kind = self.dice.choice(["one", "one", "parallel", "send", "loop"])
        if kind == "one":
            return self._part(depth, listed=True)
        phase: Program = {"do": kind, "id": self._number()}
        if kind == "parallel":
            phase["of"] = [self._part(depth, listed=True) for _ in range(self.dice.randint(2, 3))]
        else:
            phase["of"] = self._part(depth, listed=True)
            phase["count"] = self.dice.randint(1, 3 if kind == "loop" or depth < DEPTH else WIDTH)
        return phase


def drawn(seed: int) -> Program:
    """Draw a program that is not too large: what is drawn next stands in for one that is."""
    draw = Draw(seed)
    while True:
        program, reference = draw.definition(DEPTH), Reference()
        reference.definition(program, takes(program, program["id"]))
        if reference.leaves <= MOST_LEAVES:
            return program


def play(program: Program, seed: int) -> tuple[Simulation, Outcome]:
    """Go through a program, with the faults that a seed draws; 0 draws none."""
    definitions = Definitions(program)

    async def script(sim: Simulation) -> None:
        await sim.start(definitions.top, takes(program, program["id"]))
        for _ in range(ROUNDS):
            await sim.finish(answers=lambda asked: _answer(asked.prompt) if sim.tape.pick(2) or not seed else None)
            if sim.watch.stories["r"].status is COMPLETED:
                return
            await asyncio.sleep(1)
        sim.watch.blame(f"stuck: {[(run, kept.head.status.value) for run, kept in sim.world.runs.items()]}")

    tape = Tape(dice=Random(seed)) if seed else Tape()
    sim = Simulation(tape, definitions.all, script)
    return sim, sim.run()


def _answer(prompt: str) -> int | None:
    return 3 * int(prompt.split(" ")[1]) if prompt.startswith("question ") else None


def judge(program: Program, sim: Simulation, outcome: Outcome) -> list[str]:
    """Say what is wrong with how a program went."""
    wrong = list(outcome.trouble)
    reference = Reference()
    should = reference.definition(program, takes(program, program["id"]))
    came = outcome.runs.get("r", ("lost", None))[1]
    if came != should:
        wrong.append(f"it came to {came}, not {should}")
    has_failed = "child failed" in outcome.reached or any(
        b"run.failed" in row.body for kept in sim.world.runs.values() for row in kept.rows
    )
    prompts = Counter(
        (run, op.prompt)
        for run, kept in sim.world.runs.items() for row in kept.rows for op in BODY.decode(row.body).ops
        if isinstance(op, QuestionAsked) and op.prompt.startswith("question ")
    )  # fmt: skip
    asked = Counter(int(prompt.split(" ")[1]) for _, prompt in prompts)
    if not has_failed and ((prompts.values() and max(prompts.values()) > 1) or asked != reference.asked):
        wrong.append(f"questions {dict(prompts)}, and they should be {dict(reference.asked)}")
    had = Counter(int(key.partition("|")[0]) for key in sim.outside if "|" in str(key))
    if had != reference.had:
        wrong.append(f"effects {dict(had)}, not {dict(reference.had)}")
    return wrong


def looked_within(sim: Simulation) -> Counter[str]:
    """Count what befell sub-graphs, by the logs."""
    found: Counter[str] = Counter()
    for kept in sim.world.runs.values():
        under_way: set[str] = set()
        for row in kept.rows:
            body = BODY.decode(row.body)
            under_way |= {body.frame} - {""}
            under_way -= {done.address for done in body.finished}
            found["frames at once"] += len(under_way) > 1
            found["takeover within a frame"] += any(said.type == "lease.taken_over" for said in body.said) * len(
                under_way
            )
            found["parked within a frame"] += any(said.type == "run.parked" for said in body.said) * len(under_way)
    return found


def smaller(program: Program) -> Iterator[Program]:
    """Give programs that are a little smaller: a definition within, a part left out, a plainer part, a lower count."""
    for name in ("phases", "nodes"):
        parts: list[Program] = program.get(name, [])
        for place, part in enumerate(parts):
            if len(parts) > 1:
                rest = [
                    {**one, "needs": [need for need in one["needs"] if need != part["id"]]} if "needs" in one else one
                    for one in (*parts[:place], *parts[place + 1 :])
                ]
                yield {**program, name: rest}
            for less in _smaller_part(part):
                yield {**program, name: [*parts[:place], less, *parts[place + 1 :]]}


def _smaller_part(part: Program) -> Iterator[Program]:
    rest: Program = {name: part[name] for name in ("id", "needs") if name in part}
    if part["do"] != "plain":
        yield {"do": "plain", **rest}
    of = part.get("of")
    if part.get("count", 0) > 1:
        yield {**part, "count": 1}
    if isinstance(of, list):
        for place in range(len(of)):
            yield {**of[place], **rest}
            for less in _smaller_part(of[place]):
                yield {**part, "of": [*of[:place], less, *of[place + 1 :]]}
    elif of is not None and "kind" in of:
        for less in smaller(of):
            yield {**part, "of": less}
    elif of is not None:
        yield {**of, **rest}
        for less in _smaller_part(of):
            yield {**part, "of": less}


def shrink(program: Program, seed: int) -> tuple[Program, list[str]]:
    """Make a program smaller as long as it stays wrong with some seed, and say what is wrong then."""

    def look(one: Program) -> list[str]:
        for number in (seed, *range(1, SMALLER)):
            wrong = judge(one, *play(one, number))
            if wrong:
                return wrong
        return []

    wrong = look(program)
    going = bool(wrong)
    while going:
        going = False
        for one in smaller(program):
            found = look(one)
            if found:
                program, wrong, going = one, found, True
                break
    return program, wrong


def written(part: Program, indent: str = "") -> str:
    """Write a program so that a person reads it: one line a part."""
    words = [f"{indent}{part.get('do') or part['kind']} {part['id']}"]
    words += [f"{name}={part[name]}" for name in ("count", "held", "needs") if part.get(name)]
    of = part.get("phases") or part.get("nodes") or part.get("of") or []
    below = [written(one, indent + "  ") for one in (of if isinstance(of, list) else [of])]
    return "\n".join([" ".join(words), *below])


def nested_graphs(folder: Path, *, programs: int, seed: int = 1) -> Figures:
    """Draw programs, play each, and compare."""
    del folder
    reached = dict.fromkeys(("child born", "takeover from the dead", *WITHIN), 0)
    figures = Figures(programs, {"wrong": 0}, reached)
    faults = runs = 0
    for number in range(seed, seed + programs):
        program = drawn(number)
        sim, outcome = play(program, number)
        faults, runs = faults + outcome.faults, runs + len(sim.world.runs)
        within = looked_within(sim)
        for what in figures.reached:
            figures.reach(what, within[what] if what in WITHIN else outcome.reached.get(what, 0))
        if judge(program, sim, outcome):
            least, wrong = shrink(program, number)
            figures.blame("wrong", f"program {number}: {wrong}\n{written(least)}")
    figures.shown = {"runs": runs, "faults": faults}
    return figures


TRIALS = (
    Trial(
        "nested-graphs", "F1 F4", "random nested graphs come to what an interpreter says; each effect is had once",
        nested_graphs, {"programs": 60}, {"programs": 5_000},
    ),
)  # fmt: skip
