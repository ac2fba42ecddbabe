"""What changes between a pause and its resume: the definition, the environment of the process, the file's version."""

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import make_dataclass
from pathlib import Path
from typing import Annotated, Any

from trials.figures import Figures, Trial
from windlass import (
    END,
    Context,
    Edge,
    Graph,
    Pipeline,
    Retry,
    Runtime,
    SyncContext,
    add,
    append,
    task,
)
from windlass.core import queries
from windlass.core.blueprint import SAVEPOINTS, Definition
from windlass.core.clock import Seams, SystemClock
from windlass.core.errors import DefinitionChanged
from windlass.core.position import load
from windlass.stores.memory import MemoryStore
from windlass.stores.sqlite import SQLiteStore

ROOT = Path(__file__).parents[1]
Ran = list[str]  # the nodes that ran, in order


def larger(current: int, incoming: int) -> int:
    """Another reducer."""
    return max(current, incoming)


def doubled(current: int, incoming: int) -> int:
    """Add; a body that an edit changes, under the same name."""
    return current + incoming


def _doubled_now() -> Callable[[int, int], int]:
    def doubled(current: int, incoming: int) -> int:
        return current + 2 * incoming

    return doubled


def graph(ran: Ran, edit: str) -> Graph:
    """Build the graph that the edits are made to: first, ask, then left or right, then last."""
    fold = {"reducer renamed": larger, "reducer body": _doubled_now()}.get(edit, doubled)
    fields: dict[str, Any] = {
        "n": str if edit == "channel type" else Annotated[int, add] if edit == "channel reducer" else int,
        "notes": Annotated[list[str], append],
        "total": Annotated[int, fold],
        "spare": int,
    }
    if edit == "channel added":
        fields["more"] = int
    if edit == "channel removed":
        del fields["spare"]
    options: dict[str, Any] = {"version": "2"} if edit == "version" else {}
    options |= {"durability": "async"} if edit == "durability" else {}
    options |= {"checkpoints": SAVEPOINTS} if edit == "checkpoints" else {}
    state = make_dataclass("State", list(fields.items()))
    made = Graph("edited", state, step_limit=50 if edit == "step limit" else 99, **options)
    bodies = _bodies(ran, edit)
    left = "left_side" if edit == "node renamed" else "left"
    policies: dict[str, Any] = {
        "timeout": {"timeout": 30},
        "retry": {"retry": Retry(on=OSError)},
        "validate": {"validate": lambda value: None},
        "recover": {"recover": lambda error: None},
    }
    made.node(bodies["first"], id="first", writes=["n", "notes", "total"])
    made.node(bodies["ask"], id="ask", writes=["notes", "total"])
    writes = ["notes", "total", *(["n"] if edit == "writes" else [])]
    made.node(bodies["left"], id=left, writes=writes, **policies.get(edit, {}))
    right = edit != "node removed"
    if right:
        made.node(bodies["right"], id="right", writes=["notes"])
    made.node(bodies["last"], id="last", writes=["notes"])
    if edit == "node added":
        made.node(bodies["right"], id="extra", writes=["notes"])
        made.edge("last", "extra")
    made.start("first", *(["last"] if edit == "start added" else []))
    made.edge("first", "ask")
    targets = [left, *(["right"] if right else []), *(["last"] if edit == "branch target" else [])]
    made.branch("ask", bodies["other" if edit == "branch renamed" else "choose"], [*targets, END])
    if edit != "edge removed":
        made.edge(left, "last")
    if edit == "edge added":
        made.edge(left, "right")
    if right:
        made.edge("right", "last" if edit != "edge moved" else "left")
    return made


def _bodies(ran: Ran, edit: str) -> dict[str, Callable[..., Any]]:
    target = "left_side" if edit == "node renamed" else "left"

    async def first(n: int) -> dict[str, Any]:
        ran.append("first")
        return {"n": n, "notes": ["first"], "total": 1}

    async def ask(ctx: Context) -> dict[str, Any]:
        said = await ctx.ask("well?", str)
        ran.append("ask")
        return {"notes": [said], "total": 2}

    async def right() -> dict[str, Any]:
        ran.append("right")
        return {"notes": ["right"]}

    async def last() -> dict[str, Any]:
        ran.append("last")
        return {"notes": ["last"]}

    def choose(total: int) -> str:
        return target

    def other(total: int) -> str:
        return "right"

    def choose_mended(total: int) -> str:
        return "right"

    choose_mended.__name__ = "choose"
    return {
        "first": first, "ask": ask, "left": _left(ran, edit), "right": right, "last": last, "other": other,
        "choose": choose_mended if edit == "branch body" else choose,
    }  # fmt: skip


def _left(ran: Ran, edit: str) -> Callable[..., Any]:
    async def left(n: int) -> dict[str, Any]:
        ran.append("left")
        return {"notes": ["left"], "total": 3}

    async def left_mended(n: int) -> dict[str, Any]:
        ran.append("left, mended")
        return {"notes": ["left, mended"], "total": 3}

    async def left_reads(n: int, total: int) -> dict[str, Any]:
        ran.append("wrong")
        return {"notes": ["wrong"], "total": 3}

    async def left_other(spare: int = 0) -> dict[str, Any]:
        ran.append("wrong")
        return {"notes": ["wrong"], "total": 3}

    async def left_context(n: int, ctx: Context) -> dict[str, Any]:
        ran.append("left")
        return {"notes": ["left"], "total": 3}

    def left_plain(n: int) -> dict[str, Any]:
        ran.append("left")
        return {"notes": ["left"], "total": 3}

    lefts: dict[str, Callable[..., Any]] = {
        "body": left_mended, "parameter added": left_reads, "parameter moved": left_other, "context": left_context,
        "plain def": left_plain,
    }  # fmt: skip
    return lefts.get(edit, left)


def pipeline(ran: Ran, edit: str) -> Pipeline:
    """Build the pipeline that the edits are made to: ask, many, each, sum."""

    @task
    async def ask(n: int, ctx: Context) -> str:
        said = await ctx.ask("well?", str)
        ran.append("ask")
        return said

    @task(version="2" if edit == "task version" else "")
    async def many(ask: str) -> list[int]:
        ran.append("many")
        return [1, 2]

    async def each(many: int) -> int:
        ran.append("each")
        return many

    async def floats(many: int) -> float:
        ran.append("wrong")
        return many

    async def mended(many: int) -> int:
        ran.append("each, mended")
        return 10 * many

    @task(id="totals" if edit == "task renamed" else "total")
    def total(each: list[int], ctx: SyncContext) -> int:
        ran.append("total")
        return sum(each)

    @task
    async def after(total: int) -> int:
        ran.append("wrong")
        return total

    body = {"task output": floats, "task body": mended}.get(edit, each)
    tasks: list[Any] = [ask, many, task(id="each")(body), total]
    tasks += [after] if edit == "task added" else []
    tasks = tasks[:3] if edit == "task removed" else tasks[::-1] if edit == "tasks in another order" else tasks
    edges: list[Any] = [Edge("many", "each", each=True, concurrency=1 if edit == "concurrency" else None)]
    edges += [("ask", "many")] if edit == "edge spelled out" else []
    edges += [("ask", "each")] if edit == "edge for order" else []
    options: Any = {"max_value": 1_000_000} if edit == "most bytes" else {}
    return Pipeline("edited", tasks, edges, **options)


Expected = Mapping[str, list[str]]  # edit → what runs after it; [] where it is refused
GOES_ON = ["ask", "left", "last"]
MENDED = ["ask", "many", "each", "each", "total"]
GRAPH: Expected = {
    "": GOES_ON, "node renamed": [], "node removed": [], "node added": [], "start added": [], "branch target": [],
    "branch renamed": [], "edge removed": [], "edge added": [], "edge moved": [], "reducer renamed": [],
    "channel type": [], "channel reducer": [], "channel added": [], "channel removed": [], "version": [],
    "parameter added": [], "parameter moved": [], "writes": [], "reducer body": GOES_ON, "durability": GOES_ON,
    "checkpoints": GOES_ON, "step limit": GOES_ON, "timeout": GOES_ON, "retry": GOES_ON, "validate": GOES_ON,
    "recover": GOES_ON, "context": GOES_ON, "plain def": GOES_ON, "body": ["ask", "left, mended", "last"],
    "branch body": ["ask", "right", "last"],
}  # fmt: skip
PIPELINE: Expected = {
    "": MENDED, "task renamed": [], "task removed": [], "task added": [], "task output": [], "task version": [],
    "edge for order": [], "task body": ["ask", "many", "each, mended", "each, mended", "total"],
    "tasks in another order": MENDED, "edge spelled out": MENDED, "concurrency": MENDED, "most bytes": MENDED,
}  # fmt: skip


def edits(folder: Path, rounds: int) -> Figures:
    """Make every edit to a run that waits, and see whether it is refused or goes on as it should."""
    figures = Figures()
    for _ in range(rounds):
        for build, expected in ((graph, GRAPH), (pipeline, PIPELINE)):
            for edit, runs in expected.items():
                figures.trials += 1
                asyncio.run(_edit(build, edit, runs, expected[""], figures))
    return figures


async def _edit(
    build: Callable[[Ran, str], Definition], edit: str, runs: list[str], whole: list[str], figures: Figures
) -> None:
    store, ran = MemoryStore(), Ran()
    await store.open()
    async with Runtime(store) as runtime:
        await runtime.run(build(ran, ""), {"n": 1, "total": 0} if build is graph else 1, id="r")
        (question,) = await runtime.questions("r")
    async with Runtime(store) as runtime:
        await runtime.answer(question.id, "yes")
    ran.clear()
    refused = await _go_on(store, build(ran, edit))
    name = f"{build.__name__}: {edit or 'none'}"
    if bool(refused) is bool(runs) or ran != runs:
        figures.blame("not as expected", f"{name}: {refused or 'goes on'}, ran {ran}")
    figures.reach("refused" if refused else "gone on")
    if refused:  # the definition that the run began with still ends it
        again = await _go_on(store, build(ran, ""))
        if again or ran != whole:
            figures.blame("lost", f"{name}: {again}, ran {ran}")


async def _go_on(store: MemoryStore, definition: Definition) -> str:
    """Drive the run with this definition to its end; return why it was refused, if it was."""
    async with Runtime(store, [definition]) as runtime:
        try:
            await runtime.pick_up("r")
        except DefinitionChanged as changed:
            return str(changed)
        result = await runtime.wait("r")
        return "" if result.status == "completed" else f"it is {result.status}"


ZONES = ("UTC", "Europe/Rome", "Asia/Kathmandu", "America/St_Johns", "Pacific/Kiritimati", "right/UTC", "nonsense")
LOCALES = ("C", "C.UTF-8", "de_DE.UTF-8", "tr_TR.UTF-8", "ja_JP.EUC-JP")
MORE: tuple[dict[str, str], ...] = (
    {}, {"PYTHONUTF8": "0"}, {"PYTHONUTF8": "1"}, {"PYTHONOPTIMIZE": "2"}, {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONDEVMODE": "1"},
)  # fmt: skip


class Still(SystemClock):
    """A time of day that stands still, so that equal runs have equal rows."""

    def now(self) -> float:
        """Return always the same."""
        return 1_750_000_000.0


@task
async def gather_words(n: int, ctx: Context) -> dict[str, Any]:
    """Hold what comes in another order in another process: sets, and the key of a call with one."""
    words = {f"wörd {number}" for number in range(n)}
    kept = await ctx.call("kept", _kept, words)
    await ctx.effect("sent", _kept, words, key="once")
    said = await ctx.ask("Ist es wahr? İıŞ", str)
    return {"words": words, "kept": kept, "said": said, "Ärger": {"b": 1.5, "a": -0.0}, "none": frozenset({"x", "y"})}


@task
async def count_words(gather_words: dict[str, Any]) -> list[str]:
    """Show what a set's order would show."""
    return sorted(gather_words["words"])


words = Pipeline("words", [gather_words, count_words], types=[set, frozenset])


def _kept(given: set[str]) -> int:
    with Path(os.environ["TRIAL_CALLS"]).open("a") as calls:
        calls.write("called\n")
    return len(given)


def environments(folder: Path, processes: int) -> Figures:
    """Park a run here, and end copies of it in processes of other environments; compare every row."""
    figures = Figures()
    calls = folder / "calls"
    os.environ["TRIAL_CALLS"] = str(calls)
    start = folder / "start.db"
    asyncio.run(_part(start, "park"))
    found: dict[str, str] = {}
    for number in range(processes):
        figures.trials += 1
        copied = folder / f"{number}.db"
        for part in folder.glob("start.db*"):
            shutil.copy(part, folder / part.name.replace("start", str(number), 1))
        environment = {
            **os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", "PYTHONHASHSEED": str(number * 7919),
            "TZ": ZONES[number % len(ZONES)], "LC_ALL": LOCALES[number % len(LOCALES)], **MORE[number % len(MORE)],
        }  # fmt: skip
        away = folder / f"away {number}"
        away.mkdir()
        command = [sys.executable, "-m", "trials.faults_change", str(copied)]
        ended = subprocess.run(command, cwd=away, env=environment, capture_output=True, text=True, check=False)
        name = f"seed {number * 7919}, {environment['TZ']}, {environment['LC_ALL']}"
        if ended.returncode:
            figures.blame("failed", f"{name}: {ended.stderr[-300:]}")
        else:
            found[name] = ended.stdout
    if len(set(found.values())) > 1:
        figures.blame("different bytes", f"{found}")
    if calls.read_text().count("called") != 2:
        figures.blame("duplicated", f"{calls.read_text().count('called')} calls instead of 2")
    figures.reach("environments", len(found))
    return figures


async def _part(path: Path, what: str) -> str:
    """Park the run, or end it; return the digest of its state, and of every row."""
    numbers = iter(range(1 if what == "park" else 1_000, 10_000))
    store = SQLiteStore(f"sqlite:///{path}")
    await store.open()
    async with Runtime(store, [words], seams=Seams(clock=Still(), ids=lambda: f"{next(numbers):016x}")) as runtime:
        if what == "park":
            await runtime.run(words, 9, id="r")
        else:
            (question,) = await runtime.questions("r")
            await runtime.answer(question.id, "ja")
            result = await runtime.wait("r")
            if result.status != "completed":
                raise RuntimeError(f"it does not end: {result}")
        rows = await store.find(queries.Rows(run="r"))
        digest = load(await store.load("r")).digest()
    await store.close()
    return f"{digest} {hashlib.sha256(b''.join(row.body for row in rows)).hexdigest()} {len(rows)}"


if __name__ == "__main__":
    print(asyncio.run(_part(Path(sys.argv[1]), "end")))


TRIALS = (
    Trial(
        name="edits",
        faults="F37",
        says="The code changes while a run waits: each edit of structure is refused with a typed error, each other "
        "edit goes on, no wrong node ever runs, and a refused run still ends with its own definition.",
        run=edits,
        short={"rounds": 1},
        long={"rounds": 20},
    ),
    Trial(
        name="environments",
        faults="F39",
        says="A run is ended by processes with other hash seeds, time zones, locales and folders than the one that "
        "paused it: the same rows, byte for byte, and no call made again.",
        run=environments,
        short={"processes": 20},
        long={"processes": 200},
    ),
)
