"""Thousands of runs wait for people while nothing lives: answers are acted on at once, and the inbox is a page away.

One process parks runs and ends. A worker starts with nothing to do; another process answers some of the questions, one
after the other. What counts is the time from the answer's commit until the run's task executes again, in the worker.
"""

import asyncio
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trials.figures import Figures, Trial
from windlass import Context, Pipeline, Runtime, task
from windlass.core.queries import Questions
from windlass.testing.crash_forks import Say, fork
from windlass.worker.worker import Worker

WAVE = 200  # runs that are made at once
MEDIAN_SECONDS, P99_SECONDS, PAGE_SECONDS = 0.050, 1.0, 0.100
FIRST = 3  # answers that warm the two processes up
SECONDS = 600.0
MOST = 1_000_000


@task
async def waits(n: int, ctx: Context) -> float:
    await ctx.ask("Well?", str, to="role:editor", deadline="10d")
    return time.monotonic()  # one clock for all processes of a machine


flow = Pipeline("waiting", [waits])


def parked(folder: Path, number: int) -> Callable[[Say], None]:
    """Make runs that wait."""

    def work(_: Say) -> None:
        async def main() -> None:
            async with Runtime(f"sqlite:///{folder}/runs.db") as runtime:
                for start in range(0, number, WAVE):
                    names = range(start, min(number, start + WAVE))
                    await asyncio.gather(*(runtime.run(flow, place, id=f"r{place}") for place in names))

        asyncio.run(main())

    return work


def working(folder: Path) -> Callable[[Say], None]:
    """Be a worker until a file says that it is enough; say how long its process was busy, and how long it lived."""

    def work(say: Say) -> None:
        async def main() -> None:
            async with Runtime(f"sqlite:///{folder}/runs.db", [flow], timers=False) as runtime:
                worker = Worker(runtime, [flow])
                ending = asyncio.create_task(enough(worker, folder / "enough"))
                say("ready")
                await worker.run()
                await ending

        asyncio.run(main())

    return work


async def enough(worker: Worker, path: Path) -> None:
    """Stop a worker once a file is there."""
    while not path.exists():  # noqa: ASYNC110, ASYNC240 -- made by another process
        await asyncio.sleep(0.05)
    worker.stop()


def answering(folder: Path, answers: int) -> Callable[[Say], None]:
    """Answer questions of runs here and there, and say how long each took until its run went on."""

    def work(say: Say) -> None:
        async def main() -> None:
            taken: list[float] = []
            async with Runtime(f"sqlite:///{folder}/runs.db") as runtime:
                begun = time.monotonic()
                questions = await runtime.store.find(Questions(limit=MOST))
                page = time.monotonic() - begun
                for asked in random.Random(1).sample(questions, answers + FIRST):
                    await runtime.answer(asked.id, "yes", roles=["editor"])
                    answered, state = time.monotonic(), dict[str, Any]()
                    for _ in range(10_000):
                        state = await runtime.state(asked.run)
                        if "waits" in state:
                            break
                        await asyncio.sleep(0.02)  # what is measured is not this, but what the task saw
                    taken.append(state.get("waits", answered + SECONDS) - answered)
            say(json.dumps({"taken": taken[FIRST:], "page": page, "questions": len(questions)}))

        asyncio.run(main())

    return work


def run(folder: Path, runs: int, answers: int) -> Figures:
    """Park, let a worker idle, and answer."""
    bad = {"slow median": 0, "slow p99": 0, "slow page": 0, "stuck": 0}
    figures = Figures(bad=bad)
    if fork(parked(folder, runs)).end(SECONDS) != 0:
        figures.blame("stuck", "the runs could not be made")
        return figures
    worker = fork(working(folder))
    worker.hear()
    clerk = fork(answering(folder, answers))
    told = json.loads(clerk.hear(SECONDS) or "{}")
    (folder / "enough").touch()
    for name, child in (("worker", worker), ("clerk", clerk)):
        if (code := child.end(SECONDS)) != 0:
            figures.blame("stuck", f"the {name} ended {code}")
    taken = sorted(told.get("taken", ()))
    figures.trials = len(taken)
    if not taken:
        figures.blame("stuck", "nothing was answered")
        return figures
    median, p99 = statistics.median(taken), taken[min(len(taken) - 1, int(len(taken) * 0.99))]
    figures.shown = {
        "parked": told["questions"], "median ms": round(median * 1000, 1), "p99 ms": round(p99 * 1000, 1),
        "page ms": round(told["page"] * 1000, 1), "MB": round((folder / "runs.db").stat().st_size / 1e6, 1),
    }  # fmt: skip
    if taken[-1] >= SECONDS:
        figures.blame("stuck", f"{sum(one >= SECONDS for one in taken)} runs did not go on")
    limits = (("slow median", median, MEDIAN_SECONDS), ("slow p99", p99, P99_SECONDS))
    for what, found, most in (*limits, ("slow page", told["page"], PAGE_SECONDS)):
        if found > most:
            figures.blame(what, f"{found * 1000:.1f} ms, and {most * 1000:.0f} at most")
    return figures


TRIALS = (
    Trial(
        "inbox", "",
        "Thousands of runs wait for people. An answer given in one process is acted on by an idle worker in another "
        "within 50 ms in the median and a second at the 99th percentile; all open questions are read within 100 ms.",
        run, short={"runs": 300, "answers": 20}, long={"runs": 10_000, "answers": 300}, timed=True,
    ),
)  # fmt: skip
