"""A noisy neighbour: one tenant has very much to do, another a little, and both have the same two workers (S23).

`fair` looks at the order: whose runs are picked up, and which first. `neighbour` takes the time that the little ones
need from submission to completion, with the workers to themselves and beside the backlog. Every process is forked, and
the parent opens nothing.
"""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from trials.figures import Figures, Trial
from windlass import Context, Pipeline, Runtime, task
from windlass.core.queries import Runs
from windlass.core.records import RunRecord
from windlass.core.states import COMPLETED
from windlass.testing.crash_forks import Child, Say, fork
from windlass.worker.worker import PAGE, Worker

WORKERS = 2
NOISY, QUIET = "acme", "zoo"  # by their names, the noisy one comes first
WAVE = 250  # runs that are submitted at once
TWICE = 2.0  # of FAULTS S23
SECONDS = 60.0
JITTER = 0.5  # of a shift: else all of them would end at once, and leave room for all at once


DONE: list[str] = []  # the runs whose shift this process has worked


@task
async def shift(seconds: float, ctx: Context) -> float:
    """Take a while."""
    await asyncio.sleep(seconds * (1 - JITTER + random.random() * 2 * JITTER))
    DONE.append(ctx.run_id)
    return seconds


work = Pipeline("shift", [shift])


def opened(folder: Path, *definitions: Pipeline) -> Runtime:
    """Make a Runtime; without definitions it drives nothing."""
    return Runtime(f"sqlite:///{folder}/runs.db", list(definitions), timers=False)


def hired(folder: Path, seconds: float) -> Callable[[Say], None]:
    """Make one finished run of each tenant, for the others to be forks of."""

    def make(_: Say) -> None:
        async def main() -> None:
            async with opened(folder, work) as runtime:
                await asyncio.gather(*(runtime.run(work, seconds, id=one, tenant=one) for one in (NOISY, QUIET)))

        asyncio.run(main())

    return make


async def completed(runtime: Runtime, names: list[str], pause: float, seconds: float) -> list[RunRecord]:
    """Wait until runs are done, and return those that are."""
    asked, give_up = Runs(ids=tuple(names), statuses=(COMPLETED,), limit=len(names)), time.monotonic() + seconds
    while len(done := await runtime.store.find(asked)) < len(names) and time.monotonic() < give_up:  # noqa: ASYNC110
        await asyncio.sleep(pause)
    return done


def submitted(folder: Path, tenant: str, names: list[str], *, awaited: bool = False) -> Callable[[Say], None]:
    """Submit runs, in this order; with `awaited`, say how long each took from its submission to its completion."""

    def submit(say: Say) -> None:
        async def main() -> None:
            async with opened(folder) as runtime:
                at = (await runtime.history(tenant))[0].n
                for start in range(0, len(names), WAVE):
                    wave = names[start : start + WAVE]
                    await asyncio.gather(*(runtime.fork(tenant, at=at, id=name) for name in wave))
                done = await completed(runtime, names, 0.02, SECONDS) if awaited else []
                say(json.dumps([record.updated_at - record.created_at for record in done]))

        asyncio.run(main())

    return submit


def employed(folder: Path, slots: int) -> Callable[[Say], None]:
    """Be a worker until it is told to stop; say what was picked up, and when, and what was done."""

    def serve(say: Say) -> None:
        async def main() -> None:
            picked: list[tuple[float, str]] = []

            def tell(what: str, run: str = "", **_: Any) -> None:
                if what == "run.picked_up":
                    picked.append((time.time(), run))

            async with opened(folder, work) as runtime:
                worker = Worker(runtime, [work], concurrency=slots, told=tell)
                working = asyncio.ensure_future(worker.run())
                say("ready")
                while not (folder / "stop").exists():  # noqa: ASYNC110 -- nobody tells
                    await asyncio.sleep(0.02)
                worker.stop()
                await working
                await worker.drain(SECONDS)
            say(json.dumps([picked, DONE]))

        asyncio.run(main())

    return serve


def ended(child: Child, figures: Figures, what: str) -> str:
    """Wait for a child's last line."""
    said = child.rest()
    if child.end(SECONDS) != 0 or not said:
        figures.blame("stuck", f"{what} said {said}")
        return "[]"
    return said[-1]


def fair(folder: Path, backlog: int, few: int, slots: int, seconds: float = 0.02, *, whole: bool = False) -> Figures:
    """Let a backlog stand, then a few runs of another; judge the order in which two workers pick them up.

    Args:
        backlog: runs of the noisy tenant.
        few: runs of the other, submitted later.
        slots: runs at once, of each worker.
        seconds: what a run takes.
        whole: until all are done, so that each has been picked up once.
    """
    figures = Figures(bad={"late": 0, "out of order": 0, "starved": 0, "twice": 0, "stuck": 0})
    much, little = [f"n{place}" for place in range(backlog)], [f"q{place}" for place in range(few)]
    for step in (hired(folder, seconds), submitted(folder, NOISY, much), submitted(folder, QUIET, little)):
        if fork(step).end(SECONDS * 10) != 0:
            figures.blame("stuck", "the runs could not be submitted")
            return figures
    workers = [fork(employed(folder, slots)) for _ in range(WORKERS)]
    waiting = fork(until_done(folder, [*much, *little] if whole else little))
    ended(waiting, figures, "whoever waits")
    (folder / "stop").touch()
    said: list[tuple[list[Any], list[str]]] = [
        json.loads(ended(worker, figures, "a worker")) or ([], []) for worker in workers
    ]
    picks = sorted(pick for picked, _ in said for pick in picked)
    order = list(dict.fromkeys(run for _, run in picks))  # one that was over when it was picked up is let go
    done = Counter(run for _, shifts in said for run in shifts)
    figures.trials = len(order)
    wanted = set(much)
    figures.reach("picked up beside a backlog", sum(run in wanted for run in order))
    bound = 2 * WORKERS * slots * 2  # twice the tenants times the slots
    for run in little:
        place = order.index(run) if run in order else -1
        if not 0 <= place < bound:
            figures.blame("late", f"{run} was picked up as number {place}, of {len(order)}; {bound} were allowed")
    for place, run in enumerate(run for run in order if run in wanted):
        if abs(int(run[1:]) - place) > WORKERS * PAGE:  # each has a page in its hand
            figures.blame("out of order", f"{run} was picked up as number {place} of the backlog")
    for run in done:
        if done[run] > 1:
            figures.blame("twice", run)
    if whole and (left := {*much, *little} - set(done)):
        figures.blame("starved", f"{len(left)} runs, {sorted(left)[:3]}")
    figures.shown["picked up when it was over"] = len(picks) - len(order)
    figures.shown["last of the few was number"] = max((order.index(run) for run in little if run in order), default=-1)
    return figures


def until_done(folder: Path, names: list[str]) -> Callable[[Say], None]:
    """Wait until runs are done."""

    def watch(say: Say) -> None:
        async def main() -> None:
            async with opened(folder) as runtime:
                say(str(len(await completed(runtime, names, 0.1, SECONDS * 10))))

        asyncio.run(main())

    return watch


def neighbour(folder: Path, backlog: int, few: int, rounds: int, slots: int, seconds: float) -> Figures:
    """Take the times of a tenant's few runs, alone and beside another's backlog, with the same workers.

    Args:
        backlog: runs of the noisy tenant; they have to last longer than the rounds.
        few: runs of the quiet tenant at a time.
        rounds: how often it comes, alone and then beside.
        slots: runs at once, of each worker.
        seconds: what a run takes.
    """
    figures = Figures(bad={"slow": 0, "unfinished": 0, "stuck": 0})
    if fork(hired(folder, seconds)).end(SECONDS) != 0:
        figures.blame("stuck", "the tenants could not be made")
        return figures
    workers = [fork(employed(folder, slots)) for _ in range(WORKERS)]
    for worker in workers:
        worker.hear(SECONDS)
    times: dict[str, list[float]] = {"alone": [], "beside": []}
    for phase in times:
        if phase == "beside":
            noise = fork(submitted(folder, NOISY, [f"n{place}" for place in range(backlog)]))
            ended(noise, figures, "the noisy tenant")
        for number in range(rounds):
            names = [f"{phase}-{number}-{place}" for place in range(few)]
            took = json.loads(ended(fork(submitted(folder, QUIET, names, awaited=True)), figures, f"the {phase} one"))
            times[phase] += took
            figures.trials += len(names)
            if len(took) < len(names):
                figures.blame("unfinished", f"{len(names) - len(took)} of round {number}, {phase}")
    left = json.loads(ended(fork(counted(folder)), figures, "whoever counts"))
    (folder / "stop").touch()
    for worker in workers:
        ended(worker, figures, "a worker")
    figures.reach("runs of the backlog left at the end", left)
    p95 = {phase: percentile(took) for phase, took in times.items() if took}
    for phase, took in times.items():
        if took:
            figures.shown |= {f"p50 {phase} s": round(median(took), 3), f"p95 {phase} s": round(p95[phase], 3)}
    if len(p95) == len(times):
        figures.shown["p95 beside to alone"] = round(p95["beside"] / p95["alone"], 2)
        if p95["beside"] >= TWICE * p95["alone"]:
            figures.blame("slow", f"p95 {p95['beside']:.3f} s beside the backlog, {p95['alone']:.3f} s alone")
    return figures


def percentile(took: list[float]) -> float:
    """Return what 95 in 100 need at most."""
    return sorted(took)[min(len(took) - 1, len(took) * 95 // 100)]


def counted(folder: Path) -> Callable[[Say], None]:
    """Say how many runs can be claimed."""

    def count(say: Say) -> None:
        async def main() -> None:
            async with opened(folder) as runtime:
                say(json.dumps(len(await runtime.store.find(Runs(claimable=True, limit=1_000_000)))))

        asyncio.run(main())

    return count


TRIALS = (
    Trial(
        "fair", "S23",
        "One tenant has a backlog, then another submits a few runs; two workers have to begin with those within the "
        "first turns, and with the oldest of the backlog first.",
        fair, short={"backlog": 2_000, "few": 5, "slots": 4},
        long={"backlog": 10_000, "few": 10, "slots": 16, "whole": True},
    ),
    Trial(
        "neighbour", "S23",
        "The time from submission to completion of a tenant's few runs, with two workers to themselves and beside "
        "another tenant's backlog; the p95 has to stay below twice as much.",
        neighbour, short={"backlog": 600, "few": 10, "rounds": 2, "slots": 16, "seconds": 0.2},
        long={"backlog": 10_000, "few": 10, "rounds": 20, "slots": 16, "seconds": 0.2}, timed=True,
    ),
)  # fmt: skip
