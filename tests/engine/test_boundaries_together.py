"""Every limit at once, in any order of turns, with deaths anywhere: what has to hold whatever happens, holds."""

import asyncio
from collections import Counter
from functools import partial
from random import Random
from typing import Any

import pytest

from tests.engine.mortal import Death, House, begin, go_on, simulate
from windlass import Breaker, Budget, Context, Cost, Edge, Limit, Pipeline, Retry, Usage, task
from windlass.core import queries

ONE = 1_000_000
GPU = Limit("gpu", concurrency=2)
API = Breaker("api", failures=3, cooldown=5, patience=20)
ENDS = {"policy.budget", "task.timeout", "run.poison", "task"}  # codes of failures that may be


def program(dice: Random, seen: Counter[str]) -> tuple[Pipeline, int]:
    """Draw a program and what it may spend; `seen` counts what the world was paid, and who runs at once."""
    times, fails = dice.choice([1, 1, 3]), dice.choice([0, 0.2, 0.5])
    limit, calls = dice.choice([5, 20, 1000]), dice.choice([1, 3])

    async def pay(place: int) -> int:
        seen["paid"] += 1
        await asyncio.sleep(dice.random() * 3)
        if dice.random() < fails:
            raise ConnectionError("down")
        return place

    @task
    async def parts(n: int) -> list[int]:
        return list(range(n))

    @task(
        limits=[GPU],
        breaker=API if dice.random() < 0.5 else None,
        retry=Retry.fixed(1, on=ConnectionError, max_attempts=50),
        timeout=dice.choice([None, 60]),
    )
    async def work(parts: int, ctx: Context) -> int:
        seen["busy"] += 1
        seen["peak"] = max(seen["peak"], seen["busy"])
        cost = Cost(estimate=Usage(money=1), read=lambda _: Usage(money=times))
        try:
            await asyncio.gather(*(ctx.call("pay", pay, place, cost=cost) for place in range(calls)))
        finally:
            seen["busy"] -= 1
        return parts

    budget = Budget(money=limit, per=dice.choice(["run", "tenant"]))
    edges = [Edge("parts", "work", each=True)]
    durability: Any = dice.choice(["sync", "async", "exit"])
    seen["times"] = times
    return Pipeline("p", [parts, work], edges, budget=budget, durability=durability), limit


async def to_its_end(house: House, dice: Random, pipeline: Pipeline, name: str) -> Any:
    """Let a run be begun, and taken over by others while its owners die: twice at most."""
    found: Any = None
    for turn in range(4):
        is_mortal = turn < 2 and dice.random() < 0.6
        verb = dice.choice(["commit", "adjust", "find"])
        death = Death(verb, dice.randint(1, 8), dice.random() < 0.5) if is_mortal else None
        is_made = await house.store.find(queries.Runs(ids=(name,)))
        work = go_on(name) if is_made else begin(pipeline, dice.choice([1, 2, 5]), run=name)
        found = await house.live(work, pipeline, death=death)
        if found is not None:
            break
    return found


@pytest.mark.parametrize("seed", range(60))
def test_what_has_to_hold_holds(seed: int) -> None:
    dice, seen = Random(seed), Counter[str]()
    pipeline, limit = program(dice, seen)
    names = [f"r{place}" for place in range(dice.choice([1, 2, 3]))]

    async def main(house: House) -> None:
        found = await asyncio.gather(*map(partial(to_its_end, house, dice, pipeline), names))
        for one in found:
            assert one["code"] in ENDS if isinstance(one, dict) else one.status == "completed"
        budgets = [await house.tally(f"budget|run|{name}") for name in names] + [
            await house.tally("budget|tenant|default")
        ]
        spent = [state.spent.get("money", 0) for state in budgets]
        assert not any(state.held for state in budgets)
        assert sum(spent) >= seen["paid"] * ONE
        assert seen["times"] > 1 or max(spent) <= limit * ONE
        if house.lives == len(names):  # nobody died
            assert seen["peak"] <= (GPU.concurrency or 0)
            assert (await house.tally(GPU.key())).held == {}

    simulate(main, seed)
