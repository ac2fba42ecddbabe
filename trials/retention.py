"""A prune is killed with SIGKILL at each of its transactions: the store is whole, and the next one ends it."""

import asyncio
import os
import random
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypedDict

import apsw

from trials.figures import Figures, Trial
from windlass import END, Context, Graph, Runtime, append
from windlass.core import crashpoint
from windlass.stores.base import open_store

STEPS, LIVES = 24, ("asks", "forked")
BIG = "a long text " * 6_000  # stands out of line
KILLS = ("prune.inside", "prune.after")
RULES: tuple[dict[str, Any], ...] = (
    {"before": 1e11, "grace": 0}, {"before": 1e11, "keep": "heads", "grace": 0},
    {"before": 1e11, "keep": "heads", "status": ("waiting",), "grace": 0},
)  # fmt: skip
TABLES = {
    "runs": "SELECT id, status, branch, n, seq FROM runs ORDER BY id",
    "log": "SELECT id, span, branch, n, kind, digest, body FROM log ORDER BY id",
    "manifests": "SELECT id, branch, n, digest, body FROM manifests ORDER BY id",
    "blobs": "SELECT digest FROM blobs ORDER BY digest",
    "questions": "SELECT id, status FROM questions ORDER BY id",
    "effects": "SELECT run, address, key FROM effects ORDER BY no",
    "meta": "SELECT name FROM meta WHERE name LIKE 'prune.%'",
}


class State(TypedDict):
    """What the runs keep."""

    n: int
    log: Annotated[list[str], append]
    big: str


async def pay(n: int) -> int:
    """Be an effect."""
    return n


def counter() -> Graph:
    """Build a loop with a savepoint, effects and large values, which asks in the middle if its id says so."""
    graph = Graph("counter", State, step_limit=STEPS + 10)

    @graph.node(writes=["n", "log", "big"])
    async def count(n: int, ctx: Context) -> dict[str, Any]:
        if n == STEPS // 3:
            ctx.savepoint("third")
        if n % 5 == 0:
            await ctx.effect("pay", pay, n)
        if n == STEPS - 2 and ctx.run_id in LIVES:
            await ctx.ask("go on?")
        return {"n": n + 1, "log": [f"{ctx.run_id} {n}"], "big": f"{n // 6} {BIG}"}

    def more(n: int) -> str:
        return END if n >= STEPS else "count"

    graph.start(count)
    graph.branch(count, more, [count, END])
    return graph


async def build(url: str) -> None:
    """Make a store with runs that ended, one that is the parent of a fork that lives, and two that wait."""
    graph = counter()
    async with Runtime(url, [graph]) as runtime:
        for run in ("done-1", "parent", "asks", "done-2"):
            await runtime.run(graph, {"n": 0}, id=run)
        await runtime.fork("parent", at=STEPS // 2, id="forked")
        await runtime.wait("forked")


async def seen(url: str) -> dict[str, Any]:
    """Look at everything that a prune has to leave as it is."""
    graph = counter()
    async with Runtime(url, [graph], timers=False) as runtime:
        found: dict[str, Any] = {run: await runtime.state(run) for run in LIVES}
        found["third"] = await runtime.state("asks", at="third")
        found["fork point"] = await runtime.state("parent", at=STEPS // 2)
        found["differing"] = [(await runtime.replay(run)).differing for run in (*LIVES, "parent")]
        found["questions"] = sorted(question.id for question in await runtime.questions())
    return found


async def finish(url: str) -> list[str]:
    """Answer the runs that wait, and say how they end."""
    graph = counter()
    async with Runtime(url, [graph]) as runtime:
        for question in await runtime.questions():
            await runtime.answer(question.id, "yes")
        ends = []
        for run in LIVES:
            done = await runtime.wait(run)
            ends.append(f"{run} {done.status} {len(done.output['log']) if done.output else 0}")
    return ends


def dump(folder: Path) -> dict[str, list[Any]]:
    """Read the tables as they stand."""
    connection = apsw.Connection(str(folder / "runs.db"), flags=apsw.SQLITE_OPEN_READONLY)
    told = {table: list(connection.execute(sql).fetchall()) for table, sql in TABLES.items()}
    connection.close()
    return told


def prune_and_die(url: str, rule: Mapping[str, Any], label: str, nth: int) -> bool:
    """Prune in a process of its own that is killed at the nth time it reaches a label; say whether it was."""
    child = os.fork()
    if not child:
        left = [nth]

        def reach(reached: str) -> None:
            left[0] -= reached == label
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

        crashpoint.on_reach = reach
        try:
            asyncio.run(open_store(url).maintain("prune", **rule))
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def kill(folder: Path, *, trials: int = 40, seed: int = 3) -> Figures:
    """Kill prunes everywhere; nobody but the prune touches the store until it is looked at."""
    figures = Figures(bad={"damaged": 0, "changed": 0, "not the same in the end": 0, "stuck": 0})
    dice = random.Random(seed)
    template = folder / "template"
    template.mkdir()
    asyncio.run(build(f"sqlite:///{template}/runs.db"))
    expected = asyncio.run(seen(f"sqlite:///{template}/runs.db"))
    wholes, times = [], []
    for number, rule in enumerate(RULES):
        place = _copy(template, folder / f"whole-{number}")
        reached: list[str] = []
        crashpoint.on_reach = reached.append
        asyncio.run(open_store(f"sqlite:///{place}/runs.db").maintain("prune", **rule))
        crashpoint.on_reach = None
        times.append({label: reached.count(label) for label in KILLS})
        wholes.append(dump(place))
    for number in range(trials):
        which = number % len(RULES)
        label = KILLS[number // len(RULES) % 2]
        nth = dice.randint(1, times[which][label])
        place = _copy(template, folder / "trial")
        where = f"rule {which}, {label} {nth}"
        _try(figures, place, which, (label, nth), expected, wholes[which], where, ends=number % 8 == 0)
        shutil.rmtree(place)
    figures.shown |= {"transactions of the longest prune": max(counted[KILLS[0]] for counted in times), "seed": seed}
    return figures


def _try(
    figures: Figures, place: Path, which: int, at: tuple[str, int], expected: dict[str, Any],
    whole: dict[str, list[Any]], where: str, *, ends: bool,
) -> None:  # fmt: skip
    url = f"sqlite:///{place}/runs.db"
    figures.trials += 1
    if prune_and_die(url, RULES[which], *at):
        figures.reach(f"killed at {at[0]}")
    for problem in asyncio.run(open_store(url).maintain("check"))["problems"]:
        figures.blame("damaged", f"{where}: {problem}")
    if asyncio.run(seen(url)) != expected:
        figures.blame("changed", where)
    asyncio.run(open_store(url).maintain("prune", **RULES[which]))
    told = dump(place)
    for table, rows in whole.items():
        if told[table] != rows:
            figures.blame("not the same in the end", f"{where}: {table}")
    if asyncio.run(seen(url)) != expected:
        figures.blame("changed", f"{where}, and pruned again")
    if ends:
        figures.reach("went on to their end")
        ended = asyncio.run(finish(url))
        if ended != [f"{run} completed {STEPS}" for run in LIVES]:
            figures.blame("stuck", f"{where}: {ended}")


def _copy(template: Path, place: Path) -> Path:
    shutil.copytree(template, place)
    return place


TRIALS = (
    Trial(
        "prune", "F1", "a prune is killed with SIGKILL inside or after any of its transactions: the store is whole, "
        "nothing that has to stay has changed, and done again it comes to the same as one that was not killed", kill,
        short={"trials": 40}, long={"trials": 600},
    ),
)  # fmt: skip
