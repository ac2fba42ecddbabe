"""Many runs behind one breaker and one limit: whoever waits goes on soon after the probe came back; none starves."""

import asyncio
from typing import Any, TypedDict

import pytest

from tests.engine.mortal import House, begin, simulate
from windlass import END, Breaker, Graph, Limit, Pipeline, Retry, Runtime, task

COOLDOWN, ANSWER, DOWN = 0.5, 0.02, 2.0


def fleet(log: list[float]) -> Pipeline:
    """Make an agent of what is down for the first two seconds; `log` gets the times of calls that met that."""

    @task(
        breaker=Breaker("api", failures=3, cooldown=COOLDOWN, patience=60),
        limits=[Limit("api", concurrency=4)],
        retry=Retry(on=ConnectionError, max_attempts=20, initial=0.1, cap=0.5, jitter=0),
    )
    async def call(n: int) -> int:
        now = asyncio.get_running_loop().time()
        if now < DOWN:
            log.append(now)
            raise ConnectionError("down")
        await asyncio.sleep(ANSWER)
        return n

    return Pipeline("agent", [call])


@pytest.mark.parametrize("processes", [1, 4])
@pytest.mark.parametrize("seed", range(3))
def test_a_fleet_goes_on_soon_after_the_probe_came_back(processes: int, seed: int) -> None:
    log: list[float] = []
    pipeline = fleet(log)

    async def main(house: House) -> None:
        async def process(place: int) -> Any:
            async def work(runtime: Runtime) -> list[Any]:
                numbers = range(place, 24, processes)
                return await asyncio.gather(*(begin(pipeline, n, run=f"r{n}")(runtime) for n in numbers))

            return await house.live(work)

        found = await asyncio.gather(*map(process, range(processes)))
        assert sorted(result.output for results in found for result in results) == list(range(24))
        assert house.clock.monotonic() < DOWN + 4  # a cooldown, a probe, and six rounds of four
        assert len(log) <= 4 + 3 + DOWN / COOLDOWN  # those under way as it opened, and one probe for each cooldown

    simulate(main, seed)


class Turn(TypedDict):
    """The state of a run that takes many turns."""

    n: int
    most: int


def test_a_run_of_many_steps_leaves_a_permit_to_others_now_and_then() -> None:
    graph = Graph("turns", Turn)

    @graph.node(writes=["n"], limits=[Limit("api", concurrency=1)])
    async def step(n: int) -> dict[str, int]:
        await asyncio.sleep(0.1)
        return {"n": n + 1}

    def more(n: int, most: int) -> str:
        return END if n >= most else "step"

    graph.start(step)
    graph.branch(step, more, [step, END])

    async def main(house: House) -> None:
        async def work(runtime: Runtime) -> None:
            long = asyncio.ensure_future(begin(graph, {"n": 0, "most": 200}, run="long")(runtime))
            await asyncio.sleep(1)
            await begin(graph, {"n": 0, "most": 1}, run="short")(runtime)
            waited = house.clock.monotonic()
            await long
            assert waited < 10  # a step takes 0.1 s, and the other run 20 s

        await house.live(work)

    simulate(main)
