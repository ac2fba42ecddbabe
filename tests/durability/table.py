"""The table of strategy and durability, cell by cell: `python -m tests.durability.table`.

In each cell a child drives a loop and dies by SIGKILL in the body of step 150, with an effect in step 50 (a flush
point). Another process says how many finished steps are in the file, goes on to the end, and tries every checkpoint.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypedDict

from windlass import END, END_ONLY, EVERY_STEP, SAVEPOINTS, Checkpoints, Context, Graph, Runtime, append
from windlass.core.errors import CheckpointUnknown
from windlass.core.tallies import Answer
from windlass.stores.sqlite import SQLiteStore
from windlass.testing.crash_forks import Say, fork, lanes
from windlass.testing.crash_world import World, enter, read, world

STRATEGIES = {"every": EVERY_STEP, "nodes": Checkpoints.after("mark"), "savepoints": SAVEPOINTS, "end": END_ONLY}
DURABILITIES = ("sync", "async", "exit")
EFFECT, KILLED, LAST = 50, 150, 160


class State(TypedDict):
    """Channels of the loop."""

    n: int
    marks: Annotated[list[int], append]


class Slow(SQLiteStore):
    """A disk on which steps are faster than commits, so that `async` falls behind."""

    async def commit(self, write: Any) -> tuple[Answer, ...]:
        """Take 20 ms more."""
        await asyncio.sleep(0.02)
        return await super().commit(write)


async def pay(n: int) -> int:
    """Happen."""
    world().note("done", value=n)
    return n


def loop(strategy: str) -> Graph:
    """Count; go by `mark` after every tenth step, make a savepoint in the middle between two."""
    graph = Graph("loop", State, checkpoints=STRATEGIES[strategy])

    @graph.node(writes=["n"])
    async def step(n: int, ctx: Context) -> dict[str, int]:
        world().note("body", value=n)
        world().reach(f"body {n}")
        if n == EFFECT:
            await ctx.effect("pay", pay, n)
        if n % 10 == 5:
            ctx.savepoint(f"at {n}")
        return {"n": n + 1}

    @graph.node(writes=["marks"])
    async def mark(n: int) -> dict[str, list[int]]:
        return {"marks": [n]}

    def way(n: int) -> str:
        return END if n > LAST else "mark" if n % 10 == 0 else "step"

    graph.start(step)
    graph.branch(step, way, [step, mark, END])
    graph.edge(mark, step)
    return graph


class Dying(World):
    """A world that ends at a label."""

    def reach(self, label: str) -> None:
        """Die in the body of step 150."""
        if label == f"body {KILLED}":
            os.kill(os.getpid(), signal.SIGKILL)


def first(strategy: str, durability: str, folder: Path) -> Callable[[Say], None]:
    """The process that dies."""

    def work(_: Say) -> None:
        enter(Dying(folder / "ledger"))

        async def main() -> None:
            url = f"sqlite:///{folder}/r.db"
            store = Slow(url) if durability == "async" else SQLiteStore(url)
            await store.open()
            async with Runtime(store) as runtime:
                await runtime.run(loop(strategy), {"n": 1}, id="r", durability=durability)

        asyncio.run(main())

    return work


def second(strategy: str, folder: Path) -> Callable[[Say], None]:
    """The process that looks, goes on, and tries the checkpoints."""

    def work(say: Say) -> None:
        enter(World(folder / "ledger", 1))

        async def main() -> None:
            graph = loop(strategy)
            async with Runtime(f"sqlite:///{folder}/r.db", [graph]) as runtime:
                durable = sum(address.startswith("step#") for c in await runtime.history("r") for address in c.finished)
                result = await runtime.run(graph, {"n": 1}, id="r")
                history = await runtime.history("r")
                reached = [c.n for c in history if await is_there(runtime, c.n)]
                found = {
                    "durable": durable, "output": result.output, "reached": reached,
                    "all": [c.n for c in history],
                    "marked": [c.n for c in history if any(address.startswith("mark#") for address in c.finished)],
                    "saved": [c.n for c in history if c.savepoints],
                }  # fmt: skip
                back = reached[len(reached) // 2]
                refused = next((c.n for c in history if c.n not in reached), None)
                found["refused"] = refused is None or await is_refused(runtime, refused)
                await runtime.rollback("r", back)
                found["back"] = (await runtime.get("r")).head.n == back
                await runtime.resume("r")
                found["again"] = (await runtime.wait("r")).output
                say(json.dumps(found))

        asyncio.run(main())

    return work


async def is_there(runtime: Runtime, n: int) -> bool:
    """Say whether a checkpoint can be looked at."""
    try:
        await runtime.state("r", at=n)
    except CheckpointUnknown:
        return False
    return True


async def is_refused(runtime: Runtime, n: int) -> bool:
    """Say whether a rollback is refused, and changes nothing."""
    before = await runtime.get("r")
    try:
        await runtime.rollback("r", n)
    except CheckpointUnknown:
        return await runtime.get("r") == before
    return False


def cell(strategy: str, durability: str, folder: Path) -> dict[str, Any]:
    """Make one cell's trial."""
    folder.mkdir()
    killed = fork(first(strategy, durability, folder)).end()
    child = fork(second(strategy, folder))
    code, said = child.end(), child.rest()
    found: dict[str, Any] = json.loads(said[0]) if said else {}
    ledger = read(folder / "ledger")
    found["killed"], found["ended"] = killed == -signal.SIGKILL, code == 0
    found["finished"] = max(line.value for line in ledger if line.kind == "body" and not line.turn) - 1
    found["again from"] = next(line.value for line in ledger if line.kind == "body" and line.turn)
    found["paid"] = sum(line.kind == "done" for line in ledger)
    return found


def main() -> int:
    """Make every cell's trial."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        pairs = [(s, d) for s in STRATEGIES for d in DURABILITIES]
        cells = lanes([partial(cell, s, d, Path(name) / f"{s}-{d}") for s, d in pairs])
    found = {f"{s} {d}": one for (s, d), one in zip(pairs, cells, strict=True)}
    if given.json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        for where, one in found.items():
            lost = one["finished"] - one["durable"]
            sys.stdout.write(f"{where:20} lost {lost:3} of {one['finished']}, {len(one['reached'])} checkpoints\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
