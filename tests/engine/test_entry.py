"""Taking a run over: what rests goes on when its time has come, whatever the time of day did meanwhile."""

import asyncio
from typing import Any

import pytest

from tests.engine.mortal import House, begin, go_on, simulate
from windlass import Context, Pipeline, Retry, Runtime, task


def test_a_sleep_that_is_over_holds_no_retry_though_the_time_of_day_went_back() -> None:
    async def main(house: House) -> None:
        @task(retry=Retry.fixed(30, on=ConnectionError))
        async def nap(n: int, ctx: Context) -> int:
            await ctx.sleep(3600)
            if ctx.attempt == 1:
                house.clock.jump(-3000)
                raise ConnectionError
            return n

        found = await house.live(begin(Pipeline("p", [nap]), 1))
        assert found is not None
        assert found.output == 1
        assert house.clock.monotonic() < 3700

    simulate(main)


def asking_once(at: list[float], *, asks_again: bool) -> Pipeline:
    @task(retry=Retry.fixed(600, on=ConnectionError))
    async def work(n: int, ctx: Context) -> int:
        at.append(ctx.now)
        if ctx.attempt == 1:

            async def fail() -> None:
                await asyncio.sleep(1)
                raise ConnectionError

            await asyncio.gather(ctx.ask("well?", int), ctx.call("fail", fail))
        return await ctx.ask("well?", int) if asks_again else n

    return Pipeline("p", [work])


@pytest.mark.parametrize("is_paused", [False, True])
def test_a_retry_that_is_due_goes_on_though_a_question_of_the_activation_is_open(is_paused: bool) -> None:
    async def main(house: House) -> None:
        at: list[float] = []
        flow = asking_once(at, asks_again=False)

        async def leave(runtime: Runtime) -> None:
            await runtime.start(flow, 1, "r")
            await runtime.wait("r", timers=True)
            if is_paused:
                await runtime.pause("r")

        await house.live(leave, flow)
        await asyncio.sleep(700)

        async def find(runtime: Runtime) -> Any:
            if is_paused:
                await runtime.resume("r")
            else:
                await runtime.pick_up("r")
            return await runtime.wait("r")

        assert (await house.live(find, flow)).output == 1
        assert len(at) == 2

    simulate(main)


def test_a_retry_that_began_is_not_begun_again_while_its_question_is_open() -> None:
    async def main(house: House) -> None:
        at: list[float] = []
        flow = asking_once(at, asks_again=True)

        async def retry(runtime: Runtime) -> None:
            await begin(flow, 1)(runtime)
            await asyncio.sleep(700)

        await house.live(retry, flow)
        await house.live(go_on(), flow)
        assert len(at) == 2  # what it asks is open: nothing is new for it

        async def answer(runtime: Runtime) -> Any:
            (asked,) = await runtime.questions("r")
            await runtime.answer(asked.id, 5)
            return await runtime.wait("r")

        assert (await house.live(answer, flow)).output == 5
        assert len(at) == 3

    simulate(main)
