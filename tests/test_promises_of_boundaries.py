"""Promises of docs/promises.md about boundaries that no test of a single module shows."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from tests.engine.mortal import Death, House, begin, go_on, simulate
from windlass import (
    NO_RETRY,
    Allow,
    Context,
    Defaults,
    Graph,
    Limit,
    Output,
    Pipeline,
    Platform,
    Recover,
    Retry,
    RunFailed,
    Runtime,
    Task,
    Yields,
    task,
    tool,
)

PATIENCE = 20.0  # seconds until a wait that should end at once is given up


@dataclass
class State:
    n: int = 7


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    async with Runtime("memory:") as opened:
        yield opened


def down(n: int) -> Any:
    """Fail, as a dependency does that is away; nothing here knows of a retry."""
    raise ConnectionError(f"order {n}: nobody answers")


def forms() -> dict[str, Any]:
    """The same work in every form that a task has."""

    @task
    async def coroutine(n: int) -> int:
        return int(down(n))

    @task
    def plain(n: int) -> int:
        return int(down(n))

    @task
    async def generator(n: int) -> Yields[int]:
        yield Output(int(down(n)))

    class Form(Task[int, int]):
        id = "form"

        async def execute(self, input: int, ctx: Context) -> int:
            return int(down(input))

    graph = Graph("node", State)

    @graph.node(writes=["n"])
    async def node(n: int) -> dict[str, int]:
        return {"n": int(down(n))}

    graph.start(node)
    written: dict[str, Any] = {"coroutine": coroutine, "plain": plain, "generator": generator, "class": Form}
    return {**{name: Pipeline(name, [one]) for name, one in written.items()}, "node": graph}


async def test_one_platform_rules_every_form_of_task() -> None:
    platform = Platform(defaults=Defaults(retry=Retry.fixed(0, on=ConnectionError, max_attempts=3)))
    definitions = forms()
    async with Runtime("memory:", platform=platform) as runtime:
        for name, definition in definitions.items():
            with pytest.raises(RunFailed, match="nobody answers"):
                await runtime.run(definition, {} if name == "node" else 7, name)
        letters = await runtime.dead_letters()
        assert {letter.definition for letter in letters} == definitions.keys()
        assert {(letter.reason, letter.attempts, letter.failure.kind) for letter in letters} == {
            ("attempts", 3, "ConnectionError")
        }
        assert len({letter.trail for letter in letters}) == 1
        assert len({letter.pattern for letter in letters}) == 1  # one cause, over all of them
        for name in definitions:
            told = [event.type async for event in runtime.events(name)]
            assert (told.count("attempt.failed"), told.count("attempt.retrying")) == (3, 2)


@pytest.mark.parametrize("by", ["call", "tool"])
async def test_what_is_called_handles_no_error_and_no_task_does(by: str) -> None:
    called: list[int] = []

    @tool
    async def price(n: int) -> int:
        called.append(n)
        return 42 if len(called) == 3 else int(down(n))

    @task
    async def quote(n: int, ctx: Context) -> int:
        return int(await (ctx.tool("price", n=n) if by == "tool" else ctx.call("price", price.fn, n)))

    retry = Retry.fixed(0, on=ConnectionError)
    shop = Pipeline("shop", [quote], tools=[price], grants=[Allow("price")], defaults={"retry": retry})
    async with Runtime("memory:") as runtime:
        assert (await runtime.run(shop, 7)).output == 42
    assert called == [7, 7, 7]


async def test_no_retry_and_straight_to_a_person() -> None:
    @task(retry=NO_RETRY, recover=lambda _: Recover.escalate())
    async def quote(n: int) -> int:
        return int(down(n))

    often = Platform(defaults=Defaults(retry=Retry.fixed(0, on=Exception, max_attempts=9)))
    async with Runtime("memory:", platform=often) as runtime:
        assert (await runtime.run(Pipeline("shop", [quote]), 7, "r")).status == "waiting"
        assert [event.type async for event in runtime.events("r")].count("attempt.failed") == 1
        (question,) = await runtime.questions("r")
        assert "nobody answers" in question.prompt
        await runtime.answer(question.id, 42)
        assert (await runtime.wait("r")).output == 42


async def test_a_dead_letter_that_is_tried_again_pays_for_nothing_twice(runtime: Runtime) -> None:
    paid: list[str] = []

    async def model(prompt: str) -> str:
        paid.append(prompt)
        if prompt == "third" and paid.count(prompt) == 1:
            raise ConnectionError("away")
        return prompt

    @task
    async def first(n: int, ctx: Context) -> str:
        return str(await ctx.call("model", model, "first"))

    @task
    async def second(first: str, ctx: Context) -> list[str]:
        return [await ctx.call("model", model, prompt) for prompt in ("second", "third", "fourth")]

    with pytest.raises(RunFailed, match="away"):
        await runtime.run(Pipeline("models", [first, second]), 1, "r")
    (done,) = [done async for done in runtime.redrive()]
    assert done.refused is None
    assert (await runtime.wait("r")).output == ["second", "third", "fourth"]
    assert paid == ["first", "second", "third", "third", "fourth"]


async def test_a_run_that_is_held_leaves_the_others_alone(runtime: Runtime) -> None:
    go_on, began = asyncio.Event(), asyncio.Event()

    @task(limits=[Limit("one", concurrency=1)])
    async def limited(n: int) -> int:
        began.set()
        await go_on.wait()
        return n

    @task
    async def free(n: int) -> int:
        return n

    pipeline = Pipeline("limited", [limited])
    async with asyncio.timeout(PATIENCE):
        holder = await runtime.start(pipeline, 1)
        await began.wait()
        held = await runtime.start(pipeline, 2)
        assert (await runtime.run(Pipeline("free", [free]), 3)).output == 3
        assert [(await runtime.get(run)).head.status for run in (holder, held)] == ["running", "running"]
        go_on.set()
        assert [(await runtime.wait(run)).output for run in (holder, held)] == [1, 2]


@pytest.mark.parametrize("death", [None, *(Death("commit", number, after=True) for number in (1, 2, 3))])
def test_a_retry_waits_as_long_as_it_was_to_whoever_is_killed(death: Death | None) -> None:
    tries: list[float] = []

    @task(retry=Retry(on=ConnectionError, max_attempts=4, initial=10, factor=2, jitter=0))
    async def quote(n: int) -> int:
        tries.append(asyncio.get_running_loop().time())
        return int(down(n))

    shop = Pipeline("shop", [quote])

    async def main(house: House) -> None:
        if await house.live(begin(shop, 7), death=death) is None:
            await house.live(go_on(), shop)
        waits = [after - before for before, after in pairwise(tries)]
        assert [round(wait) for wait in waits if wait > 1] == [10, 20, 40]

    simulate(main)
