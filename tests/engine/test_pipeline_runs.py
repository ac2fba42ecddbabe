"""Pipelines from end to end: order, fan-out, failure, retry, recovery."""

import asyncio
from typing import Any

import pytest

from windlass import (
    Context,
    Edge,
    Failed,
    Output,
    Pipeline,
    Recover,
    RecoveryAction,
    Retry,
    RunFailed,
    Runtime,
    SyncContext,
    TaskError,
    ValidationResult,
    Yields,
    task,
)


@task
async def double(number: int) -> int:
    """Root task: its one parameter that names no task is the input."""
    return number * 2


@task
async def plus_one(double: int) -> int:
    """Takes the output of `double` by name."""
    return double + 1


@task
def shout(double: int, ctx: SyncContext) -> str:
    """A sync task, in a thread."""
    return f"{double}! {ctx.attempt}"


async def kinds(runtime: Runtime, run: str) -> list[str]:
    """The types of a run's events."""
    return [event.type async for event in runtime.events(run)]


async def test_a_diamond_runs_and_gives_a_dict_by_sink(runtime: Runtime) -> None:
    diamond = Pipeline("diamond", tasks=[double, plus_one, shout])
    result = await runtime.run(diamond, 4)
    assert result.output == {"plus_one": 9, "shout": "8! 1"}
    assert (await kinds(runtime, result.run))[0] == "run.created"
    assert (await kinds(runtime, result.run))[-1] == "run.completed"


async def test_events_are_numbered_without_a_gap(runtime: Runtime) -> None:
    result = await runtime.run(Pipeline("chain", tasks=[double, plus_one]), 1)
    numbers = [event.seq async for event in runtime.events(result.run)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert [e.seq async for e in runtime.events(result.run, after=2)] == numbers[2:]


@task
async def numbers(n: int) -> list[int]:
    """A list to map over."""
    return list(range(n))


@task
async def square(numbers: int) -> int:
    """One element of the list."""
    if numbers == 13:
        raise ValueError("unlucky")
    await asyncio.sleep((7 * numbers % 5) / 1000)
    return numbers * numbers


@task
async def total(square: list[int]) -> int:
    """The join."""
    return sum(square)


def mapped(**options: Any) -> Pipeline:
    """A map and its join."""
    return Pipeline(
        "mapped",
        tasks=[numbers, square, total],
        edges=[Edge("numbers", "square", each=True, **options), ("square", "total")],
    )


@pytest.mark.parametrize("size", [0, 1, 12])
async def test_a_map_joins_in_item_order(runtime: Runtime, size: int) -> None:
    result = await runtime.run(mapped(concurrency=3), size)
    assert result.output == sum(n * n for n in range(size))
    assert (await runtime.state(result.run))["square"] == [n * n for n in range(size)]


async def test_a_map_may_collect_its_failures(runtime: Runtime) -> None:
    @task
    async def count(square: list[Any]) -> int:
        return sum(isinstance(item, Failed) for item in square)

    pipeline = Pipeline(
        "collect", tasks=[numbers, square, count],
        edges=[Edge("numbers", "square", each=True, on_error="collect"), ("square", "count")], types=[Failed],
    )  # fmt: skip
    assert (await runtime.run(pipeline, 15)).output == 1


async def test_a_failure_keeps_what_finished_and_resume_goes_on(runtime: Runtime) -> None:
    calls: list[str] = []
    broken = True

    @task
    async def first(n: int, ctx: Context) -> int:
        calls.append("first")
        return n

    @task
    async def second(first: int, ctx: Context) -> int:
        async def pay() -> int:
            calls.append("pay")
            return 5

        paid: int = await ctx.call("pay", pay)
        calls.append("second")
        if broken:
            raise ValueError("not yet")
        return first + paid

    pipeline = Pipeline("mend", tasks=[first, second])
    with pytest.raises(RunFailed, match="not yet") as caught:
        await runtime.run(pipeline, 1, id="r")
    assert caught.value.failure["kind"] == "ValueError"
    broken = False
    await runtime.resume("r")
    assert (await runtime.wait("r")).output == 6
    assert calls == ["first", "pay", "second", "second"]


async def test_retry_counts_in_the_store_and_stops_at_its_limit(runtime: Runtime) -> None:
    tries = 0

    @task(retry=Retry(on=ConnectionError, max_attempts=3, initial=0.001))
    async def flaky(n: int) -> int:
        nonlocal tries
        tries += 1
        if tries < n:
            raise ConnectionError("down")
        return tries

    pipeline = Pipeline("flaky", tasks=[flaky])
    assert (await runtime.run(pipeline, 3)).output == 3
    tries = 0
    with pytest.raises(RunFailed, match="down"):
        await runtime.run(pipeline, 9)
    assert tries == 3


async def test_an_attempt_times_out(runtime: Runtime) -> None:
    @task(timeout=0.1)
    async def slow(n: int) -> int:
        await asyncio.sleep(n)
        return n

    pipeline = Pipeline("slow", tasks=[slow])
    with pytest.raises(RunFailed, match="longer than"):
        await runtime.run(pipeline, 5)
    assert (await runtime.run(pipeline, 0)).output == 0


async def test_an_attempt_that_gives_no_sign_of_life_is_stopped(runtime: Runtime) -> None:
    @task(idle_timeout=0.25)
    async def quiet(n: int, ctx: Context) -> int:
        for _ in range(n):
            await asyncio.sleep(0.06)
            ctx.emit("alive")
        await asyncio.sleep(0 if n else 5)
        return n

    pipeline = Pipeline("quiet", tasks=[quiet])
    assert (await runtime.run(pipeline, 5)).output == 5
    with pytest.raises(RunFailed, match="no sign of life"):
        await runtime.run(pipeline, 0)


async def test_validate_refuses_and_the_next_attempt_calls_afresh(runtime: Runtime) -> None:
    made = 0

    def big_enough(output: int) -> ValidationResult:
        return ValidationResult.ok() if output > 1 else ValidationResult.fail("too small")

    @task(retry=Retry(on=TaskError, max_attempts=3, initial=0), validate=big_enough)
    async def guess(n: int, ctx: Context) -> int:
        async def draw() -> int:
            nonlocal made
            made += 1
            return made

        value: int = await ctx.call("draw", draw)
        return value

    assert (await runtime.run(Pipeline("guess", tasks=[guess]), 0)).output == 2


@pytest.mark.parametrize(("proposal", "expected"), [(Recover.fallback(7), 7), (Recover.skip(None), None)])
async def test_recover_may_stand_in_for_the_output(runtime: Runtime, proposal: RecoveryAction, expected: Any) -> None:
    def recover(error: TaskError) -> RecoveryAction:
        assert error.kind == "ValueError"
        return proposal

    @task(recover=recover)
    async def fails(n: int) -> int | None:
        raise ValueError(n)

    assert (await runtime.run(Pipeline("recovers", tasks=[fails]), 0)).output == expected


async def test_yielded_items_are_visible_at_once_and_the_output_is_the_output(runtime: Runtime) -> None:
    @task
    async def talk(n: int) -> Yields[int]:
        for word in range(n):
            yield word
        yield Output(n)

    seen = [event async for event in runtime.execute(Pipeline("talk", tasks=[talk]), 3)]
    assert [event.data["value"] for event in seen if event.type == "item"] == [0, 1, 2]
    assert seen[-1].type == "run.completed"
    assert (await runtime.run(Pipeline("talk", tasks=[talk]), 3)).output == 3


async def test_the_same_id_attaches_and_another_input_is_refused(runtime: Runtime) -> None:
    chain = Pipeline("chain", tasks=[double, plus_one])
    assert (await runtime.run(chain, 1, id="one")).output == 3
    assert (await runtime.run(chain, 1, id="one")).output == 3
    with pytest.raises(Exception, match="another input"):
        await runtime.run(chain, 2, id="one")


async def test_a_map_over_what_is_no_list_fails_the_run_and_loses_nothing_beside_it(runtime: Runtime) -> None:
    lists: list[Any] = [None]

    @task
    async def split(number: int) -> list[int]:
        found: list[int] = lists[-1]
        return found

    @task
    async def each(item: int) -> int:
        return item

    pipeline = Pipeline("wrong", [split, each, double, plus_one], [Edge("split", "each", each=True)])
    with pytest.raises(RunFailed, match="each maps over split, and that is no list but NoneType"):
        await runtime.run(pipeline, 3, id="r")
    lists.append([1, 2])
    await runtime.rollback("r", ("split", 1))
    await runtime.resume("r")
    assert (await runtime.wait("r")).output == {"each": [1, 2], "plus_one": 7}
    assert (await runtime.replay("r")).differing == ()
