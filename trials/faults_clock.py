"""The time of day jumps: an hour back, a day forward, back and forth, while runs sleep, retry and hold leases."""

import asyncio
from collections import Counter
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

from trials.figures import Figures, Trial
from windlass import Context, Edge, Pipeline, Retry, Runtime, task
from windlass.core.clock import Seams, SystemClock
from windlass.core.errors import RunOwned
from windlass.core.events import Event
from windlass.core.owner import this_process
from windlass.stores.base import LEASE_SECONDS
from windlass.stores.memory import MemoryStore
from windlass.stores.sqlite import SQLiteStore
from windlass.testing.simloop import SimulatedLoop, Stuck, simulated_seams

HOUR, DAY = 3_600.0, 86_400.0
JUMPS = (-HOUR, DAY, -DAY, HOUR)
SLACK_SECONDS = 62.0  # a minute, and a bit: a wait notices a jump when it next looks
SETTLE_SECONDS = 0.35  # three ticks of the heartbeat


class Scene:
    """A pipeline of sleeps, short and long, side by side, with an attempt that fails; it notes when each woke."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.clock = loop.clock
        self.begun: dict[str, tuple[float, float]] = {}  # address → monotonic, time of day
        self.woke: dict[str, tuple[float, float]] = {}
        self.naps: dict[str, float] = {}
        self.offsets = [(0.0, loop.clock.now() - loop.clock.monotonic())]  # when, and the time of day at zero since
        scene = self

        @task
        async def times(n: int) -> list[float]:
            return [0.5, 20.0, 900.0, 7_200.0][:n]

        @task(retry=Retry(on=ConnectionError, max_attempts=3, initial=30, jitter=0))
        async def nap(times: float, ctx: Context) -> float:
            scene.begun.setdefault(ctx.address, (scene.clock.monotonic(), scene.clock.now()))
            scene.naps[ctx.address] = times
            await ctx.sleep(times)
            scene.woke.setdefault(ctx.address, (scene.clock.monotonic(), scene.clock.now()))
            if ctx.attempt == 1:
                raise ConnectionError("down")
            return times

        self.pipeline = Pipeline("naps", [times, nap], [Edge("times", "nap", each=True)])

    def trouble(self) -> list[tuple[str, str]]:
        """Say which sleep ended before its time, by any time, or long after the time of day had come."""
        found = []
        for address, nap in self.naps.items():
            (began, said), (woke, shows) = self.begun[address], self.woke.get(address, (0.0, 0.0))
            if max(woke - began, shows - said) < nap - 1e-3:  # a millisecond is rounding
                found.append(("early", f"{address} slept {woke - began:.3f} of {nap} s"))
            if woke - max(began, self._last_before(said + nap, woke)) > SLACK_SECONDS:
                found.append(("late", f"{address} slept {woke - began:.3f} instead of {nap} s"))
        return found

    def _last_before(self, due_at: float, woke: float) -> float:
        """Return when, by the time that passed, the time of day was last before `due_at`."""
        last = 0.0
        for (begins, offset), (ends, _) in pairwise([*self.offsets, (woke, 0.0)]):
            if begins < woke and begins + offset < due_at:
                last = max(last, min(ends, woke, due_at - offset))
        return last


def jump(folder: Path, schedules: int, leases: int) -> Figures:
    """Let the time jump in simulated runs, and under a lease that is held for real."""
    figures = Figures()
    for seed in range(schedules):
        figures.trials += 1
        _simulate(seed, figures)
    for name in ("memory", "sqlite"):
        asyncio.run(_hold(name, folder, leases, figures))
    return figures


def _simulate(seed: int, figures: Figures) -> None:
    dice = Random(seed)
    loop = SimulatedLoop(dice.randrange, most_turns=200_000)
    scene = Scene(loop)
    events: list[Event] = []
    again: list[Event] = []

    async def jumps() -> None:
        for _ in range(dice.randint(1, 4)):
            await asyncio.sleep(dice.choice((0.2, 5, 25, 600, 3_000)))
            loop.clock.jump(dice.choice(JUMPS))
            scene.offsets.append((loop.clock.monotonic(), loop.clock.now() - loop.clock.monotonic()))
            figures.reach("jumps in mid-run")

    async def main() -> Any:
        seams = simulated_seams(loop, seed)
        store = MemoryStore(clock=loop.clock)
        await store.open()
        async with Runtime(store, seams=seams) as runtime:
            shaken = asyncio.ensure_future(jumps())
            run = await runtime.start(scene.pipeline, 4, id="r")
            events.extend([event async for event in runtime.events(run, follow=True)])
            result = await runtime.wait(run)
            shaken.cancel()
            again.extend([event async for event in runtime.events(run, follow=True)])  # at once
            return result.output

    try:
        output = loop.run(main())
    except Stuck as stuck:
        figures.blame("stuck", f"seed {seed}: {stuck}")
        return
    _judge(f"seed {seed}", output, events, figures)
    _judge(f"seed {seed}, once more", output, again, figures)
    for what, where in scene.trouble():
        figures.blame(what, f"seed {seed}: {where}")


def _judge(name: str, output: Any, events: list[Event], figures: Figures) -> None:
    if output != [0.5, 20.0, 900.0, 7_200.0]:
        figures.blame("wrong output", f"{name}: {output}")
    numbers = [event.seq for event in events if event.seq]
    if numbers != list(range(1, len(numbers) + 1)):
        figures.blame("out of order", f"{name}: events were told as {numbers}")
    if any(later.at < event.at for event, later in pairwise(events)):
        figures.reach("events whose times go back")
    fired = Counter((event.address, event.data["due_at"]) for event in events if event.type == "timer.fired")
    for event in events:
        times = fired[event.address, event.data.get("due_at")] if event.type == "timer.set" else 1
        if times != 1:
            figures.blame("timer not fired once", f"{name}: {event.address} {times} times")
        else:
            figures.reach("timers fired once", int(event.type == "timer.set"))


class Jumpy(SystemClock):
    """The system's clock, with a time of day that a test moves."""

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> float:
        """Return the time of day, as somebody has set it."""
        return SystemClock.now() + self.offset


async def _hold(name: str, folder: Path, jumps: int, figures: Figures) -> None:
    """Hold a run while the time jumps, and let another owner try to take it."""
    clock = Jumpy()
    store: Any = MemoryStore(clock=clock)
    if name == "sqlite":
        store = SQLiteStore(f"sqlite:///{folder}/leases.db", clock=clock)
    go_on = asyncio.Event()

    @task
    async def hold(n: int) -> int:
        await go_on.wait()
        return n

    await store.open()
    async with Runtime(store, seams=Seams(clock=clock)) as runtime:
        run = await runtime.start(Pipeline("hold", [hold]), 1, id=f"held-{name}")
        await asyncio.sleep(0.05)
        for number in range(jumps):
            figures.trials += 1
            clock.offset += JUMPS[number % len(JUMPS)]
            await asyncio.sleep(SETTLE_SECONDS)
            try:
                await store.claim(run, this_process())
                figures.blame("lease stolen", f"{name}, jump {number}")
            except RunOwned:
                figures.reach("claims refused after a jump")
            until = (await runtime.get(run)).owner_until or 0.0
            if until > clock.now() + LEASE_SECONDS:
                figures.blame("lease too long", f"{name}, jump {number}: {until - clock.now():.0f} s")
        go_on.set()
        if (await runtime.wait(run)).output != 1:
            figures.blame("lost", f"{name}: the run that held")
    await store.close()


TRIALS = (
    Trial(
        name="clock-jumps",
        faults="F14",
        says="The time of day jumps -1 h, +1 d, back and forth: no timer fires twice, early or late, events are told "
        "by sequence, and no lease is stolen or lasts too long once the heartbeat has looked.",
        run=jump,
        short={"schedules": 60, "leases": 4},
        long={"schedules": 2_000, "leases": 40},
    ),
)
