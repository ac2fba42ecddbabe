"""A call that is cut where its result comes in parts: numbers, money and records are those of a whole one."""

from typing import Any

import pytest

from windlass import Budget, Context, Cost, Deny, Pipeline, Retry, RunFailed, Runtime, Usage, task
from windlass.engine.current import CURRENT, IN_PORT
from windlass.engine.opened import OpenCall, open_call

COST = Cost(estimate=Usage(model_calls=1, tokens_out=10), read=lambda said: Usage(model_calls=1, tokens_out=said))


def stand_in(*, text: str) -> None:
    """Name an argument."""


async def opened(text: str, **options: Any) -> OpenCall:
    activation = CURRENT.get()
    assert activation is not None
    amounts = COST.estimate.amounts
    return await open_call(activation, "model", "m", (stand_in, (), {"text": text}), text, amounts, **options)


async def events(runtime: Runtime, kind: str) -> list[dict[str, Any]]:
    return [event.data async for event in runtime.events("r") if event.type == kind]


async def test_one_that_is_dropped_leaves_its_number_to_the_next() -> None:
    """Dropped, kept, and once more identical: a re-run finds both that were kept, in the same places."""
    made: list[int] = []

    async def ask(number: int) -> int:
        call = await opened("same")
        if call.kept is not None:
            return int(call.kept)
        made.append(number)
        if number == 0:
            call.drop({"model_calls": 1}, "nothing came")
            return -1
        return int(await call.keep(number, COST, "asked"))

    @task(retry=Retry(on=ConnectionResetError, initial=0.0))
    async def asking(_: int, ctx: Context) -> list[int]:
        found = [await ask(number) for number in range(3)] if ctx.attempt == 1 else [await ask(9), await ask(9)]
        if ctx.attempt == 1:
            raise ConnectionResetError
        return found

    async with Runtime() as runtime:
        result = await runtime.run(Pipeline("p", [asking], budget=Budget(tokens_out=100)), 0, id="r")
        (told,) = await events(runtime, "call.failed")
        kept = await events(runtime, "call.recorded")
    assert result.output == [1, 2]
    assert made == [0, 1, 2]
    assert (told["why"], told["usage"]) == ("nothing came", {"model_calls": 1})
    assert [data["usage"]["tokens_out"] for data in kept] == [1, 2]


async def test_what_cannot_be_kept_has_been_paid_for() -> None:
    @task
    async def asking(_: int) -> int:
        call = await opened("x")
        return int(await call.keep(7, COST, object()))

    async with Runtime() as runtime:
        with pytest.raises(RunFailed) as raised:
            await runtime.run(Pipeline("p", [asking], budget=Budget(tokens_out=100)), 0, id="r")
    assert raised.value.failure["code"] == "value.not_kept"


async def test_a_refused_one_gives_its_number_back() -> None:
    @task(grants=[Deny("model:m", when='args.text == "bad"')])
    async def asking(_: int) -> str:
        return (await opened("bad")).name

    async with Runtime() as runtime:
        with pytest.raises(RunFailed) as raised:
            await runtime.run(Pipeline("p", [asking]), 0)
    assert raised.value.failure["code"] == "policy.denied"


async def test_code_knows_its_attempt_and_whether_a_port_stands_before_it() -> None:
    seen: list[tuple[str, bool]] = []

    def look() -> None:
        activation = CURRENT.get()
        seen.append((activation.address if activation else "", IN_PORT.get()))

    async def inner() -> None:
        look()

    @task
    async def looking(_: int, ctx: Context) -> None:
        look()
        await ctx.call("inner", inner)
        await ctx.effect("inner", inner)
        await ctx.call("thread", look)
        look()

    assert CURRENT.get() is None
    async with Runtime() as runtime:
        await runtime.run(Pipeline("p", [looking]), 0)
    assert seen == [("looking#1", False), *[("looking#1", True)] * 3, ("looking#1", False)]


async def test_a_run_that_is_started_inside_a_port_has_ports_of_its_own() -> None:
    seen: list[tuple[str, bool]] = []

    @task
    async def below(_: int) -> None:
        activation = CURRENT.get()
        seen.append((activation.address if activation else "", IN_PORT.get()))

    @task
    async def above(_: int, ctx: Context) -> None:
        async def start() -> None:
            await runtime.run(Pipeline("below", [below]), 0)

        await ctx.call("start", start)
        activation = CURRENT.get()
        seen.append((activation.address if activation else "", IN_PORT.get()))

    async with Runtime() as runtime:
        await runtime.run(Pipeline("above", [above]), 0)
    assert seen == [("below#1", False), ("above#1", False)]
