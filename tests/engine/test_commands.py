"""Commands: the mark that one was taken and what follows from it are one write, whatever goes on beside."""

import asyncio
from typing import Any

import pytest

from windlass import Context, Pipeline, Runtime, task
from windlass.core.errors import StoreUnavailable
from windlass.core.queries import Commands, Questions
from windlass.stores.memory import MemoryStore
from windlass.stores.memory_world import World


class Slow:
    """A store that lets others have their turn while it looks for a question that was answered; it may die."""

    def __init__(self, world: World) -> None:
        self.inner = MemoryStore("memory:slow", world=world)
        self.looks, self.let_go = asyncio.Event(), asyncio.Event()
        self.dead = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def find(self, query: Any) -> Any:
        found = await self.inner.find(query)
        if isinstance(query, Questions) and query.statuses is None and found and found[0].status == "answered":
            self.looks.set()
            await self.let_go.wait()
        return found

    async def commit(self, write: Any) -> Any:
        if self.dead:
            raise StoreUnavailable("the process has died")
        return await self.inner.commit(write)


async def test_a_write_while_an_answer_is_looked_at_does_not_take_its_mark_along() -> None:
    asks_now, begin, written, is_first = asyncio.Event(), asyncio.Event(), asyncio.Event(), True

    @task(id="asks")
    async def asks(n: int, ctx: Context) -> Any:
        try:
            return await ctx.ask("Well?")
        finally:
            asks_now.set()

    @task(id="writes")
    async def writes(n: int, ctx: Context) -> int:
        if is_first:
            await begin.wait()
            await ctx.call("write", int)
            written.set()
            await asyncio.Event().wait()
        return n

    flow, world = Pipeline("beside", [asks, writes]), World()
    store: Any = Slow(world)
    await store.open()
    async with Runtime(store, [flow]) as runtime:
        run = await runtime.start(flow, 1)
        await asks_now.wait()
        (asked,) = await runtime.questions(run)
        answering = asyncio.create_task(runtime.answer(asked.id, "yes"))
        await store.looks.wait()
        begin.set()
        await written.wait()  # a row of this run went out while the answer was looked at
        store.dead = True
        store.let_go.set()
        await answering
        with pytest.raises(StoreUnavailable):
            await runtime.wait(run)
    is_first = False
    fresh = MemoryStore("memory:slow", world=world)
    await fresh.open()
    async with Runtime(fresh, [flow]) as runtime:
        assert await fresh.find(Commands(run=run))  # the answer still waits to be taken
        await runtime.pick_up(run)
        assert (await runtime.wait(run)).output == {"asks": "yes", "writes": 1}


async def test_an_answer_that_comes_while_the_attempt_is_being_stopped_is_heard(runtime: Runtime) -> None:
    stops, end = asyncio.Event(), asyncio.Event()

    @task(id="asks")
    async def asks(n: int, ctx: Context) -> Any:
        try:
            return await ctx.ask("Well?")
        finally:
            stops.set()
            await asyncio.sleep(0.05)  # it takes its time to stop

    @task(id="works")
    async def works(n: int) -> int:
        await end.wait()
        return n

    flow = Pipeline("beside", [asks, works])
    run = await runtime.start(flow, 1)
    await stops.wait()
    (asked,) = await runtime.questions(run)
    await runtime.answer(asked.id, "yes")
    await asyncio.sleep(0.1)
    end.set()
    assert (await runtime.wait(run)).output == {"asks": "yes", "works": 1}
