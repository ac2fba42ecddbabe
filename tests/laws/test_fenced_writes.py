"""Law 3: only fenced writes of the store advance a run, and each checks the epoch.

A store that knows nothing but the protocol sees every write of a run that does everything. Then the run is taken away
before its n-th write, for each n: that write and all after it are refused, and nothing changes.
"""

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.laws.specimens import GIVEN, Shape, graph_of, shapes, simulate
from tests.laws.stores import Between
from windlass import Context, Edge, Output, Pipeline, Runtime, Stream, Yields, task
from windlass.core.errors import StaleLease
from windlass.stores.base import Store
from windlass.testing.simloop import Stuck
from windlass.testing.specimens import an_owner

FENCED = {"create", "commit", "append_items"}
OWNERSHIP = {"claim", "release", "retire"}


async def undo(number: int) -> None:
    """Take nothing back."""


async def act(number: int) -> int:
    """Do nothing."""
    return number


@task
async def talk(n: int) -> Yields[int]:
    for number in range(n):
        yield number
    yield Output(n)


@task
async def listen(talk: Stream[int], ctx: Context) -> int:
    total = 0
    async for number in talk:
        total += number
        ctx.emit(number)
    return total


@task(undo=[undo])
async def busy(listen: int, ctx: Context) -> str:
    called: int = await ctx.call("call", act, listen)
    await ctx.sleep(0.5)
    await ctx.effect("act", act, called, undo=undo)
    return await ctx.ask("well?", str)


everything = Pipeline("everything", [talk, listen, busy], [Edge("talk", "listen", stream=True)])


async def lived_through(runtime: Runtime) -> str:
    """Answer, roll back, resume, pause, resume, and come to the end."""
    (question,) = await runtime.questions("r")
    await runtime.answer(question.id, "yes")
    await runtime.wait("r")
    await runtime.rollback("r", ("busy", 1))
    await runtime.resume("r")
    await runtime.wait("r")
    await runtime.pause("r")
    await runtime.resume("r", edits={"input": 4})
    (question,) = await runtime.questions("r")
    await runtime.answer(question.id, "yes")
    return (await runtime.wait("r")).status


class Watching(Between):
    """Checks what each write may change."""

    def __init__(self) -> None:
        super().__init__()
        self.verbs: list[str] = []
        self.left = ""

    async def write(self, verb: str, *arguments: Any) -> Any:
        assert self.left in ("", self.contents()), "something changed between two writes"
        heads = {name: kept.head for name, kept in self.world.runs.items()}
        if verb == "commit":
            (write,) = arguments
            kept = self.world.runs[write.run]
            assert (write.epoch, write.after) == (kept.epoch, kept.head.seq)
        if verb == "append_items":
            assert arguments[1] == self.world.runs[arguments[0]].epoch
        outcome = await super().write(verb, *arguments)
        if verb not in FENCED:
            assert heads == {name: kept.head for name, kept in self.world.runs.items()}, f"{verb} moved a head"
        self.verbs.append(verb)
        self.left = self.contents()
        return outcome


def test_every_step_forward_is_a_fenced_write() -> None:
    store: Watching = Watching()
    checked: Store = store
    assert simulate(everything, 3, 1, checked, lived_through) == "completed"
    assert {*store.verbs} == FENCED | OWNERSHIP - {"release"} | {"post"}
    assert store.left == store.contents()


class Taken(Between):
    """The run is another's, from the n-th write of an owner on."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at
        self.number = 0
        self.before = ""
        self.accepted: list[str] = []
        self.refused: list[str] = []

    async def write(self, verb: str, *arguments: Any) -> Any:
        if verb in ("commit", "append_items"):
            self.number += 1
            if self.number == self.at:
                self.world.leases = {name: (owner, 0.0) for name, (owner, _) in self.world.leases.items()}
                await self.inner.claim("r", an_owner("another"))
                self.before = self.contents()
        posting = self.contents() if self.before else ""
        try:
            outcome = await super().write(verb, *arguments)
        except StaleLease:
            self.refused.append(verb)
            raise
        if self.before and verb in FENCED:
            self.accepted.append(verb)
        if self.before and verb == "post":  # an answer is anybody's to give
            assert posting == self.before, "something changed before an answer"
            self.before = self.contents()
        return outcome


def taken_away(definition: Any, given: Any, at: int, then: Any = None) -> Taken:
    """Take a run away before a write, and let its owner come to its end."""
    store = Taken(at)
    with contextlib.suppress(StaleLease, Stuck):  # stuck: the answer is for the other owner, who never moves
        simulate(definition, given, at, store, then)
    return store


def test_without_the_run_each_write_of_everything_is_refused() -> None:
    whole = Taken(10**9)
    simulate(everything, 3, 1, whole, lived_through)
    assert whole.number > 15
    for at in range(1, whole.number + 1):
        store = taken_away(everything, 3, at, lived_through)
        assert store.refused, at
        assert not store.accepted, at
        assert store.contents() == store.before, at


@settings(max_examples=40)
@given(shape=shapes(), at=st.integers(1, 12))
def test_without_the_run_each_write_of_a_graph_is_refused(shape: Shape, at: int) -> None:
    store = taken_away(graph_of(shape), GIVEN, at)
    if store.number >= at:
        assert store.refused
        assert not store.accepted
        assert store.contents() == store.before


@pytest.mark.parametrize("durability", ["async", "exit"])
def test_it_is_so_when_writes_are_acknowledged_later(durability: str) -> None:
    for at in range(1, 6):
        store = Taken(at)
        graph = graph_of(Shape(3, ((1,), (2,), (0,)), (), (0, 3, 0), 40))
        try:
            simulate(graph, GIVEN, at, store, durability=durability)
        except StaleLease:
            assert store.refused
        assert not store.accepted
        assert not store.before or store.contents() == store.before
