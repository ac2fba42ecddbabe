"""A pipeline in simulated time: one seed, one trace; hours pass at once (D36)."""

from random import Random

import pytest

from windlass import Context, Edge, Pipeline, Retry, Runtime, SyncContext, task
from windlass.testing.simloop import SimulatedLoop, simulated_seams

Trace = list[tuple[str, str, float]]


@task
async def parts(n: int) -> list[int]:
    return list(range(n))


@task(retry=Retry(on=ConnectionError, max_attempts=5, initial=30))
async def flaky(parts: int, ctx: Context) -> int:
    await ctx.sleep(parts / 10)
    if ctx.attempt <= parts % 3:
        raise ConnectionError("down")
    return parts


@task
def add_up(flaky: list[int], ctx: SyncContext) -> int:
    return sum(flaky)


@task
async def night(add_up: int, ctx: Context) -> int:
    await ctx.sleep(7_200)
    return add_up


whole = Pipeline("whole", [parts, flaky, add_up, night], [Edge("parts", "flaky", each=True), ("flaky", "add_up")])


def simulate(seed: int) -> tuple[SimulatedLoop, int, Trace]:
    """Run the pipeline in a simulation; return its output and what its events told."""
    loop = SimulatedLoop(Random(seed).randrange)

    async def main() -> tuple[int, Trace]:
        async with Runtime("memory:", seams=simulated_seams(loop, seed)) as runtime:
            result = await runtime.run(whole, 7, id="r")
            return result.output, [(e.type, e.address, e.at) async for e in runtime.events("r")]

    return loop, *loop.run(main())


@pytest.mark.parametrize("seed", range(10))
def test_the_same_seed_gives_the_same_trace(seed: int) -> None:
    loop, output, trace = simulate(seed)
    assert output == 21
    assert (simulate(seed)[2], loop.failures) == (trace, [])


def test_seeds_differ_and_two_hours_pass_at_once() -> None:
    simulated = [simulate(seed) for seed in range(10)]
    assert len({str(trace) for _, _, trace in simulated}) == 10
    for loop, _, trace in simulated:
        assert trace[-1][2] - trace[0][2] >= 7_200
        assert loop.turns < 2_000
