"""Random trees of sub-graphs compared with the interpreter of `nested` (nested × parallel × pause, in one run).

A program is one of `nested`'s, made a definition of its own: what starts child runs there is a sub-graph here, several
beside each other, Pipelines in Graphs in Pipelines. Processes die and stand still between any two writes.
"""

from inspect import Parameter, Signature
from pathlib import Path
from random import Random
from typing import Annotated, Any, TypedDict

from trials.figures import Figures, Trial
from trials.nested import AGAIN, DEPTH, ROUNDS, Program, _answer, judge, make, output, perform
from windlass import AgentSpec, Context, Graph, Pipeline, Subgraph, Task, append
from windlass.core.blueprint import Definition
from windlass.core.states import COMPLETED
from windlass.testing.sim_play import Outcome, Simulation
from windlass.testing.sim_tape import Tape

NESTING = ("children", "gather")


def build(program: Program, name: str = "top") -> Definition:
    """Make a definition of a program, and of all that is in it."""
    return _graph(program, name) if program["kind"] == "loop" else _pipeline(program, name)


def _graph(program: Program, name: str) -> Graph:
    """Make a node of each step, one after the other; parts of a step stand beside each other, and are joined."""
    fields: dict[str, Any] = {"out": Annotated[list[Any], append]}
    nested = [(place, step) for place, step in enumerate(program["steps"]) if step["do"] in NESTING]
    fields |= {f"part{place}_{part}": Any for place, step in nested for part in range(len(step["of"]))}
    graph = Graph(name, TypedDict(f"State_{name}", fields, total=False))  # type: ignore[operator]
    before = "begin"

    @graph.node(id=before)
    async def begin() -> None:
        """Begin."""

    graph.start(before)
    for place, step in enumerate(program["steps"]):
        parts = [
            graph.subgraph(
                build(one, f"{name}_{place}_{part}"), id=f"step{place}_{part}", reads={}, writes=f"part{place}_{part}"
            )
            for part, one in enumerate(step.get("of", ()) if step["do"] in NESTING else ())
        ]  # fmt: skip
        for part in parts:
            graph.edge(before, part)
        graph.node(_join(step, place) if parts else _node(step), id=f"step{place}", writes=["out"], retry=AGAIN)
        graph.edge(parts or before, f"step{place}")
        before = f"step{place}"
    return graph


def _node(step: Program) -> Any:
    async def node(ctx: Context) -> dict[str, Any]:
        return {"out": [await perform(ctx, step)]}

    return node


def _join(step: Program, place: int) -> Any:
    """Make a node that reads what the parts of a step have written: its parameters are named after the channels."""

    async def join(*came: Any) -> dict[str, Any]:
        return {"out": [_come(step, came)]}

    names = [f"part{place}_{part}" for part in range(len(step["of"]))]
    parameters = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    join.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return join


def _come(step: Program, came: Any) -> list[Any]:
    return [output(one, value) for one, value in zip(step["of"], came, strict=True)]


class Begin(Task[Any, list[Any]]):
    """Forget the input."""

    id = "begin"

    async def execute(self, input: Any, ctx: Context, /) -> list[Any]:
        """Begin."""
        del input, ctx
        return []


class Step(Task[Any, list[Any]]):
    """Do a step, or take what its parts came to."""

    spec = AgentSpec(retry=AGAIN)

    def __init__(self, place: int, step: Program) -> None:
        self.id, self.step, self.place = f"step{place}", step, place

    async def execute(self, input: Any, ctx: Context, /) -> list[Any]:
        """Add to what has come so far."""
        if self.step["do"] not in NESTING:
            return [*input, await perform(ctx, self.step)]
        parts = [input[f"{self.id}_{part}"] for part in range(len(self.step["of"]))]
        return [*input["begin" if not self.place else f"step{self.place - 1}"], _come(self.step, parts)]


def _pipeline(program: Program, name: str) -> Pipeline:
    tasks: list[Any] = [Begin()]
    edges: list[tuple[Any, Any]] = []
    before = "begin"
    for place, step in enumerate(program["steps"]):
        here = f"step{place}"
        edges.append((before, here))
        for part, one in enumerate(step["of"] if step["do"] in NESTING else ()):
            tasks.append(Subgraph(build(one, f"{name}_{place}_{part}"), id=f"{here}_{part}"))
            edges += [(before, f"{here}_{part}"), (f"{here}_{part}", here)]
        tasks.append(Step(place, step))
        before = here
    return Pipeline(name, tasks, edges)


def play(program: Program, seed: int | None) -> tuple[Simulation, Outcome]:
    """Go through a program, with what a seed draws or without a fault."""
    definition = build(program)

    async def script(sim: Simulation) -> None:
        await sim.start(definition, {} if program["kind"] == "loop" else None)
        for _ in range(ROUNDS):
            await sim.finish(answers=lambda asked: _answer(asked.prompt) if sim.tape.pick(2) or not seed else None)
            if sim.watch.stories["r"].status is COMPLETED:
                return
        sim.watch.blame(f"stuck: {[(run, kept.head.status.value) for run, kept in sim.world.runs.items()]}")

    sim = Simulation(Tape() if seed is None else Tape(dice=Random(seed)), [definition], script)
    return sim, sim.run()


def framed(folder: Path, *, trees: int, seed: int = 0) -> Figures:
    """Draw trees, play each, and compare."""
    del folder
    figures = Figures(trees, {"wrong": 0}, {"frames": 0, "takeover from the dead": 0, "paused within": 0})
    faults = 0
    for number in range(seed, seed + trees):
        program = make(Random(number), DEPTH, [])
        sim, outcome = play(program, number)
        faults += outcome.faults
        figures.reach("takeover from the dead", outcome.reached.get("takeover from the dead", 0))
        rows = [row.body for row in sim.world.runs["r"].rows] if "r" in sim.world.runs else []
        figures.reach("frames", sum(b'"frame":' in body for body in rows))
        figures.reach("paused within", sum(b'"run.parked"' in body for body in rows))
        for said in judge(program, sim, outcome):
            figures.blame("wrong", f"tree {number}: {said}")
    figures.shown = {"faults": faults}
    return figures


TRIALS = (
    Trial(
        "framed", "F1 F4", "random trees of sub-graphs come to what an interpreter says, each question and effect once",
        framed, {"trees": 60}, {"trees": 3_000},
    ),
)  # fmt: skip
