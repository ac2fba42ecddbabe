"""A rollback is killed at every label within it, and again in its recovery: the next owner goes on.

Three undos, one for each way to settle a doubt, and an effect without one. No undo is run twice unless its author
allowed it, what the rollback says is what happened, and what was undone happens anew, under another key.
"""

import contextlib
from collections import Counter
from dataclasses import replace
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.laws.stores import Between
from windlass import Context, Happened, Pipeline, Recover, Runtime, Undo, task
from windlass.core import crashpoint, queries
from windlass.core.errors import StoreUnavailable
from windlass.stores.memory_world import World
from windlass.testing.simloop import SimulatedLoop, Stuck, simulated_seams


class Killed(BaseException):
    """The process is no more."""


class Outside:
    """The world: what happened in it, in which order; and when the process is to die."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self.undone: list[tuple[str, str]] = []
        self.at = 0  # labels until the process dies; 0 is never
        self.reached: list[str] = []
        self.is_dead = False
        self.ids = count(1)
        self.failures = 0  # of the second task, that are still to come

    def reach(self, label: str) -> None:
        """Die at the n-th label."""
        self.reached.append(label)
        if len(self.reached) == self.at:
            self.is_dead = True
        if self.is_dead:
            raise Killed(label)

    def check(self) -> None:
        """Nothing happens outside once the process is dead."""
        if self.is_dead:
            raise Killed


class Mortal(Between):
    """Dies with its process: nothing is written after that."""

    def __init__(self, outside: Outside, world: World) -> None:
        super().__init__(world=world)
        self.outside = outside

    async def write(self, verb: str, *arguments: Any) -> Any:
        if self.outside.is_dead:
            raise StoreUnavailable("the process is dead")
        return await super().write(verb, *arguments)


def pipeline(outside: Outside) -> Pipeline:
    """Make the pipeline: a task with two effects, one with two more."""

    async def make(name: str, key: str) -> str:
        outside.check()
        outside.done.append((name, key))
        return name

    def undo(how: str) -> Any:
        async def take_back(name: str, key: str, *, undo_key: str) -> None:
            outside.check()
            outside.reach(f"{how} begun")
            outside.undone.append((name, undo_key))
            outside.reach(f"{how} ended")

        take_back.__name__ = how
        return take_back

    async def look(name: str, key: str, *, undo_key: str) -> Happened | None:
        return Happened() if (name, undo_key) in outside.undone else None

    undos = [Undo(undo("asking")), Undo(undo("retrying"), on_doubt="retry"), Undo(undo("looking"), on_doubt=look)]

    @task(undo=undos)
    async def first(n: int, ctx: Context) -> int:
        for name in ("asking", "none"):
            undo = "" if name == "none" else name
            await ctx.effect(name, make, name, ctx.key(name), on_doubt="retry", undo=undo)
        return n

    @task(undo=undos, recover=lambda _: Recover.rollback("first"))
    async def second(first: int, ctx: Context) -> int:
        for name in ("retrying", "looking"):
            await ctx.effect(name, make, name, ctx.key(name), on_doubt="retry", undo=name)
        if outside.failures:
            outside.failures -= 1
            raise ValueError("all of it was wrong")
        return first

    return Pipeline("undoing", tasks=[first, second])


def live(outside: Outside, world: World, main: Any, *, at: int = 0, definition: Pipeline | None = None) -> bool:
    """Be one process, which dies at the n-th label; say whether it did."""
    world.leases = {name: (owner, 0.0) for name, (owner, _) in world.leases.items()}
    outside.is_dead, outside.reached, outside.at = False, [], at
    loop = SimulatedLoop(Random(0).randrange)
    given = definition or pipeline(outside)
    store = Mortal(outside, world)
    seams = replace(simulated_seams(loop), ids=lambda: f"{next(outside.ids):016x}")  # no two processes make one id

    async def process() -> None:
        await store.open()
        async with Runtime(store, [given], seams=seams) as runtime:
            await main(runtime, given)

    crashpoint.on_reach = outside.reach
    try:
        with contextlib.suppress(Killed, *([Stuck, StoreUnavailable] if at else [])):
            loop.run(process())
    finally:
        crashpoint.on_reach = None
    return outside.is_dead


async def start(runtime: Runtime, definition: Pipeline) -> None:
    """Let the run come to its end."""
    await runtime.run(definition, 1, id="r")


async def roll_back(runtime: Runtime, _: Pipeline) -> None:
    """Go on with the rollback; ask for it, if nobody has heard of it."""
    if await runtime.store.find(queries.Commands(run="r")):
        await runtime.pick_up("r")
        await runtime.wait("r")
    if not [event async for event in runtime.events("r") if event.type == "run.rolled_back"]:
        await runtime.rollback("r", ("first", 1))


async def answer(runtime: Runtime, outside: Outside) -> None:
    """Say the truth about every undo in doubt."""
    for question in await runtime.questions("r"):
        happened = question.about["undo_key"] in [key for _, key in outside.undone]
        await runtime.answer(question.id, {"undone": happened})


def judge(outside: Outside, world: World, kills: list[int]) -> int:
    """Look at what became of the rollback, let the run go on, and look again; return the number of doubts."""
    seen: dict[str, Any] = {}

    async def look(runtime: Runtime, _: Pipeline) -> None:
        seen["events"] = [event async for event in runtime.events("r")]
        seen["questions"] = await runtime.questions("r")
        seen["status"] = (await runtime.get("r")).head.status
        seen["undone"] = Counter(name for name, _ in outside.undone)
        await answer(runtime, outside)
        await runtime.resume("r")
        seen["output"] = (await runtime.wait("r")).output
        seen["lines"] = await runtime.store.find(queries.Effects(run="r"))
        seen["differing"] = (await runtime.replay("r")).differing

    live(outside, world, look)
    where = f"killed at {kills}"
    (back,) = [event.data for event in seen["events"] if event.type == "run.rolled_back"]
    assert seen["status"] == "paused", where
    assert seen["undone"]["asking"] <= 1, where
    assert seen["undone"]["looking"] == 1, where
    assert 1 <= seen["undone"]["retrying"] <= 1 + len(kills), where
    assert len({*outside.undone}) == len({name for name, _ in outside.undone}), f"{where}: an undo has two keys"
    order = list(dict.fromkeys(name for name, _ in outside.undone))
    assert order == [name for name in ("looking", "retrying", "asking") if name in order], where
    begun = Counter(event.data["name"] for event in seen["events"] if event.type == "effect.undoing")
    assert all(begun[name] >= number for name, number in seen["undone"].items()), f"{where}: undone without being told"
    in_doubt = ["first#1 asking"] if seen["questions"] else []
    assert back["in_doubt"] == in_doubt, where
    assert back["standing"] == ["first#1 none", *in_doubt], where
    undone = ["second#1 looking", "second#1 retrying", *([] if in_doubt else ["first#1 asking"])]
    assert back["undone"] == undone, where
    assert seen["output"] == 1, where
    assert seen["differing"] == (), where
    # What was undone has happened once more, under another key; what stands was adopted.
    keys = Counter(outside.done)
    assert max(keys.values()) == 1, where
    made = Counter(name for name, _ in outside.done)
    assert made == {"none": 1, "asking": 1 + seen["undone"]["asking"], "looking": 2, "retrying": 2}, where
    assert {line.status for line in seen["lines"]} <= {"done", "undone", "standing"}, where
    return len(seen["questions"])


def began() -> tuple[Outside, World]:
    """Make a run that is at its end."""
    outside, world = Outside(), World()
    live(outside, world, start)
    return outside, world


def labels() -> list[str]:
    """Name the labels that a rollback reaches."""
    outside, world = began()
    live(outside, world, roll_back)
    reached = list(outside.reached)
    assert judge(outside, world, []) == 0
    return reached


def test_it_is_killed_at_every_label() -> None:
    reached = labels()
    assert {"undo.before", "undo.after", "undo.result.after", "branch.before", "command.post"} <= {*reached}
    doubts = 0
    for at in range(1, len(reached) + 1):
        outside, world = began()
        assert live(outside, world, roll_back, at=at)
        live(outside, world, roll_back)
        doubts += judge(outside, world, [at])
    assert doubts > 2


@settings(max_examples=60, deadline=None)
@given(at=st.integers(1, 60), then=st.integers(1, 40))
def test_its_recovery_is_killed_too(at: int, then: int) -> None:
    outside, world = began()
    kills = [n for n in (at, then) if live(outside, world, roll_back, at=n)]
    live(outside, world, roll_back)
    judge(outside, world, kills)


@pytest.mark.parametrize("name", ["asking", "retrying", "looking"])
def test_a_kill_inside_an_undo_is_a_doubt(name: str) -> None:
    reached = labels()
    for moment in ("begun", "ended"):
        at = 1 + reached.index(f"{name} {moment}")
        outside, world = began()
        assert live(outside, world, roll_back, at=at)
        live(outside, world, roll_back)
        assert judge(outside, world, [at]) == (name == "asking")


def test_a_rollback_that_recover_proposed_goes_on_too() -> None:
    outside, world = Outside(), World()
    outside.failures = 1
    live(outside, world, start)
    reached = outside.reached
    first = [place for place, label in enumerate(reached, start=1) if label == "effect.result.after"][3]
    last = len(reached) - reached[::-1].index("branch.before")
    proposed = 0
    for at in range(first + 1, last + 1):
        outside, world = Outside(), World()
        outside.failures = 1
        assert live(outside, world, start, at=at)
        seen: dict[str, Any] = {}

        async def go_on(runtime: Runtime, definition: Pipeline, outside: Outside = outside, seen: Any = seen) -> None:
            result = await runtime.run(definition, 1, id="r")
            if result.status == "waiting":
                await answer(runtime, outside)
                result = await runtime.wait("r")
            seen["output"] = result.output
            seen["backs"] = [event async for event in runtime.events("r") if event.type == "run.rolled_back"]

        live(outside, world, go_on)
        undone = Counter(name for name, _ in outside.undone)
        assert seen["output"] == 1, at
        if not outside.undone:
            continue  # the failure was not durable: the task went on with what it had done
        proposed += 1
        assert len(seen["backs"]) == 1, at
        assert (undone["asking"] <= 1, undone["looking"]) == (True, 1), at
        assert max(Counter(outside.done).values()) == 1, at
        made = Counter(name for name, _ in outside.done)
        assert made == {"none": 1, "asking": 1 + undone["asking"], "looking": 2, "retrying": 2}, at
    assert proposed > 20


def test_an_undo_that_failed_is_not_tried_again_by_the_same_rollback() -> None:
    calls: list[str] = []

    def failing(outside: Outside) -> Pipeline:
        async def make(name: str) -> str:
            return name

        async def fail(name: str) -> None:
            outside.check()
            calls.append(name)
            raise ConnectionError("dead")

        @task(undo=[Undo(fail, on_doubt="retry")])
        async def first(n: int, ctx: Context) -> int:
            for name in ("one", "two"):
                await ctx.effect(name, make, name, undo="fail")
            return n

        return Pipeline("failing", tasks=[first])

    def begin() -> tuple[Outside, World]:
        outside, world = Outside(), World()
        live(outside, world, start, definition=failing(outside))
        return outside, world

    outside, world = begin()
    live(outside, world, roll_back, definition=failing(outside))
    second = [place for place, label in enumerate(outside.reached, start=1) if label == "undo.before"][1]
    calls.clear()
    outside, world = begin()
    assert live(outside, world, roll_back, definition=failing(outside), at=second)
    live(outside, world, roll_back, definition=failing(outside))
    assert calls == ["two", "one"]
