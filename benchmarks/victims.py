"""The workload that is killed, on each system: 3 steps of 5 effects, each a line in a ledger outside and 5 ms of work.

`python -m benchmarks.victims SYSTEM TRIALS SEED` kills and resumes one system so often, in the current folder, and
prints what it found as JSON. Each system is written as its own documentation would write it, its durability at the
strongest: LangGraph with `durability="sync"` and its SQLite saver, once with the effects in nodes and once with each
in a `@task`; DBOS with each effect in a step; ours with each in `ctx.effect`.
"""

import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypedDict

STEPS, EFFECTS, EFFECT_SECONDS = 3, 5, 0.005
PATIENCE_SECONDS = 30.0
LEDGER, DATABASE = "ledger.db", "runs.db"
Run = Callable[[bool], None]  # run the workload, or with True resume it; returns when it can go no further
PARKED = 7  # exit code of a process whose run waits for a person


def ledger(*, dedupes: bool = False) -> sqlite3.Connection:
    """Open the world outside: a line for each effect that happened, in a file of its own."""
    connection = sqlite3.connect(LEDGER, isolation_level=None, timeout=10)
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute(f"CREATE TABLE IF NOT EXISTS ledger (name TEXT, key TEXT {'UNIQUE' if dedupes else ''})")
    return connection


def effect(name: str, key: str | None = None) -> str:
    """Happen: what a mail or a payment is, once more each time it is called; a known key does nothing again."""
    with closing(ledger(dedupes=key is not None)) as there:
        there.execute("INSERT OR IGNORE INTO ledger VALUES (?, ?)", (name, key))
    time.sleep(EFFECT_SECONDS)
    return name


def happened(name: str) -> bool:
    """Ask the world whether an effect happened."""
    with closing(ledger()) as there:
        return bool(there.execute("SELECT count(*) FROM ledger WHERE name = ?", (name,)).fetchone()[0])


def names(step: int) -> list[str]:
    """Name the effects of a step."""
    return [f"{step}:{number}" for number in range(EFFECTS)]


def ours(on_doubt: str) -> Run:
    """Windlass: a pipeline of three tasks."""
    from windlass import Context, Happened, Pipeline, Runtime, task

    def verify(name: str, key: str | None = None) -> Any:
        return Happened(name) if happened(name) else None

    decided: Any = verify if on_doubt == "verify" else on_doubt

    def step(number: int) -> Any:
        async def work(ctx: Context) -> int:
            for name in names(number):
                key = ctx.key("send", name) if on_doubt == "retry" else None
                await ctx.effect("send", effect, name, key, key=name, on_doubt=decided)
            return number

        return task(id=f"step{number}")(work)

    order = [(f"step{number - 1}", f"step{number}") for number in range(1, STEPS)]
    pipeline = Pipeline("kills", [step(number) for number in range(STEPS)], order)

    async def main() -> bool:
        async with Runtime(f"sqlite:///{DATABASE}") as runtime:
            result = await runtime.run(pipeline, None, id="run")
            parked = result.status == "waiting"
            while result.status == "waiting":  # a person looks at the world, and says what is there
                for question in await runtime.questions("run"):
                    name = question.key.split("|")[2]  # doubt|send|name|number
                    await runtime.answer(question.id, {"happened": happened(name), "value": name})
                result = await runtime.wait("run")
            return parked

    def run(_: bool) -> None:
        if asyncio.run(main()):
            sys.stdout.flush()
            os._exit(PARKED)

    return run


class State(TypedDict):
    """The state of the graph: what has been done."""

    n: int


def langgraph_node() -> Run:
    """LangGraph, the effects in nodes."""
    from langgraph.checkpoint.sqlite import SqliteSaver
    from langgraph.graph import END, START, StateGraph

    def node(step: int) -> Callable[[State], State]:
        def work(_: State) -> State:
            for name in names(step):
                effect(name)
            return {"n": step}

        return work

    def run(resume: bool) -> None:
        with closing(sqlite3.connect(DATABASE, check_same_thread=False)) as connection:
            graph: Any = StateGraph(State)
            for step in range(STEPS):
                graph.add_node(f"step{step}", node(step))
                graph.add_edge(f"step{step - 1}" if step else START, f"step{step}")
            graph.add_edge(f"step{STEPS - 1}", END)
            _invoke(graph.compile(checkpointer=SqliteSaver(connection)), {"n": 0}, resume=resume)

    return run


def langgraph_task() -> Run:
    """LangGraph, each effect in a `@task` of an `@entrypoint`."""
    from langgraph.checkpoint.sqlite import SqliteSaver
    from langgraph.func import entrypoint, task

    send: Any = task(effect)

    def run(resume: bool) -> None:
        with closing(sqlite3.connect(DATABASE, check_same_thread=False)) as connection:

            def workflow(_: int) -> int:
                for step in range(STEPS):
                    for name in names(step):
                        send(name).result()
                return STEPS

            made: Any = entrypoint(checkpointer=SqliteSaver(connection))(workflow)
            _invoke(made, 1, resume=resume)

    return run


def _invoke(graph: Any, given: Any, *, resume: bool) -> None:
    """Begin, or go on where the last checkpoint stands; a run whose first checkpoint was not kept begins anew."""
    config = {"configurable": {"thread_id": "run"}}
    if resume:
        found = graph.get_state(config)
        if found.created_at is not None and not found.next:
            return
        given = given if found.created_at is None else None
    graph.invoke(given, config, durability="sync")


def dbos() -> Run:
    """DBOS, each effect in a step of a workflow; starting it again by its id recovers it."""
    from dbos import DBOS, SetWorkflowID

    def run(_: bool) -> None:
        DBOS(config={"name": "kills", "system_database_url": f"sqlite:///{DATABASE}", "log_level": "CRITICAL"})
        send = DBOS.step()(effect)

        @DBOS.workflow()  # type: ignore[untyped-decorator, unused-ignore]  # only `make bench` installs the peer
        def workflow() -> int:
            for step in range(STEPS):
                for name in names(step):
                    send(name)
            return STEPS

        DBOS.launch()
        with SetWorkflowID("run"):
            handle = DBOS.start_workflow(workflow)
        handle.get_result()

    return run


SYSTEMS: dict[str, tuple[str, Callable[[], Run]]] = {  # name → what the table says, how it is made
    "ours-ask": ('Windlass, `on_doubt="ask"`', lambda: ours("ask")),
    "ours-verify": ("Windlass, `on_doubt=verify`: the world can be asked", lambda: ours("verify")),
    "ours-retry": ('Windlass, `on_doubt="retry"`: the world honours the key', lambda: ours("retry")),
    "langgraph-node": ("LangGraph, effects in nodes", langgraph_node),
    "langgraph-task": ("LangGraph, each effect in a `@task`", langgraph_task),
    "dbos": ("DBOS, each effect in a step", dbos),
}


def fork(work: Callable[[], None]) -> int:
    """Do something in a process of its own; what it prints is lost."""
    pid = os.fork()
    if pid:
        return pid
    code = 0
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        work()
    except BaseException:  # noqa: BLE001 -- whatever it is, the process ends here
        code = 3
    finally:
        os._exit(code)


def lines() -> tuple[int, int]:
    """Count the effects that happened, and how many of them are different."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(LEDGER, timeout=10)) as there:
        found: tuple[int, int] = there.execute("SELECT count(*), count(DISTINCT name) FROM ledger").fetchone()
        return found
    return 0, 0


def first_effect() -> None:
    """Wait until the work has begun."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends and not (Path(LEDGER).exists() and lines()[0]):
        time.sleep(0.001)


def clear() -> None:
    """Begin with nothing."""
    for name in (LEDGER, DATABASE):
        for part in Path().glob(f"{name}*"):
            part.unlink()


def clean_run(run: Run) -> float:
    """Run the workload whole, and return the seconds from its first effect to its last."""
    clear()
    pid = fork(lambda: run(False))
    first_effect()
    began = time.monotonic()
    ended = began
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        if lines()[1] < STEPS * EFFECTS:
            ended = time.monotonic()
        time.sleep(0.001)
    if lines() != (STEPS * EFFECTS, STEPS * EFFECTS):
        raise RuntimeError(f"it does not run: {lines()} lines")
    return ended - began


def kill(system: str, trials: int, seed: int) -> dict[str, Any]:
    """Kill and resume so often; count."""
    run = SYSTEMS[system][1]()
    dice = random.Random(seed)
    window = sorted(clean_run(run) for _ in range(3))[1]
    found = dict.fromkeys(
        ("trials", "killed", "resume failed", "parked", "missing", "duplicated", "with a duplicate"), 0
    )
    for _ in range(trials):
        clear()
        pid = fork(lambda: run(False))
        first_effect()
        time.sleep(dice.uniform(0, window))
        os.kill(pid, signal.SIGKILL)
        found["killed"] += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
        code = os.waitstatus_to_exitcode(os.waitpid(fork(lambda: run(True)), 0)[1])
        total, different = lines()
        found["trials"] += 1
        found["parked"] += code == PARKED
        found["resume failed"] += code not in (0, PARKED)
        found["missing"] += STEPS * EFFECTS - different
        found["duplicated"] += total - different
        found["with a duplicate"] += total > different
    return {**found, "duplicated per kill": found["duplicated"] / max(1, found["killed"]), "window": window}


if __name__ == "__main__":
    print(json.dumps(kill(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
