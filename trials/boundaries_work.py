"""What the trials of boundaries run, in processes that are forked: spenders, a task that fails, a watcher, askers.

The world outside is a ledger in a file of its own. What is paid is noted there before anything else happens, so a
process that dies in a call has paid for it.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from trials.claims import Steps
from windlass import Breaker, Budget, Context, Cost, Pipeline, Retry, RunFailed, Runtime, Usage, task
from windlass.core.changes import Adjust
from windlass.core.errors import BudgetExceeded
from windlass.core.queries import Letters, Tallies
from windlass.core.tallies import BreakerAnswer, BreakerOp, BreakerState, BudgetState, Verb
from windlass.stores.base import open_store
from windlass.testing.crash_forks import Say
from windlass.testing.crash_world import Kill, World, enter, world

Work = Callable[[Say], Coroutine[Any, Any, None]]
ONE = 1_000_000  # of money, in millionths
CALLS = 25  # that a run makes at once
TENANT = "budget|tenant|default"
RETRY = Retry(on=ConnectionError, max_attempts=5, initial=0.02, factor=2, jitter=0)
SWITCH = Breaker("api", failures=3, window=60, cooldown=0.2, patience=0.4)
READS: dict[str, Callable[[Any], Usage | None]] = {  # what a call says that it used, when it was expected to use one
    "equal": lambda _: Usage(money=1),
    "thrice": lambda _: Usage(money=3),
    "missing": lambda _: None,
}


def process(work: Work, ledger: Path, turn: int, kill: Kill | None) -> Callable[[Say], None]:
    """Make a process that notes what it does in the world's ledger, and may be killed."""

    def begin(say: Say) -> None:
        enter(World(ledger, turn, kill))
        asyncio.run(work(say))

    return begin


# Spenders


async def pay(place: int) -> int:
    """Take the money, and a while to answer."""
    world().note("paid", name=str(place))
    await asyncio.sleep(random.random() / 200)
    return place


def spender(used: str, limit: int) -> Pipeline:
    """Make a pipeline that calls 25 times at once under the tenant's budget, and goes on when some may not be."""

    @task
    async def spend(n: int, ctx: Context) -> int:
        cost = Cost(estimate=Usage(money=1), read=READS[used])
        calls = [ctx.call("pay", pay, place, cost=cost) for place in range(n, n + CALLS)]
        ended = await asyncio.gather(*calls, return_exceptions=True)
        others = [
            error for error in ended if isinstance(error, BaseException) and not isinstance(error, BudgetExceeded)
        ]
        if others:
            raise others[0]
        for error in ended:
            if isinstance(error, BudgetExceeded):
                world().note("refused")
        return sum(not isinstance(error, BaseException) for error in ended)

    return Pipeline("spender", [spend], budget=Budget(money=limit, per="tenant"))


def spends(folder: Path, used: str, limit: int, place: int) -> Work:
    """Start or take over one run, and drive it to its end; say how many of its calls are recorded."""

    async def work(say: Say) -> None:
        pipeline, run = spender(used, limit), f"r{place}"
        async with Runtime(f"sqlite:///{folder}/runs.db") as runtime:
            result = await runtime.run(pipeline, place * CALLS, run)
            kept = [event async for event in runtime.events(run) if event.type == "call.recorded"]
            say(json.dumps({"status": result.status, "output": result.output, "recorded": len(kept)}))

    return work


def watches(folder: Path, limit: int, times: int) -> Callable[[Say], None]:
    """Look at the tenant's tally all the time; say how often, and what was reserved beyond the limit.

    Args:
        times: what a call comes to; what it came to beyond its estimate was never reserved.
    """

    async def watch(say: Say) -> None:
        store = open_store(f"sqlite:///{folder}/runs.db")
        await store.open()
        looks, most, seen = 0, 0, -1
        over: list[str] = []
        while not (folder / "stop").exists():
            for tally in await store.find(Tallies(keys=(TENANT,))):
                state = msgspec.json.decode(tally.body, type=BudgetState)
                reserved = state.held.get("money", 0) + -(-state.spent.get("money", 0) // times)
                most = max(most, reserved)
                looks += tally.version != seen
                seen = tally.version
                if reserved > limit * ONE:
                    over.append(f"version {tally.version}: {state.spent} spent, {state.held} held")
            await asyncio.sleep(0.0005)
        await store.close()
        say(json.dumps({"looks": looks, "most": most, "over": over[:5]}))

    return lambda say: asyncio.run(watch(say))


async def tallies(folder: Path, most: int = 1000) -> dict[str, Any]:
    """Return all tallies, each as plain JSON."""
    store = open_store(f"sqlite:///{folder}/runs.db")
    await store.open()
    found = {tally.key: json.loads(bytes(tally.body)) for tally in await store.find(Tallies(limit=most))}
    await store.close()
    return found


def tells(folder: Path) -> Callable[[Say], None]:
    """Say how all tallies stand."""
    return lambda say: say(json.dumps(asyncio.run(tallies(folder))))


# Askers


def told(round_: int, verb: Verb, holder: str, at: float, failures: int = 1) -> Adjust:
    """Make an operation on the breaker of a round."""
    op = BreakerOp(verb=verb, holder=holder, at=at, failures=failures, window=60, cooldown=10, patience=60)
    return Adjust(f"breaker|fleet||{round_}", op)


def asks(folder: Path, place: int, steps: Steps, rounds: int, probes: int) -> Callable[[Say], None]:
    """Ask an open breaker whose cooldown is over, with the others, in each round; say how many were let through.

    Of whoever is let through every second one fails: the breaker is open again then, and closed after the others.
    """

    async def ask(say: Say) -> None:
        store = open_store(f"sqlite:///{folder}/runs.db")
        await store.open()
        admitted = []
        for round_ in range(rounds):
            now = 1_000_000.0
            if place == round_ % steps.number:
                await store.adjust([told(round_, "failed", "first", now - 11)])
            steps.wait(place, 2 * round_ + 1)
            names = [f"r{place}|1|act#{number}" for number in range(probes)]
            answers = await asyncio.gather(*(store.adjust([told(round_, "ask", name, now)]) for name in names))
            passed = [name for name, (answer,) in zip(names, answers, strict=True)
                      if isinstance(answer, BreakerAnswer) and answer.admitted]  # fmt: skip
            admitted.append(len(passed))
            steps.wait(place, 2 * round_ + 2)
            verb: Verb = "failed" if round_ % 2 else "succeeded"
            for name in passed:
                await store.adjust([told(round_, verb, name, now + 1)])
        await store.close()
        say(json.dumps(admitted))

    return lambda say: asyncio.run(ask(say))


async def standing(folder: Path, rounds: int) -> list[str]:
    """Return how the breaker of each round stands."""
    found = await tallies(folder, rounds)
    states = {key: msgspec.convert(body, BreakerState) for key, body in found.items()}
    return [states.get(f"breaker|fleet||{place}", BreakerState()).status for place in range(rounds)]


# A task that fails


def failing(budget: int | None) -> Pipeline:
    """Make a task that pays and fails, until its attempts or its budget end."""

    async def fail() -> None:
        world().note("paid")
        raise ConnectionError("down")

    @task(retry=RETRY, breaker=SWITCH)
    async def act(n: int, ctx: Context) -> None:
        world().note("body", address=ctx.address, value=[ctx.attempt, time.time()])
        await ctx.call("pay", fail, cost=Cost(estimate=Usage(money=1)))

    return Pipeline("failing", [act], budget=Budget(money=budget or 1_000))


def fails(folder: Path, budget: int | None) -> Work:
    """Start or take over the run, and drive it to its end; say what is kept of it."""

    async def work(say: Say) -> None:
        pipeline = failing(budget)
        async with Runtime(f"sqlite:///{folder}/runs.db") as runtime:
            with suppress(RunFailed):
                await runtime.run(pipeline, 1, "r")
            events = [event async for event in runtime.events("r")]
            letters = await runtime.store.find(Letters(run="r", statuses=None))
            say(json.dumps({
                "status": (await runtime.get("r")).head.status,
                "failed": [[event.data["attempt"], event.at] for event in events if event.type == "attempt.failed"],
                "due": [[event.data["attempt"], event.data["due_at"]] for event in events
                        if event.type == "attempt.retrying"],
                "letters": [[letter.reason, letter.attempts] for letter in letters],
                "tallies": await tallies(folder),
            }))  # fmt: skip

    return work
