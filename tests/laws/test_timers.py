"""Each sleep is set once and fires once, at its time or after it, whoever is there when it is due."""

import asyncio
from collections import Counter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.laws.specimens import Pace
from tests.laws.stores import Between
from windlass import Context, Edge, Pipeline, Runtime, task
from windlass.testing.simloop import SimulatedLoop, simulated_seams


@task
async def naps(n: int) -> list[int]:
    return list(range(n))


@task
async def nap(naps: int, ctx: Context) -> int:
    dice = Random(naps)
    await ctx.sleep(dice.choice((0, 0.3, 2, 70, 4_000)))
    await asyncio.gather(ctx.sleep(dice.choice((0.5, 3, 90))), ctx.sleep(dice.choice((0.2, 5))))
    await Pace.wait()
    await ctx.sleep(dice.choice((0.1, 30)))
    return naps


whole = Pipeline("naps", [naps, nap], [Edge("naps", "nap", each=True)])


def slept(seed: int, size: int, absences: list[tuple[float, float]]) -> None:
    """Let a run sleep; the process is there for a while and then away for a while, as often as it says."""
    dice = Random(seed)
    loop = SimulatedLoop(dice.randrange)
    Pace.dice = dice
    store = Between()

    async def main() -> None:
        await store.open()
        for there, away in absences:
            async with Runtime(store, seams=simulated_seams(loop, seed)) as runtime:
                await runtime.start(whole, size, id="r")
                await asyncio.sleep(there)
            await asyncio.sleep(away)
        async with Runtime(store, seams=simulated_seams(loop, seed)) as runtime:
            assert (await runtime.run(whole, size, id="r")).output == list(range(size))
            events = [event async for event in runtime.events("r")]
        put = {(event.address, event.data["due_at"]): event.at for event in events if event.type == "timer.set"}
        fired = Counter((event.address, event.data["due_at"]) for event in events if event.type == "timer.fired")
        assert fired == Counter(put.keys())
        assert all(event.at >= event.data["due_at"] for event in events if event.type == "timer.fired")

    loop.run(main())


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), size=st.integers(1, 4))
def test_each_sleep_fires_once(seed: int, size: int) -> None:
    slept(seed, size, [])


@settings(max_examples=30)
@given(
    seed=st.integers(0, 1000), size=st.integers(1, 4),
    absences=st.lists(st.tuples(st.floats(0, 100), st.floats(0, 5_000)), min_size=1, max_size=3),
)  # fmt: skip
def test_each_sleep_fires_once_whoever_is_there(seed: int, size: int, absences: list[tuple[float, float]]) -> None:
    slept(seed, size, absences)
