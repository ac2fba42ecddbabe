"""Slow nodes and stores, nodes that hang and ignore their cancellation, and nodes that hold up the event loop."""

import asyncio
import hashlib
import logging
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, TypedDict

from trials.figures import Figures, Trial
from windlass import END, Context, Edge, Graph, Pipeline, Retry, Runtime, SyncContext, task
from windlass.core.blueprint import Definition
from windlass.core.errors import RunOwned
from windlass.core.owner import this_process
from windlass.core.tallies import Answer
from windlass.core.words import Failed
from windlass.engine import lease
from windlass.stores import memory
from windlass.stores.memory import MemoryStore
from windlass.testing.simloop import SimulatedLoop, simulated_seams

COMMIT_SECONDS = 0.2
SLOW_SECONDS = 0.5  # ten times what the nodes take by themselves
MOST_BEHIND = 64  # steps that `async` may run ahead of the store
DEADLINE_SECONDS, OVERRUN_SECONDS = 0.6, 0.5
BLOCK_SECONDS, TOLD_SECONDS = 0.6, 1.0


class SlowStore(MemoryStore):
    """Takes its time for every commit; tells how far it is behind."""

    async def commit(self, write: Any) -> tuple[Answer, ...]:
        """Keep a write, later."""
        await asyncio.sleep(COMMIT_SECONDS)
        return await super().commit(write)


class Count(TypedDict):
    """A counter."""

    n: int


def slow(folder: Path, runs: int, steps: int) -> Figures:
    """Run many runs on a slow store, simulated, and one that has to keep its lease, for real."""
    figures = Figures()
    for durability in ("sync", "async", "exit"):
        loop = SimulatedLoop(Random(runs).randrange)
        loop.run(_crowd(loop, durability, runs, steps, figures))
    asyncio.run(_keep_lease(figures))
    return figures


def _looping(durability: Any, steps: int, store: Any, ahead: list[int]) -> Graph:
    graph = Graph("loop", Count, durability=durability, step_limit=steps + 10)

    @graph.node(writes=["n"], timeout=5, idle_timeout=2, retry=Retry(on=Exception, max_attempts=3, initial=0))
    async def count(n: int, ctx: Context) -> dict[str, int]:
        kept = store._world.runs[ctx.run_id].head.n
        ahead.append(n - kept)
        await asyncio.sleep(SLOW_SECONDS if n % 10 == 0 else 0)
        return {"n": n + 1}

    def more(n: int) -> str:
        return END if n >= steps else "count"

    graph.start("count")
    graph.branch("count", more, ["count", END])
    return graph


async def _crowd(loop: SimulatedLoop, durability: str, runs: int, steps: int, figures: Figures) -> None:
    store = SlowStore(clock=loop.clock)
    await store.open()
    ahead: list[int] = []
    graph = _looping(durability, steps, store, ahead)
    async with Runtime(store, seams=simulated_seams(loop)) as runtime:
        found = await asyncio.gather(*(runtime.run(graph, {"n": 0}, id=f"r{n}") for n in range(runs)))
        for result in found:
            figures.trials += 1
            if result.output != {"n": steps}:
                figures.blame("lost", f"{durability} {result}")
            kinds = [event.type async for event in runtime.events(result.run)]
            if any(kind.startswith("attempt.") for kind in kinds):
                figures.blame("timed out for the store's sake", f"{durability} {result.run}")
        if durability == "async":
            figures.shown["most steps ahead of the store"] = max(ahead)
            if max(ahead) > MOST_BEHIND:
                figures.blame("no back-pressure", f"{max(ahead)} steps ahead")
    figures.shown[f"seconds for {steps} steps, {durability}, simulated"] = round(loop.time(), 1)


async def _keep_lease(figures: Figures) -> None:
    """Drive a slow chain under a lease of 0.6 s, while another owner tries to claim it all the time."""
    vars(lease)["RENEW_SECONDS"], vars(memory)["LEASE_SECONDS"] = 0.2, 0.6
    store = SlowStore()
    await store.open()
    async with Runtime(store) as runtime:
        run = await runtime.start(_looping("sync", 11, store, []), {"n": 0}, id="kept")
        ended = asyncio.ensure_future(runtime.wait(run))
        while not ended.done():
            figures.trials += 1
            try:
                await store.claim(run, this_process())
                if (await runtime.get(run)).head.status.value != "completed":
                    figures.blame("lease lost", "a second owner claimed a run whose owner is slow")
            except RunOwned:
                figures.reach("claims refused")
            await asyncio.sleep(0.05)
        if (await ended).output != {"n": 11}:
            figures.blame("lost", "the run that was slow")


def hung(folder: Path, nodes: int, real: int) -> Figures:
    """Let nodes hang that ignore their cancellation: simulated, then coroutines and threads for real."""
    figures = Figures()
    for seed in range(nodes // 10):
        loop = SimulatedLoop(Random(seed).randrange)
        loop.run(_hang(10, Runtime(seams=simulated_seams(loop, seed)), figures, pipeline=_deaf))
        for failure in loop.failures:
            figures.blame("unhandled", f"{failure}")
    for pipeline in (_deaf, _deaf_threads):
        asyncio.run(_hang(real, Runtime(), figures, pipeline=pipeline))
    return figures


Late = list[str]  # what an abandoned attempt got done


def _deaf(late: Late) -> tuple[Pipeline, Callable[[], None]]:
    @task
    async def items(n: int) -> list[int]:
        return list(range(n))

    @task(timeout=DEADLINE_SECONDS)
    async def stubborn(items: int, ctx: Context) -> int:
        if items % 2:
            return items
        for _ in range(12):
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.1)
        for verb in (ctx.call, ctx.effect):
            with suppress(Exception):
                await verb("late", late.append, "it called")
        with suppress(Exception):
            ctx.emit("late")
            late.append("it emitted")
        return -1

    return Pipeline("deaf", [items, stubborn], [_one_by_one()]), lambda: None


def _deaf_threads(late: Late) -> tuple[Pipeline, Callable[[], None]]:
    go_on = threading.Event()

    @task
    async def items(n: int) -> list[int]:
        return list(range(n))

    @task(timeout=DEADLINE_SECONDS)
    def stubborn(items: int, ctx: SyncContext) -> int:
        if items % 2 == 0:
            go_on.wait(60)
            return -1
        return items

    return Pipeline("deaf", [items, stubborn], [_one_by_one()]), go_on.set


def _one_by_one() -> Edge:
    """Few at a time: an attempt that hangs must give its place to the next."""
    return Edge("items", "stubborn", each=True, concurrency=20, on_error="collect")


async def _hang(nodes: int, opened: Runtime, figures: Figures, *, pipeline: Callable[[Late], Any]) -> None:
    late: Late = []
    made, let_go = pipeline(late)
    async with opened as runtime:
        begun: dict[str, float] = {}
        found: list[Any] = []
        async for event in runtime.execute(made, 2 * nodes, id="h"):
            if event.type == "activation.started":
                begun[event.address] = event.at
            if event.type in ("attempt.abandoned", "attempt.failed"):
                figures.trials += 1
                found.append(event.at - begun[event.address] - DEADLINE_SECONDS)
        result = await runtime.wait("h")
        before = await runtime.state("h")
        let_go()
        await runtime.services.seams.clock.sleep(1.5)  # the attempts that were given up come to their end
        if len(found) != nodes:
            figures.blame("not given up", f"{nodes - len(found)} of {nodes}")
        over = max(found, default=0.0)
        figures.shown["longest over-run, s"] = round(max(over, figures.shown.get("longest over-run, s", 0.0)), 3)
        if over > OVERRUN_SECONDS:
            figures.blame("over-run", f"{over:.2f} s")
        expected = [n if n % 2 else "AttemptTimeout" for n in range(2 * nodes)]
        if [one.kind if isinstance(one, Failed) else one for one in result.output] != expected:
            figures.blame("late result accepted", f"{result.output}"[:120])
        if late or await runtime.state("h") != before:
            figures.blame("late write accepted", f"{late}")
        figures.reach("places that were freed", len(found))


KINDS: dict[str, Callable[[], Any]] = {}  # ways to hold the loop up


def way(fn: Callable[[], Any]) -> Callable[[], Any]:
    """Add a way to hold the loop up."""
    KINDS[fn.__name__] = fn
    return fn


@way
def asleep() -> None:
    """Sleep where one should await."""
    time.sleep(BLOCK_SECONDS)


@way
def computing() -> None:
    """Compute in Python."""
    ends = time.monotonic() + BLOCK_SECONDS
    while time.monotonic() < ends:
        sum(range(1_000))


@way
def hashing() -> None:
    """Compute in native code that lets go of the interpreter."""
    ends = time.monotonic() + BLOCK_SECONDS
    while time.monotonic() < ends:
        hashlib.sha256(b"x" * 4_000_000).digest()


@way
def matching() -> None:
    """Compute in native code that does not let go of it: a regular expression that goes wrong, again and again."""
    ends = time.monotonic() + BLOCK_SECONDS
    while time.monotonic() < ends:
        re.match(r"(a+)+$", "a" * 20 + "b")


@way
def waiting() -> None:
    """Wait for a lock."""
    threading.Event().wait(BLOCK_SECONDS)


def block(folder: Path, times: int) -> Figures:
    """Block the loop in each way, in a node alone and in one beside others; see when who is named."""
    figures = Figures()
    heard: list[tuple[float, logging.LogRecord]] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append((time.monotonic(), record))

    logger = logging.getLogger("windlass.watchdog")
    logger.addHandler(Ear())
    logger.propagate = False
    for number in range(times):
        for kind in list(KINDS)[number % 2 :: 2]:
            heard.clear()
            asyncio.run(_block(folder, kind, heard, figures, alone=number % 4 < 2))
    return figures


async def _block(folder: Path, kind: str, heard: list[Any], figures: Figures, *, alone: bool) -> None:
    began = 0.0

    @task
    async def greedy(n: int) -> int:
        nonlocal began
        await asyncio.sleep(0.15)
        began = time.monotonic()
        KINDS[kind]()
        return n

    @task
    async def patient(n: int) -> int:
        await asyncio.sleep(0.05)
        return n

    made: Definition = Pipeline("greedy", [greedy] if alone else [greedy, patient])
    figures.trials += 1
    async with Runtime() as runtime:
        told = [event async for event in runtime.execute(made, 1, id=kind)]
    named = [(at - began, record) for at, record in heard if record.__dict__.get("node") == "greedy"]
    if not named or not any(f"in {kind}" in line for line in named[0][1].__dict__["stack"]):
        figures.blame("not noticed", f"{kind}: {[record.getMessage() for _, record in heard]}")
        return
    worst = figures.shown.get("longest until it was told, s", 0.0)
    figures.shown["longest until it was told, s"] = round(max(worst, named[0][0]), 2)
    if named[0][0] > TOLD_SECONDS:
        figures.blame("told late", f"{kind}: after {named[0][0]:.2f} s")
    if len(named) != 1:
        figures.blame("told twice", f"{kind}: {len(named)} times")
    if "activation.blocking" not in [event.type for event in told]:
        figures.blame("followers not told", kind)
    figures.reach(f"blocks by {kind}")


TRIALS = (
    Trial(
        name="slow",
        faults="F26",
        says="Nodes take ten times as long and every commit 200 ms: nothing times out for the store's sake, `async` "
        "runs at most 64 steps ahead, and no lease is lost.",
        run=slow,
        short={"runs": 10, "steps": 100},
        long={"runs": 100, "steps": 1_000},
    ),
    Trial(
        name="hung",
        faults="F27",
        says="Nodes hang and ignore their cancellation, as coroutines and as threads: each is given up within 0.5 s of "
        "its deadline, its place is freed, and nothing that it does later counts.",
        run=hung,
        short={"nodes": 100, "real": 40},
        long={"nodes": 1_000, "real": 100},
        timed=True,
    ),
    Trial(
        name="blocked-loop",
        faults="F28",
        says="A node holds up the event loop for 0.6 s by sleeping, computing, matching or waiting: it is named with "
        "its stack within a second, once, and its followers are told.",
        run=block,
        short={"times": 3},
        long={"times": 40},
        timed=True,
    ),
)
