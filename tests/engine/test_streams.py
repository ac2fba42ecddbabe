"""Stream edges: early start, arrival order, provisional items, restarts."""

import asyncio
from random import Random
from typing import Any

import pytest

from tests.laws.stores import Slow
from windlass import Context, Edge, Output, Pipeline, Retry, Runtime, Stream, Yields, task
from windlass.testing.simloop import SimulatedLoop, simulated_seams


@task
async def count(n: int) -> Yields[int]:
    """Yield as many items."""
    for number in range(n):
        await asyncio.sleep(0.001)
        yield number
    yield Output(n)


@task
async def gather(count: Stream[int], ctx: Context) -> list[int]:
    """Consume them as they come."""
    seen = []
    async for number in count:
        seen.append(number)
        ctx.emit(f"saw {number}")
    return seen


async def test_a_consumer_starts_before_its_producer_ends(runtime: Runtime) -> None:
    pipeline = Pipeline("stream", tasks=[count, gather], edges=[Edge("count", "gather", stream=True)])
    order: list[str] = []
    async for event in runtime.execute(pipeline, 4, id="s"):
        if event.type == "item":
            order.append(f"{event.node} {event.data['value']}")
        elif event.type == "activation.completed":
            order.append(f"{event.node} done")
    assert (await runtime.wait("s")).output == [0, 1, 2, 3]
    assert order.index("gather saw 0") < order.index("count done")


async def test_a_mapped_producer_streams_each_output_as_it_ends(runtime: Runtime) -> None:
    @task
    async def names(n: int) -> list[int]:
        return list(range(n))

    @task
    async def read(names: int) -> int:
        await asyncio.sleep((5 - names) * 0.005)
        return names * 10

    @task
    async def rank(read: Stream[int]) -> list[int]:
        return [number async for number in read]

    pipeline = Pipeline(
        "ranked", tasks=[names, read, rank],
        edges=[Edge("names", "read", each=True), Edge("read", "rank", stream=True)],
    )  # fmt: skip
    assert (await runtime.run(pipeline, 5)).output == [40, 30, 20, 10, 0]
    assert (await runtime.run(pipeline, 0)).output == []


async def test_items_of_an_attempt_that_died_fall_away_and_the_consumer_restarts(runtime: Runtime) -> None:
    attempts = 0
    restarts = 0

    @task(retry=Retry(on=ValueError, max_attempts=2, initial=0.01))
    async def shaky(n: int) -> Yields[str]:
        nonlocal attempts
        attempts += 1
        for number in range(n):
            yield f"{attempts}.{number}"
            await asyncio.sleep(0.005)
            if attempts == 1 and number == 1:
                raise ValueError("half way")
        yield Output("")

    @task
    async def taker(shaky: Stream[str]) -> list[str]:
        nonlocal restarts
        restarts += 1
        return [item async for item in shaky]

    pipeline = Pipeline("shaky", tasks=[shaky, taker], edges=[Edge("shaky", "taker", stream=True)])
    result = await runtime.run(pipeline, 3)
    assert result.output == ["2.0", "2.1", "2.2"]
    assert restarts == 2


async def test_an_effect_of_a_consumer_waits_until_its_items_are_firm(runtime: Runtime) -> None:
    done: list[str] = []

    @task
    async def slow(n: int) -> Yields[int]:
        for number in range(n):
            yield number
        await asyncio.sleep(0.02)
        done.append("producer")
        yield Output(n)

    @task
    async def act(slow: Stream[int], ctx: Context) -> int:
        async def note(number: int) -> int:
            done.append("effect")
            return number

        async for number in slow:
            await ctx.effect("note", note, number, key=str(number))
        return 1

    pipeline = Pipeline("firm", tasks=[slow, act], edges=[Edge("slow", "act", stream=True)])
    assert (await runtime.run(pipeline, 2)).status == "completed"
    assert done == ["producer", "effect", "effect"]


@pytest.mark.parametrize("asks", [1])
async def test_a_consumer_parks_with_its_producer(runtime: Runtime, asks: int) -> None:
    @task
    async def asking(n: int, ctx: Context) -> Yields[str]:
        yield "before"
        said = await ctx.ask("go on?", str)
        yield said
        yield Output("")

    @task
    async def listen(asking: Stream[str]) -> list[str]:
        return [item async for item in asking]

    pipeline = Pipeline("parks", tasks=[asking, listen], edges=[Edge("asking", "listen", stream=True)])
    assert (await runtime.run(pipeline, asks, id="p")).status == "waiting"
    (question,) = await runtime.questions("p")
    await runtime.answer(question.id, "yes")
    assert (await runtime.wait("p")).output == ["before", "yes"]


async def test_items_reach_a_follower_in_another_runtime(url: str) -> None:
    @task
    async def talk(n: int, ctx: Context) -> int:
        for word in range(n):
            ctx.emit(word)
            await asyncio.sleep(0.1)
        return n

    async with Runtime(url) as owner, Runtime(url) as reader:
        run = await owner.start(Pipeline("talk", tasks=[talk]), 5)
        seen = [event async for event in reader.events(run, follow=True)]
    assert [event.data["value"] for event in seen if event.type == "item"][:2] == [0, 1]
    assert seen[-1].type == "run.completed"


@pytest.mark.parametrize("seed", range(12))
def test_a_consumer_waits_for_the_last_output_while_its_commit_is_on_its_way(seed: int) -> None:
    dice = Random(seed)
    loop = SimulatedLoop(dice.randrange)

    @task
    async def names(n: int) -> list[int]:
        return list(range(n))

    @task
    async def read(names: int) -> int:
        await asyncio.sleep(dice.random())
        return names

    @task
    async def collect(read: Stream[int]) -> list[int]:
        return [number async for number in read]

    edges = [Edge("names", "read", each=True), Edge("read", "collect", stream=True)]
    pipeline = Pipeline("collects", tasks=[names, read, collect], edges=edges)

    async def main() -> Any:
        store = Slow(dice)
        await store.open()
        async with Runtime(store, seams=simulated_seams(loop)) as runtime:
            return (await runtime.run(pipeline, 5)).output

    assert sorted(loop.run(main())) == [0, 1, 2, 3, 4]
