"""A cancel that comes during a commit, during an effect, or as the run completes; and reducers that raise."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import make_dataclass
from pathlib import Path
from random import Random
from typing import Annotated, Any

from trials.figures import Figures, Trial
from windlass import Context, Graph, Pipeline, RunFailed, Runtime, task
from windlass.core import queries
from windlass.core.errors import WindlassError
from windlass.core.states import CANCELLED, COMPLETED, ENDED
from windlass.core.tallies import Answer
from windlass.stores.memory import MemoryStore
from windlass.testing.simloop import SimulatedLoop, Stuck, simulated_seams

LAST_TURNS = 20_000
WAYS = ("here", "elsewhere", "unheard")


class Tape:
    """Chooses the first ready callback until it is armed; then what is on the tape, and notes between how many."""

    def __init__(self, digits: list[int], depth: int) -> None:
        self.digits = digits
        self.depth = depth
        self.widths: list[int] = []
        self.armed = False

    def choose(self, ready: int) -> int:
        """Pick one of the ready callbacks."""
        place = len(self.widths)
        if not self.armed or place >= self.depth:
            return 0
        self.widths.append(ready)
        return self.digits[place] if place < len(self.digits) else 0

    def next(self) -> list[int] | None:
        """Return the next tape in order; None after the last."""
        digits = [*self.digits, *[0] * len(self.widths)][: len(self.widths)]
        while digits and digits[-1] + 1 >= self.widths[len(digits) - 1]:
            digits.pop()
        return [*digits[:-1], digits[-1] + 1] if digits else None


class Watched(MemoryStore):
    """Keeps a write after some turns of the loop; calls `reached` as the n-th begins; notes every status."""

    def __init__(self, at: int, pause: float, reached: Callable[[], None]) -> None:
        super().__init__()
        self.pause = pause
        self.at = at
        self.reached = reached
        self.begun = 0
        self.turn = asyncio.Lock()
        self.statuses: list[tuple[Any, int]] = []  # after each write, with the rows that it added

    async def commit(self, write: Any) -> tuple[Answer, ...]:
        """Keep a write, between turns of the loop."""
        number, self.begun = self.begun, self.begun + 1
        if number == self.at:
            self.reached()
        async with self.turn:  # first in, first out: what every store promises
            await asyncio.sleep(self.pause)
            answers = await super().commit(write)
            self.statuses.append((write.head.status, len(write.rows)))
        await asyncio.sleep(0)
        return answers


class Scene:
    """A run with an effect in its middle, and a cancel that comes at a certain point.

    Args:
        at: the commit at which the cancel comes; -1: in the effect.
        way: who cancels: this runtime, another one over the same store, or another one while this one never hears
            of it, because the run is over before it looks at the store again.
    """

    def __init__(self, at: int, way: str) -> None:
        self.at, self.elsewhere = at, way != "here"
        self.loop = SimulatedLoop(most_turns=LAST_TURNS)
        self.tape = Tape([], 0)
        self.calls: list[str] = []  # what the effect's function did
        self.cancels: list[asyncio.Task[Any]] = []
        self.runtimes: list[Runtime] = []
        pause = 0.03 if way == "elsewhere" else 0.0  # the owner looks every 0.05 s
        self.store = Watched(at, pause, self.cancel)
        scene = self

        async def send() -> str:
            scene.calls.append("begun")
            if scene.at < 0:
                scene.cancel()
            await asyncio.sleep(pause)
            scene.calls.append("done")
            return "sent"

        @task
        async def first(n: int) -> int:
            return n + 1

        @task
        async def mail(first: int, ctx: Context) -> str:
            sent: str = await ctx.effect("send", send)
            return sent

        @task
        async def beside(first: int) -> int:
            await asyncio.sleep(0)
            return first

        @task
        async def last(mail: str, beside: int) -> str:
            return f"{mail} {beside}"

        self.pipeline = Pipeline("racing", [first, mail, beside, last])

    def cancel(self) -> None:
        """Begin to cancel the run; from here on the order is the tape's."""
        self.tape.armed = True
        self.cancels.append(asyncio.ensure_future(self.runtimes[-1].cancel("r")))

    async def main(self) -> tuple[Any, list[str]]:
        """Drive the run to its end; return its record and the kinds of its events."""
        await self.store.open()
        seams = simulated_seams(self.loop)
        async with Runtime(self.store, seams=seams) as owner, Runtime(self.store, seams=seams) as other:
            self.runtimes = [owner, other] if self.elsewhere else [owner]
            await owner.start(self.pipeline, 1, id="r")
            await owner.wait("r")
            await asyncio.gather(*self.cancels, return_exceptions=True)
            kinds = [event.type async for event in owner.events("r")]
            return await owner.get("r"), kinds


def cancel(folder: Path, depth: int, commits: int) -> Figures:
    """Enumerate every order of what is ready, from the cancel on, to a depth."""
    figures = Figures()
    for at in range(-1, commits):
        for way in WAYS:
            number = sum(1 for _ in orders(at, depth, way, figures))
            figures.shown["most orders of one race"] = max(number, figures.shown.get("most orders of one race", 0))
    return figures


def orders(at: int, depth: int, way: str, figures: Figures) -> Iterator[list[int]]:
    """Run a scene in every order, to a depth; yield the tapes."""
    digits: list[int] | None = []
    while digits is not None:
        scene = Scene(at, way)
        scene.tape = Tape(digits, depth)
        scene.loop.choose = scene.tape.choose
        figures.trials += 1
        _race(scene, f"cancel at {at}, {way}, tape {digits}", figures)
        yield digits
        digits = scene.tape.next()


def _race(scene: Scene, name: str, figures: Figures) -> None:
    try:
        record, kinds = scene.loop.run(scene.main())
    except Stuck as stuck:
        figures.blame("stuck", f"{name}: {stuck}")
        return
    except WindlassError as error:
        figures.blame("owner's wait failed", f"{name}: {error}")
        return
    statuses = scene.store.statuses
    ended = next((place for place, (status, _) in enumerate(statuses) if status in ENDED), len(statuses))
    after = statuses[ended + 1 :]
    if ended == len(statuses) or any(status is not record.head.status or rows for status, rows in after):
        figures.blame("terminal state changed", f"{name}: {[status.value for status, _ in statuses]}")
    if sum(kind in ("run.completed", "run.cancelled") for kind in kinds) != 1:
        figures.blame("ends told", f"{name}: {kinds}")
    if scene.calls.count("begun") > 1:
        figures.blame("duplicated", f"{name}: the effect was called {scene.calls.count('begun')} times")
    if "begun" in scene.calls and not ("done" in scene.calls and "effect.completed" in kinds):
        figures.blame("effect not recorded", f"{name}: {scene.calls} {kinds}")
    for task_ in scene.cancels:
        raised = task_.exception()
        if raised is not None and not isinstance(raised, WindlassError):
            figures.blame("untyped error", f"{name}: {raised!r}")
        figures.reach("cancels refused", int(raised is not None))
    figures.reach("cancel beat completion", int(record.head.status is CANCELLED))
    figures.reach("completion beat cancel", int(record.head.status is COMPLETED and bool(scene.cancels)))
    figures.reach("effects in flight", int(scene.at < 0))


def reducers(folder: Path, graphs: int) -> Figures:
    """Let a reducer raise in a step of several writers, in graphs of all shapes."""
    figures = Figures()
    for seed in range(graphs):
        figures.trials += 1
        loop = SimulatedLoop(Random(seed).randrange)
        loop.run(_fold(Random(seed), f"seed {seed}", Runtime(seams=simulated_seams(loop, seed)), figures))
    return figures


async def _fold(dice: Random, name: str, opened: Runtime, figures: Figures) -> None:
    wide, deep = dice.randint(1, 4), dice.randint(1, 4)
    broken_at = dice.randrange(wide * deep)
    folds, mended = 0, False

    def fold(current: int, incoming: int) -> int:
        nonlocal folds
        if folds == broken_at and not mended:
            raise ZeroDivisionError("the reducer raised")
        folds += 1
        return current + incoming

    def note(current: list[str], incoming: list[str]) -> list[str]:
        return [*current, *incoming]

    fields = [("total", Annotated[int, fold]), ("seen", Annotated[list[str], note]), ("last", str)]
    graph = Graph("folding", make_dataclass("State", fields))
    for layer in range(deep):
        for place in range(wide):
            graph.node(_writer(layer, place), id=f"w{layer}_{place}", writes=["total", "seen"])
    graph.start(*(f"w0_{place}" for place in range(wide)))
    for layer in range(1, deep):
        before = [f"w{layer - 1}_{place}" for place in range(wide)]
        for place in range(wide):
            graph.edge(before, f"w{layer}_{place}")
    async with opened as runtime:
        run = await runtime.start(graph, {"total": 0, "seen": [], "last": ""}, id="r")
        for _ in range(dice.randint(1, 3)):  # again and again it fails in the same way
            await _fails(runtime, run, broken_at // wide, wide, name, figures)
            folds = broken_at // wide * wide
            await runtime.resume(run)
        await _fails(runtime, run, broken_at // wide, wide, name, figures)
        mended, folds = True, 0
        await runtime.resume(run)
        output = (await runtime.wait(run)).output
    if (output["total"], len(output["seen"])) != (wide * deep, wide * deep):
        figures.blame("lost", f"{name}: {output}")
    figures.reach("mended and resumed")


def _writer(layer: int, place: int) -> Callable[[], Any]:
    async def write() -> dict[str, Any]:
        return {"total": 1, "seen": [f"{layer}.{place}"]}

    return write


async def _fails(runtime: Runtime, run: str, layers: int, wide: int, name: str, figures: Figures) -> None:
    """Look at a run whose reducer has raised: its state is that of the step before."""
    try:
        await runtime.wait(run)
        figures.blame("not failed", name)
    except RunFailed as failed:
        if "the reducer raised" not in str(failed):
            figures.blame("untyped failure", f"{name}: {failed}")
    state = await runtime.state(run)
    applied = (state["total"], len(state["seen"]))
    if applied != (layers * wide, layers * wide):
        figures.blame("partial", f"{name}: {applied} of {layers * wide}")
    steps = await runtime.store.find(queries.Rows(run=run, kind="step"))
    if len(steps) != layers + 1:
        figures.blame("partial", f"{name}: {len(steps)} steps after {layers} layers")
    figures.reach("reducers that raised")


TRIALS = (
    Trial(
        name="cancel",
        faults="F42",
        says="A cancel comes during each commit and in an effect, from this runtime and from another, in every order "
        "of what is ready: a run ends once and never changes after it, and an effect in flight is recorded.",
        run=cancel,
        short={"depth": 4, "commits": 6},
        long={"depth": 6, "commits": 7},
    ),
    Trial(
        name="reducers",
        faults="F43",
        says="A reducer raises among several writers of a step: nothing of the step is applied, the failure is typed "
        "and the same each time, and the run goes on once the reducer is mended.",
        run=reducers,
        short={"graphs": 100},
        long={"graphs": 2_000},
    ),
)
