"""An owner that is stopped and goes on too late: `python -m tests.kill.zombie`.

A process drives a run and stops (SIGSTOP) at a label. Its lease is over, by the clock of a second process, which takes
the run over and ends it. Then the first goes on (SIGCONT): every write of it has to be refused, and nothing in the file
may change. `--sabotage` takes the epoch out of the fence.
"""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

from tests.kill import tour
from tests.kill.forks import fork
from tests.kill.judge import settle
from tests.kill.scenes import SCENES
from tests.kill.world import Kill, World, enter, read
from windlass import Runtime
from windlass.core.blueprint import Definition
from windlass.core.clock import SystemClock
from windlass.core.errors import StaleLease
from windlass.stores import sqlite_jobs
from windlass.stores.sqlite import SQLiteStore

Say = Callable[[str], None]
STOPS = [  # scene, label and its number, what is then on its way
    ("graph", "commit.before", 9), ("graph", "record.before", 3), ("graph", "effect.intent.before", 5),
    ("graph", "effect.call.after", 4), ("graph", "effect.result.after", 6), ("graph", "node.before", 7),
    ("pipeline", "world.done", 8), ("pipeline", "commit.before", 20), ("tour", "items.before", 2),
    ("tour", "interrupt.create", 1),
]  # fmt: skip
DEFINITIONS: dict[str, tuple[Definition, Any]] = {
    **{name: (scene.definition, scene.input) for name, scene in SCENES.items()}, "tour": (tour.scene, 3),
}  # fmt: skip


class LateClock(SystemClock):
    """Is a minute ahead: a lease that lasts 15 seconds is over."""

    def now(self) -> float:
        """Return the time in a minute."""
        return SystemClock.now() + 60


class Noted(SQLiteStore):
    """Notes how each write that advances a run ended, with its number in the order in which they began."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.begun = 0
        self.ended: list[tuple[str, str, int]] = []

    async def commit(self, write: Any) -> None:
        await self._noted("commit", super().commit(write))

    async def append_items(self, run: str, epoch: int, items: Any) -> None:
        await self._noted("append_items", super().append_items(run, epoch, items))

    async def _noted(self, verb: str, work: Any) -> None:
        number, self.begun = self.begun, self.begun + 1
        try:
            await work
        except StaleLease as stale:
            self.ended.append((verb, stale.code, number))
            raise
        self.ended.append((verb, "written", number))


def owner(name: str, folder: Path, kill: Kill) -> Callable[[Say], None]:
    """The process that is stopped; says which of its writes were accepted, and how its drive ended."""
    definition, given = DEFINITIONS[name]

    def work(say: Say) -> None:
        store = Noted(f"sqlite:///{folder}/r.db")
        here = World(folder / "ledger", 0, kill, signal.SIGSTOP)
        before: list[int] = []

        async def main() -> None:
            enter(here)
            await store.open()
            async with Runtime(store, [definition]) as runtime:
                ended = (await runtime.run(definition, given, id="r")).status  # as the successor ended it
            await store.close()
            say(json.dumps({"writes": store.ended, "before": before, "ended": ended}))

        real = here.reach

        def reach(label: str) -> None:
            real(label)
            if not before and (label, here.reached[label]) == (kill.label, kill.number):
                # A write that began earlier may be in the file by now, and hear of it only after the stop.
                before.append(store.begun - label.startswith(("commit.", "items.")))

        here.reach = reach  # type: ignore[method-assign]
        asyncio.run(main())

    return work


def successor(name: str, folder: Path) -> Callable[[Say], None]:
    """The process that takes the run over, and ends it."""
    definition, given = DEFINITIONS[name]

    def work(say: Say) -> None:
        enter(World(folder / "ledger", 1))

        async def main() -> None:
            store = SQLiteStore(f"sqlite:///{folder}/r.db", clock=LateClock())
            await store.open()
            async with Runtime(store, [definition]) as runtime:
                result = await runtime.run(definition, given, id="r")
                while result.status == "waiting":
                    for question in await runtime.questions("r"):
                        is_doubt = question.prompt.startswith("Did the effect")
                        verdict = settle(read(folder / "ledger"), question.address) if is_doubt else "yes"
                        await runtime.answer(question.id, verdict)
                    result = await runtime.wait("r")
                say(result.status)
            await store.close()

        asyncio.run(main())

    return work


def contents(path: Path) -> dict[str, list[Any]]:
    """Read every table but that of the leases, which a zombie may renew: they own nothing."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    found = {name: list(connection.execute(f'SELECT * FROM "{name}"')) for name in names if name != "owners"}
    connection.close()
    return found


def trouble(name: str, folder: Path, kill: Kill) -> tuple[list[str], int]:
    """Make one trial; return what is wrong, and how many writes were refused."""
    folder.mkdir()
    first = fork(owner(name, folder, kill))
    if not first.is_stopped():
        return ["it did not stop"], 0
    second = fork(successor(name, folder))
    code, said = second.end(), second.rest()
    before = contents(folder / "r.db")
    first.send(signal.SIGCONT)
    found = [] if (code, said) == (0, ["completed"]) else [f"the successor ended {code}, {said}"]
    code, last = first.end(), first.rest()
    if not last:
        return [*found, f"the first process ended {code}"], 0
    told = json.loads(last[0])
    writes = [(verb, how) for verb, how, number in told["writes"] if number >= told["before"][0]]
    accepted = [verb for verb, how in writes if how == "written"]
    found += [f"writes were accepted: {accepted}"] if accepted else []
    found += [] if len(writes) > len(accepted) else ["no write was refused"]
    found += [] if told["ended"] == "completed" else [f"the first owner was told {told['ended']}"]
    found += [f"{table} changed" for table, rows in contents(folder / "r.db").items() if rows != before[table]]
    return found, len(writes) - len(accepted)


def unfence() -> None:
    """Take epoch and head out of the fence."""
    for name in ("MOVE_HEAD", "MOVE_HEAD_AND_RELEASE"):
        sql: str = getattr(sqlite_jobs, name)
        setattr(sqlite_jobs, name, sql.replace("AND epoch = ? AND seq = ?", "AND ? > 0 AND ? > 0"))


def main() -> int:
    """Stop an owner at each place; print the refused writes, and what is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sabotage", action="store_true")
    given = parser.parse_args()
    if given.sabotage:
        unfence()
    refused, wrong = 0, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, label, number in STOPS[:1] if given.sabotage else STOPS:
            found, writes = trouble(name, Path(folder) / f"{name}-{label}-{number}", Kill(label, number))
            refused += writes
            wrong.update({f"{name}, {label} {number}": found} if found else {})
    shown = {"trials": len(STOPS), "refused": refused, "wrong": wrong}
    sys.stdout.write((json.dumps(shown) if given.json else str(shown)) + "\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
