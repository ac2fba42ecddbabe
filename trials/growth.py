"""A run of very many steps, and very many runs that wait: neither gets slower, larger or heavier by itself (F49, F50).

The speed of blocks is compared by the lower quartile of their times, so that a busy machine does not judge the
product, and once more by the time of the processor, so that a busy disk in the beginning does not hide a slow end.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import quantiles
from typing import Annotated, Any, TypedDict

import apsw

from trials.figures import Figures, Trial
from windlass import END, Context, Graph, Pipeline, Runtime, append, task
from windlass.core.queries import Runs
from windlass.core.states import COMPLETED
from windlass.worker.worker import Worker

BLOCK = 100  # steps whose time is taken together
SLOWER, LARGER = 1.3, 1.1  # the last of a run against its first: seconds a step, bytes a step
HEAVIER = 6_000_000  # bytes of memory from the first third of a run to its end: what SQLite's page cache may take
RESUMED = 2.0  # seconds from opening the store to the first step that goes on
LATE = 2.0  # seconds, p99, from a timer's time to the step that it wakes
CACHE, WAITING_BYTES = 2_000_000, 20  # of memory in a process that looks after runs: SQLite's cache, and for each run
AT_ONCE = 50  # runs that are being parked
PAGE = 4096


class State(TypedDict):
    """What a long run keeps: a number, a text, and perhaps a list that grows with each step."""

    n: int
    note: str
    log: Annotated[list[str], append]


def memory() -> int:
    """Return the resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def long_run(name: str, steps: int, seen: Callable[[int], object], *, grows: bool = False) -> Graph:
    """Build a loop of one node, which asks at its end so that there is something to go on with."""
    graph = Graph(name, State, step_limit=steps + 10)

    @graph.node(writes=["n", "note", "log"])
    async def count(n: int, ctx: Context) -> dict[str, Any]:
        seen(n)
        if n == steps:
            await ctx.ask("go on?")
        said = {"n": n + 1, "note": f"{n:06d} " * 10}
        return {**said, "log": [f"what was said in step {n:06d} of this long talk"]} if grows else said

    def more(n: int) -> str:
        return END if n > steps else "count"

    graph.start(count)
    graph.branch(count, more, [count, END])
    graph.compile()
    return graph


def grow(folder: Path, *, steps: int = 20_000, durability: str = "async") -> Figures:
    """Take many steps in one run, measure its parts, and go on with it from the store."""
    figures = Figures(bad={"slower": 0, "larger": 0, "heavier": 0, "resumed late": 0, "wrong": 0})
    asyncio.run(_grow(figures, folder / "long.db", steps, durability, grows=False))
    asyncio.run(_grow(figures, folder / "list.db", steps // 4, durability, grows=True))
    return figures


async def _grow(figures: Figures, path: Path, steps: int, durability: str, *, grows: bool) -> None:
    begun: list[tuple[float, float]] = []
    weights: list[int] = []

    def seen(n: int) -> None:
        if n % BLOCK == 0:
            begun.append((time.perf_counter(), time.process_time()))
        if n % (steps // 10) == 0:
            weights.append(memory())

    name, url = path.stem, f"sqlite:///{path}"
    graph = long_run(name, steps, seen, grows=grows)
    async with Runtime(url, [graph]) as runtime:
        waiting = await runtime.run(graph, {"n": 0}, id=name, durability=durability)
    if waiting.status != "waiting":
        figures.blame("wrong", f"{name}: the run is {waiting.status}")
    slower, work = (last_to_first([place[kind] for place in begun], steps) for kind in (0, 1))
    seconds = begun[-1][0] - begun[0][0]
    parts = bytes_by_part(path)
    larger = parts[-1] / parts[0]
    resumed = await _resume(figures, url, name, steps, waiting.waiting[0], grows=grows)
    figures.trials += steps
    figures.reach(f"{name}: steps", (len(begun) - 1) * BLOCK)
    judge(figures, "slower", name, slower, SLOWER)
    judge(figures, "slower", f"{name}, time of the processor", work, SLOWER)
    judge(figures, "larger", name, larger, LARGER)
    judge(figures, "resumed late", name, resumed, RESUMED)
    if not grows:
        judge(figures, "heavier", name, weights[-1] - weights[3], HEAVIER)
    figures.shown |= {
        f"{name}: steps a second": round((len(begun) - 1) * BLOCK / seconds),
        f"{name}: seconds a step, last 1,000 to first": round(slower, 2),
        f"{name}: the same of the processor": round(work, 2),
        f"{name}: bytes a step, last fifth to first": round(larger, 3),
        f"{name}: bytes a step": round(size_of(path) / steps),
        f"{name}: MB of memory after a third": round(weights[3] / 1e6, 1),
        f"{name}: MB of memory at the end": round(weights[-1] / 1e6, 1),
        f"{name}: seconds to resume": round(resumed, 3),
    }


def last_to_first(begun: list[float], steps: int) -> float:
    """Compare the blocks of the last 1,000 steps with those of the first, or of as many as there are."""
    blocks = [after - before for before, after in pairwise(begun)]
    part = max(4, min(1_000, steps // 4) // BLOCK)
    return quantiles(blocks[-part:])[0] / quantiles(blocks[:part])[0]


def size_of(path: Path) -> int:
    """Return the bytes of a file."""
    return path.stat().st_size


def judge(figures: Figures, what: str, where: str, found: float, limit: float) -> None:
    """Blame what is above its limit."""
    if found > limit:
        figures.blame(what, f"{where}: {found:.3g}, the limit is {limit:.3g}")


def bytes_by_part(path: Path) -> list[int]:
    """Count the bytes of rows and snapshots, fifth by fifth of a run's events; large values are written once."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    last: Any = connection.execute("SELECT max(seq) FROM runs").fetchall()[0][0]
    sql = "SELECT (id & 4294967295) * 5 / ?, sum(length(body) + 64) FROM {} GROUP BY 1 ORDER BY 1"
    found = [0] * 5
    for table in ("log", "manifests"):
        rows: Any = connection.execute(sql.format(table), (last + 1,))
        for part, size in rows:
            found[part] += size
    connection.close()
    return found


async def _resume(figures: Figures, url: str, name: str, steps: int, question: str, *, grows: bool) -> float:
    """Open the store, answer, and return the seconds until the run's next step began."""
    reached: list[float] = []
    graph = long_run(name, steps, lambda _: reached.append(time.perf_counter()), grows=grows)
    begun = time.perf_counter()
    async with Runtime(url, [graph]) as runtime:
        await runtime.answer(question, "yes")
        await runtime.resume(name)
        done = await runtime.wait(name)
    if done.status != "completed" or done.output["n"] != steps + 1 or len(done.output["log"]) != grows * (steps + 1):
        figures.blame("wrong", f"{name}: it is {done.status} with another state than it should have")
    return reached[0] - begun if reached else RESUMED * 100


@task
async def asleep(due: float, ctx: Context) -> float:
    """Sleep until a time of day."""
    await ctx.sleep(max(0.0, due - time.time()))
    return time.time()


@task
async def asking(due: float, ctx: Context) -> float:
    """Wait for a person."""
    await ctx.ask("well?")
    return due


SLEEPERS, ASKERS = Pipeline("sleepers", [asleep]), Pipeline("askers", [asking])


def park(folder: Path, *, runs: int = 1_000, gap: float = 0.006) -> Figures:
    """Park many runs, half of them for a time and half for a person; a fresh worker looks after and wakes them.

    Args:
        gap: seconds between the due times of two runs.
    """
    figures = Figures(bad={"heavy": 0, "late": 0, "out of order": 0, "never woken": 0})
    url, empty = f"sqlite:///{folder}/parked.db", f"sqlite:///{folder}/empty.db"
    began = time.time()
    first = began + 4 + runs * 0.006  # about when all of them are parked, and the worker has been weighed
    asyncio.run(_park(url, runs, first, gap))
    parked = time.time() - began
    base = _look_after(empty, 0)["bytes"]
    told = _look_after(url, runs // 2)
    weight = max(0, told["bytes"] - base)
    late = sorted(told["late"])
    figures.trials = runs
    figures.reach("woken", len(late))
    if len(late) < runs // 2:
        figures.blame("never woken", f"{runs // 2 - len(late)} runs")
        return figures
    p99 = late[len(late) * 99 // 100]
    judge(figures, "heavy", "bytes more than without runs", weight, CACHE + WAITING_BYTES * runs)
    judge(figures, "late", "p99 of waking", p99, LATE)
    judge(figures, "out of order", "seconds that a run woke after one due later", told["overtaken"], LATE)
    figures.shown |= {
        "bytes more than without runs": weight, "woken p50 s": round(late[len(late) // 2], 3),
        "woken p99 s": round(p99, 3), "due a second": round(1 / gap), "seconds to park": round(parked, 1),
        "began to be due in s": round(first - began - parked, 1),
    }  # fmt: skip
    return figures


async def _park(url: str, runs: int, first: float, gap: float) -> None:
    async with Runtime(url, [SLEEPERS, ASKERS], timers=False) as runtime:
        for place in range(0, runs, 2):
            due = first + place / 2 * gap
            await runtime.start(SLEEPERS, due, id=f"sleeps-{place}", durability="async")
            await runtime.start(ASKERS, due, id=f"asks-{place}", durability="async")
            await _until(runtime, AT_ONCE)
        await _until(runtime, 0)


async def _until(runtime: Runtime, driving: int) -> None:
    while len(runtime.driving) > driving:  # noqa: ASYNC110 -- nobody tells
        await asyncio.sleep(0.002)


def _look_after(url: str, sleepers: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "trials.growth", url, str(sleepers)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)  # type: ignore[no-any-return]


async def look_after(url: str, sleepers: int) -> dict[str, Any]:
    """Be a worker that finds parked runs: weigh it while all of them wait, then let it wake those that sleep."""
    async with Runtime(url, [SLEEPERS, ASKERS], timers=False) as runtime:
        worker = Worker(runtime, [SLEEPERS, ASKERS])
        working = asyncio.ensure_future(worker.run())
        await asyncio.sleep(1.5)
        weight = memory()
        give_up = time.time() + 120 + sleepers * 0.03
        done = 0
        while done < sleepers and time.time() < give_up:
            await asyncio.sleep(0.5)
            done = len(await runtime.store.find(Runs(statuses=(COMPLETED,), limit=sleepers)))
        worker.stop()
        await working
        ended = await runtime.store.find(Runs(statuses=(COMPLETED,), limit=sleepers))
        woken = sorted([await _times(runtime, record.id) for record in ended], key=lambda pair: pair[0])
    latest = overtaken = 0.0
    for _, at in woken:
        overtaken = max(overtaken, latest - at)
        latest = max(latest, at)
    return {"bytes": weight, "late": [at - due for due, at in woken], "overtaken": overtaken}


async def _times(runtime: Runtime, run: str) -> tuple[float, float]:
    """Return when a run was due, and when it woke."""
    state = await runtime.state(run)
    return state["input"], state["asleep"]


TRIALS = (
    Trial(
        "growth", "F49", "a run of very many steps: the last are as fast as the first, take as many bytes, and the "
        "memory stays; resumed within 2 s", grow,
        short={"steps": 20_000, "durability": "async"}, long={"steps": 100_000, "durability": "sync"}, timed=True,
    ),
    Trial(
        "parked", "F50", "very many runs that wait cost a worker no memory, and wake on time and in their order", park,
        short={"runs": 1_000, "gap": 0.012}, long={"runs": 10_000, "gap": 0.012}, timed=True,
    ),
)  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(asyncio.run(look_after(sys.argv[1], int(sys.argv[2])))))
