"""An attempt is stopped when its time is up, alone or among others; one that ignores that is left behind."""

import asyncio
from typing import Any

import pytest

from tests.engine.mortal import House, begin, end, simulate, told
from windlass import Budget, Edge, Pipeline, Retry, Runtime, task
from windlass.engine.activation import GRACE_SECONDS


async def deaf(seconds: float) -> None:
    """Sleep, whatever anybody says."""
    over = asyncio.get_running_loop().time() + seconds
    while (left := over - asyncio.get_running_loop().time()) > 0:
        try:
            await asyncio.sleep(left)
        except asyncio.CancelledError:
            continue


def ignoring(**options: Any) -> tuple[Pipeline, list[int]]:
    """Make a task that ignores its cancellation for a minute in its first attempt."""
    tries: list[int] = []

    @task(**options)
    async def work(n: int) -> int:
        tries.append(n)
        if len(tries) == 1:
            await deaf(60)
        return n

    @task
    async def after(work: int) -> int:
        async with asyncio.timeout(5):
            await asyncio.sleep(1)
        return work

    return Pipeline("p", [work, after], [("work", "after")]), tries


def test_an_attempt_that_ignores_its_timeout_is_left_behind_and_the_run_goes_on() -> None:
    pipeline, tries = ignoring(timeout=2, retry=Retry.fixed(0, on=Exception))

    async def main(house: House) -> None:
        async def work(runtime: Runtime) -> Any:
            found = await end(runtime, await runtime.start(pipeline, 7, "r"))
            assert house.clock.monotonic() == pytest.approx(2 + GRACE_SECONDS + 1, abs=0.1)
            await asyncio.sleep(120)  # what was left behind comes to its end, and changes nothing
            assert not (await runtime.replay("r")).differing
            return found

        found = await house.live(work)
        assert found is not None
        assert (found.output, len(tries)) == (7, 2)
        assert len(await told(house, "attempt.abandoned")) == 1
        assert await house.letters() == []

    simulate(main)


@pytest.mark.parametrize("options", [{"run_timeout": 5}, {"budget": Budget(wall_time=5)}])
def test_a_run_whose_only_attempt_ignores_the_end_of_its_time_fails(options: dict[str, Any]) -> None:
    @task
    async def work(n: int) -> int:
        await deaf(3600)
        return n

    async def main(house: House) -> None:
        found: Any = await house.live(begin(Pipeline("p", [work], **options), 1))
        assert found["code"] in ("policy.run_timeout", "policy.budget")
        assert house.clock.monotonic() < 10

    simulate(main)


@pytest.mark.parametrize("verb", ["cancel", "pause"])
def test_a_run_whose_only_attempt_ignores_its_cancellation_is_ended_all_the_same(verb: str) -> None:
    pipeline, _ = ignoring()

    async def main(house: House) -> None:
        async def work(runtime: Runtime) -> str:
            await runtime.start(pipeline, 7, "r")
            await asyncio.sleep(1)
            await (runtime.cancel("r") if verb == "cancel" else runtime.pause("r", immediate=True))
            return (await runtime.wait("r")).status

        assert await house.live(work) == {"cancel": "cancelled", "pause": "paused"}[verb]
        assert house.clock.monotonic() < 3

    simulate(main)


def test_a_runtime_closes_though_an_attempt_ignores_its_cancellation() -> None:
    pipeline, _ = ignoring()

    async def main(house: House) -> None:
        async def work(runtime: Runtime) -> None:
            await runtime.start(pipeline, 7, "r")
            await asyncio.sleep(1)

        await house.live(work)
        assert house.clock.monotonic() < 10
        found = await house.live(lambda runtime: end(runtime, "r"), pipeline)
        assert found is not None

    simulate(main)


def test_a_swallowed_cancellation_is_not_taken_for_another_s() -> None:
    """An attempt that comes to an output in spite of its timeout leaves nothing to the next, which takes its place."""
    marks: list[int] = []

    @task(timeout=1)
    async def stubborn(n: int) -> int:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            marks.append(n)
        return n

    @task
    async def after(stubborn: int) -> int:
        current = asyncio.current_task()
        marks.append(current.cancelling() if current is not None else -1)
        return stubborn

    async def main(house: House) -> None:
        found: Any = await house.live(begin(Pipeline("p", [stubborn, after], [("stubborn", "after")]), 1))
        assert (found.output, marks) == (1, [1, 0])

    simulate(main)


def test_each_of_many_has_its_own_clock() -> None:
    @task
    async def seconds(n: int) -> list[int]:
        return list(range(n))

    @task(timeout=10, idle_timeout=5)
    async def work(seconds: int, ctx: Any) -> int:
        for _ in range(seconds):
            await asyncio.sleep(1)
            await ctx.call("sign", int)
        return seconds

    @task(idle_timeout=5)
    async def count(seconds: list[int], work: list[Any]) -> int:
        return sum(isinstance(one, int) for one in work)

    async def main(house: House) -> None:
        pipeline = Pipeline("p", [seconds, work, count], [Edge(seconds, work, each=True, on_error="collect")])
        found: Any = await house.live(begin(pipeline, 20))
        assert found.output == 10
        assert house.clock.monotonic() == pytest.approx(10, abs=0.1)

    simulate(main)
