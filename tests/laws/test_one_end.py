"""A run has one end: whatever cancel, pause and completion race for it, the first that is durable stands (D20, F42).

Effects in flight come to their outcome first; none happens twice, and none that happened is without its record.
"""

import asyncio
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.laws.specimens import Pace
from tests.laws.stores import Slow
from windlass import Context, Pipeline, Runtime, task
from windlass.core.errors import RunState
from windlass.core.states import ENDED
from windlass.testing.simloop import SimulatedLoop, simulated_seams

HAPPENED: list[int] = []


async def pay(number: int) -> int:
    """Happen, in any time."""
    await Pace.wait()
    HAPPENED.append(number)
    await Pace.wait()
    return number


@task
async def first(n: int, ctx: Context) -> int:
    paid: int = await ctx.effect("pay", pay, n)
    return paid


@task
async def second(first: int, ctx: Context) -> int:
    await Pace.wait()
    paid: int = await ctx.effect("pay", pay, first + 1)
    return paid


@task
async def beside(n: int, ctx: Context) -> int:
    paid: int = await ctx.effect("pay", pay, n + 2)
    await Pace.wait()
    return paid


whole = Pipeline("whole", [first, second, beside])


class Ends(Slow):
    """Notes the states that a run has been in."""

    def __init__(self, dice: Random) -> None:
        super().__init__(dice)
        self.statuses: list[str] = []

    async def do(self, verb: str, *arguments: Any) -> Any:
        outcome = await super().do(verb, *arguments)
        kept = self.world.runs.get("r")
        if kept is not None and self.statuses[-1:] != [kept.head.status]:
            self.statuses.append(kept.head.status)
        return outcome


def raced(seed: int, verbs: list[str], moments: list[float]) -> Ends:
    """Run it, and give each command at its moment, all at once with everything else."""
    dice = Random(seed)
    loop = SimulatedLoop(dice.randrange)
    Pace.dice = dice
    store = Ends(dice)
    HAPPENED.clear()

    async def give(runtime: Runtime, verb: str, moment: float) -> None:
        await asyncio.sleep(moment)
        try:
            if verb == "cancel":
                await runtime.cancel("r")
            elif verb == "resume":
                await runtime.resume("r")
            else:
                await runtime.pause("r", immediate=verb == "stop")
        except RunState:
            return

    async def main() -> None:
        await store.open()
        async with Runtime(store, seams=simulated_seams(loop, seed)) as runtime:
            await runtime.start(whole, 1, id="r")
            given = [give(runtime, verb, moment) for verb, moment in zip(verbs, moments, strict=True)]
            await asyncio.gather(*given)
            result = await runtime.wait("r")
            while result.status == "paused":
                await runtime.resume("r")
                result = await runtime.wait("r")
            await asyncio.sleep(60)
            assert (await runtime.get("r")).head.status == result.status
            events = [event async for event in runtime.events("r")]
            paid = [event.data["value"] for event in events if event.type == "effect.completed"]
            assert sorted(paid) == sorted(HAPPENED)
            assert (await runtime.replay("r")).differing == ()
            assert result.status in ("completed", "cancelled")
            assert result.status == "cancelled" or result.output == {"second": 2, "beside": 3}

    loop.run(main())
    return store


@settings(max_examples=80)
@given(
    seed=st.integers(0, 10_000),
    given=st.lists(
        st.tuples(st.sampled_from(["cancel", "pause", "stop", "resume"]), st.floats(0, 8)), min_size=1, max_size=4
    ),
)
def test_the_first_end_that_is_durable_stands(seed: int, given: list[tuple[str, float]]) -> None:
    store = raced(seed, [verb for verb, _ in given], [moment for _, moment in given])
    ended = [status for status in store.statuses if status in ENDED]
    assert len(ended) == 1
    assert store.statuses[-1] == ended[0]
    assert len(HAPPENED) == len(set(HAPPENED))
