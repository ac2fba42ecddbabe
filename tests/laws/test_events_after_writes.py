"""Law 4: an event exists only inside a write, and is told only after it; items are never events.

Followers in this runtime and in another one look at a store that takes its time over each write, before and after it is
durable, and that loses some: what they are told stands in the store at that moment.
"""

import asyncio
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.laws.specimens import Pace
from tests.laws.stores import Between, Slow
from tests.laws.test_fenced_writes import everything
from windlass import Runtime
from windlass.core.errors import StoreUnavailable
from windlass.core.events import EVENTS, ITEMS, Event
from windlass.testing.simloop import SimulatedLoop, simulated_seams

FIRST = (0, 0, 3)  # the event after which each follower begins


class Failing(Slow):
    """The n-th write fails, either before it is durable or after.

    Args:
        fails: the number of the write that fails; 0 for none.
        applied: that write is durable all the same: its answer was lost.
    """

    def __init__(self, dice: Random, fails: int, *, applied: bool) -> None:
        super().__init__(dice)
        self.fails = fails
        self.applied = applied
        self.number = 0

    async def do(self, verb: str, *arguments: Any) -> Any:
        counts = verb in ("commit", "append_items")
        self.number += counts
        is_it = counts and self.number == self.fails
        if is_it and not self.applied:
            raise StoreUnavailable("the disk is full")
        outcome = await super().do(verb, *arguments)
        if is_it:
            raise StoreUnavailable("the line went dead")
        return outcome


class Follower:
    """Notes what it is told, and whether that stood in the store by then."""

    def __init__(self, store: Between) -> None:
        self.store = store
        self.numbers: list[int] = []
        self.items: list[Event] = []
        self.is_over = False

    async def follow(self, runtime: Runtime, after: int) -> None:
        """Follow a run to its end, also over the time in which it waits for people."""
        while not self.is_over:
            async for event in runtime.events("r", after=max([after, *self.numbers]), follow=True):
                self.look(event)
            await asyncio.sleep(0.1)

    def look(self, event: Event) -> None:
        """Check one event at the moment at which it is told."""
        if event.type in ITEMS:
            assert event.seq == 0
            self.items.append(event)
            return
        assert event.type in EVENTS
        assert 0 < event.seq <= self.store.last(), f"{event.type} was told before it was durable"
        self.numbers.append(event.seq)
        self.is_over = event.type == "run.completed"


def followed(seed: int, durability: str, fails: int = 0, *, applied: bool = False) -> tuple[Failing, list[Follower]]:
    """Run everything on a slow store, with followers; answer its question when it is asked."""
    dice = Random(seed)
    loop = SimulatedLoop(dice.randrange)
    Pace.dice = dice
    store = Failing(dice, fails, applied=applied)
    followers = [Follower(store) for _ in range(3)]

    async def main() -> None:
        await store.open()
        other_store = Between(world=store.world)
        await other_store.open()
        seams = simulated_seams(loop, seed)
        async with Runtime(store, seams=seams) as runtime, Runtime(other_store, seams=seams) as other:
            try:
                await runtime.start(everything, 3, id="r", durability=durability)
            except StoreUnavailable:
                return
            runtimes = [runtime, other, runtime]
            watches = [f.follow(by, after) for f, by, after in zip(followers, runtimes, FIRST, strict=True)]
            tasks = [loop.create_task(watch) for watch in watches]
            try:
                await runtime.wait("r")
                (question,) = await runtime.questions("r")
                await runtime.answer(question.id, "yes")
                await runtime.wait("r")
                await asyncio.wait(tasks)
            except StoreUnavailable:
                await asyncio.sleep(10)
                for one in tasks:
                    one.cancel()
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(ended, Exception) and not isinstance(ended, StoreUnavailable):
                    raise ended

    loop.run(main())
    return store, followers


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_followers_are_told_what_is_durable_all_of_it_and_in_order(durability: str, seed: int) -> None:
    store, followers = followed(seed, durability)
    last = store.last()
    assert last > 10
    for follower, first in zip(followers, FIRST, strict=True):
        assert follower.numbers == list(range(first + 1, last + 1))
    assert [item for item in followers[0].items if item.type == "item"]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), fails=st.integers(1, 20), applied=st.booleans())
def test_what_was_lost_is_told_to_nobody(durability: str, seed: int, fails: int, applied: bool) -> None:
    store, followers = followed(seed, durability, fails, applied=applied)
    for follower, first in zip(followers, FIRST, strict=True):
        assert follower.numbers == list(range(first + 1, first + 1 + len(follower.numbers)))
        assert not follower.numbers or follower.numbers[-1] <= store.last()


def test_items_are_no_events_and_stand_in_no_row() -> None:
    assert not EVENTS.keys() & ITEMS.keys()
    store, followers = followed(1, "sync")
    kinds = {item.type for item in followers[0].items}
    assert kinds <= ITEMS.keys()
    rows = b"".join(row.body for row in store.world.runs["r"].rows)
    assert not [kind for kind in ITEMS if b'"%s"' % kind.encode() in rows]
