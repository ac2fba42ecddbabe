"""What comes while an attempt is on its way to sleep wakes it all the same."""

import asyncio
from typing import Any

from windlass import Context, Edge, Pipeline, Runtime, task
from windlass.engine.activation import Activation

LONG = 10.0  # seconds after which a wait counts as lost


async def question(runtime: Runtime, run: str, prompt: str) -> str:
    """Wait until a question is asked, and return its id."""
    while True:
        for asked in await runtime.questions(run):
            if asked.prompt == prompt:
                return asked.id
        await asyncio.sleep(0.01)


async def test_an_answer_that_comes_while_the_node_unwinds_wakes_it(runtime: Runtime) -> None:
    unwinding = asyncio.Event()

    @task
    async def asks(ctx: Context) -> Any:
        try:
            return await ctx.ask("Go?")
        finally:
            unwinding.set()
            await asyncio.sleep(0.05)

    @task
    async def beside() -> None:
        await unwinding.wait()

    async with asyncio.timeout(LONG):
        running = asyncio.create_task(runtime.run(Pipeline("p", [asks, beside]), id="r"))
        await unwinding.wait()
        await runtime.answer(await question(runtime, "r", "Go?"), "yes")
        await running
        result = await runtime.wait("r")
    assert result.output == {"asks": "yes", "beside": None}


async def test_the_end_of_a_child_that_comes_while_its_parent_unwinds_wakes_it(runtime: Runtime) -> None:
    unwinding = asyncio.Event()
    inner = asyncio.Event()

    @task
    async def small() -> int:
        await inner.wait()
        return 7

    child = Pipeline("child", [small])

    @task
    async def parent(ctx: Context) -> Any:
        try:
            return await ctx.run("child")
        finally:
            unwinding.set()
            inner.set()
            await asyncio.sleep(0.1)

    @task
    async def beside() -> None:
        await unwinding.wait()

    async with asyncio.timeout(LONG):
        result = await runtime.run(Pipeline("p", [parent, beside], children=[child]))
    assert result.output == {"parent": 7, "beside": None}


async def test_whatever_is_called_twice_keeps_nobody_waiting_behind_it(runtime: Runtime) -> None:
    hold = asyncio.Event()

    @task
    async def three() -> list[int]:
        return [0, 1, 2]

    @task
    async def one(item: int, ctx: Context) -> Any:
        if item == 0:
            return await asyncio.gather(ctx.ask("a"), ctx.ask("b"))
        if item == 1:
            return await ctx.ask("c")
        await hold.wait()
        return None

    @task
    async def beside(three: list[int]) -> None:
        await hold.wait()

    narrow = Pipeline("narrow", [three, one, beside], [Edge("three", "one", each=True, concurrency=1)])
    async with asyncio.timeout(LONG):
        await runtime.start(narrow, id="r")
        for prompt in ("a", "b", "c"):
            await runtime.answer(await question(runtime, "r", prompt), prompt)
        hold.set()
        result = await runtime.wait("r")
    assert result.output == {"one": [["a", "b"], "c", None], "beside": None}


async def test_what_came_is_not_stopped_before_it_goes_on() -> None:
    class Stopped(Activation):
        __slots__ = ("why",)

        def stop(self, reason: str) -> None:
            self.why = reason

    attempt = Stopped.__new__(Stopped)
    attempt.waits, attempt.live, attempt.stopping, attempt.closed, attempt.why = {}, 0, "", False, ""
    first, second = (asyncio.create_task(attempt.wait(key)) for key in ("a", "b"))
    await asyncio.sleep(0)
    attempt.waits["a"].set_result(None)
    attempt._look(0)
    assert attempt.why == ""
    await first
    for _ in range(6):
        await asyncio.sleep(0)
    assert attempt.why == "waiting", "the other is all that is left"
    second.cancel()


async def test_a_lone_node_hears_what_it_waits_for_while_it_does_something_else(runtime: Runtime) -> None:
    heard = list[str]()

    @task
    async def one() -> int:
        return 1

    child = Pipeline("child", [one])

    @task
    async def alone(ctx: Context) -> list[Any]:
        enough = asyncio.Event()

        async def hear(name: str, wait: Any) -> Any:
            value = await wait
            heard.append(name)
            if len(heard) == 4:
                enough.set()
            return value

        async def goes_on() -> str:
            await enough.wait()  # it would not, if the drive were deaf until this has ended
            return "done"

        said = await asyncio.gather(
            hear("answer", ctx.ask("Go?", str)),
            hear("deadline", ctx.ask("Who?", str, deadline=0.05, otherwise="nobody")),
            hear("signal", ctx.signal("told", int)),
            hear("child", ctx.run(child)),
            ctx.call("goes on", goes_on),
        )
        return list(said)

    async with asyncio.timeout(LONG):
        await runtime.start(Pipeline("p", [alone], children=[child]), id="r")
        await runtime.answer(await question(runtime, "r", "Go?"), "yes")
        await runtime.signal("r", "told", 5)
        result = await runtime.wait("r")
    assert result.output == ["yes", "nobody", 5, 1, "done"]
    assert sorted(heard) == ["answer", "child", "deadline", "signal"]
    events = [event.type async for event in runtime.events("r")]
    assert "run.parked" not in events


async def test_an_answer_to_one_node_is_heard_while_another_runs_alone(runtime: Runtime) -> None:
    rests, went_on = asyncio.Event(), asyncio.Event()

    @task
    async def asks(ctx: Context) -> str:
        try:
            said: str = await ctx.ask("Go?", str)
        except asyncio.CancelledError:
            rests.set()
            raise
        went_on.set()
        return said

    @task
    async def first() -> int:
        await rests.wait()
        return 1

    @task
    async def second(first: int) -> int:  # begins when nothing else runs
        await went_on.wait()
        return first + 1

    async with asyncio.timeout(LONG):
        await runtime.start(Pipeline("p", [asks, first, second]), id="r")
        asked = await question(runtime, "r", "Go?")
        async for event in runtime.events("r", follow=True):
            if event.type == "activation.completed":
                break
        await asyncio.sleep(0.05)
        await runtime.answer(asked, "yes")
        result = await runtime.wait("r")
    assert result.output == {"asks": "yes", "second": 2}
