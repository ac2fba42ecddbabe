"""An owner that is stopped and goes on too late (F18).

A process drives a run and stops (SIGSTOP) at a label. Its lease is over, by the clock of a second process, which takes
the run over and ends it. Then the first goes on (SIGCONT): every write of it has to be refused, nothing in the file may
change, and what it still calls outside has the key that its successor's call had.
"""

import asyncio
import json
import random
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import apsw

from trials.figures import Figures, Trial
from trials.kills import known
from trials.shapes import subjects
from windlass import Runtime
from windlass.core.clock import SystemClock
from windlass.core.errors import StaleLease, WindlassError
from windlass.core.tallies import Answer
from windlass.stores.sqlite import SQLiteStore
from windlass.testing.crash import LANES
from windlass.testing.crash_forks import Say, fork, lanes
from windlass.testing.crash_trial import Going, Model, Subject, process, workplace
from windlass.testing.crash_world import Kill, World, enter, listen, read

LABELS = (  # a write is on its way when a process stops at these
    "commit.before", "record.before", "effect.intent.before", "effect.call.before", "effect.call.after", "node.before",
    "effect.result.after", "world.done", "items.before", "interrupt.create", "branch.before", "undo.before",
)  # fmt: skip
SECONDS = 30.0
LEASE = ("owners", "pulse")  # leases, which a zombie may renew: they own nothing; and the count of transactions


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

    async def commit(self, write: Any) -> tuple[Answer, ...]:
        answers: tuple[Answer, ...] = await self._noted("commit", super().commit(write))
        return answers

    async def append_items(self, run: str, epoch: int, items: Any) -> None:
        await self._noted("append_items", super().append_items(run, epoch, items))

    async def _noted(self, verb: str, work: Any) -> Any:
        number, self.begun = self.begun, self.begun + 1
        try:
            told = await work
        except StaleLease as stale:
            self.ended.append((verb, stale.code, number))
            raise
        self.ended.append((verb, "written", number))
        return told


def owner(subject: Subject, folder: Path, kill: Kill) -> Callable[[Say], None]:
    """The process that is stopped; says which of its writes were accepted, and how its drive ended."""

    def work(say: Say) -> None:
        store = Noted(f"sqlite:///{folder}/runs.db")
        here = World(folder / "ledger", 0, kill, signal.SIGSTOP)
        before: list[int] = []
        real = here.reach

        def reach(label: str) -> None:
            real(label)
            if not before and (label, here.reached[label]) == (kill.label, kill.number):
                # A write that began earlier may be in the file by now, and hear of it only after the stop.
                is_writing = label.startswith(("commit.", "items.")) and len(store.ended) < store.begun
                before.append(store.begun - is_writing)

        here.reach = reach  # type: ignore[method-assign]

        async def main() -> None:
            enter(here)
            listen()
            await store.open()
            async with Runtime(store, [subject.definition]) as runtime:
                going = Going(subject, runtime, folder)
                try:  # as the successor ended it
                    result = await (subject.drive(going) if subject.drive is not None else going.to_the_end())
                    ended = result.status
                except WindlassError as error:
                    ended = error.code
            await store.close()
            say(json.dumps({"writes": store.ended, "before": before, "ended": ended}))

        asyncio.run(main())

    return work


def late(url: str) -> SQLiteStore:
    """Make a successor's store: by its clock the lease of the first process is over."""
    return SQLiteStore(url, clock=LateClock())


def contents(path: Path) -> dict[str, list[Any]]:
    """Read every table but that of the leases."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    found = {name: list(connection.execute(f'SELECT * FROM "{name}"')) for name in names if name not in LEASE}
    connection.close()
    return found


def trial(subject: Subject, folder: Path, kill: Kill) -> tuple[dict[str, list[str]], int, int]:
    """Make one trial; return what is wrong, how many writes were refused, and what the zombie still called outside."""
    folder.mkdir(parents=True)
    first = fork(owner(subject, folder, kill))
    if not first.is_stopped():  # commits that went together made fewer
        first.rest()
        earlier = Kill(kill.label, kill.number - 1)
        return trial(subject, folder / "again", earlier) if earlier.number else ({"stuck": ["it did not stop"]}, 0, 0)
    second = fork(process(replace(subject, store=late), folder, 1, None))
    code, said = second.end(SECONDS), second.rest()
    wrong: dict[str, list[str]] = {}
    if code != 0 or '"completed"' not in said[-1]:
        wrong["stuck"] = [f"the successor ended {code}"]
    before, ledger = contents(folder / "runs.db"), read(folder / "ledger")
    first.send(signal.SIGCONT)
    code, last = first.end(SECONDS), first.rest()
    if not last:
        return {**wrong, "stuck": [f"the first process ended {code}"]}, 0, 0
    told = json.loads(last[0])
    refused = sum(how != "written" for _, how, _ in told["writes"])
    accepted = [verb for verb, how, number in told["writes"] if number >= told["before"][0] and how == "written"]
    changed = [table for table, rows in contents(folder / "runs.db").items() if rows != before[table]]
    keys = {line.key for line in ledger if line.kind == "begun"}
    outside = [line for line in read(folder / "ledger")[len(ledger) :] if line.kind == "begun"]
    other = [f"{line.address} {line.name}" for line in outside if line.key not in keys]
    found = {"accepted": accepted, "changed": changed, "key": other}
    return {**wrong, **{kind: what for kind, what in found.items() if what}}, refused, len(outside)


def planned(models: Mapping[str, Model], trials: int, dice: random.Random) -> list[tuple[str, Kill]]:
    """List where owners stop: each label in turn, of a subject that reaches it, at any of its times.

    An owner that stops between intent and outcome is one whose effect may happen twice: only upon a system that knows
    the key is that harmless, so these are the subjects.
    """
    names = [name for name in models if name.endswith("dedupes")]
    found = []
    for number in range(trials):
        label = LABELS[number % len(LABELS)]
        name = dice.choice([name for name in names if label in models[name].reached])
        found.append((name, Kill(label, dice.randint(1, models[name].reached[label]))))
    return found


def run(folder: Path, trials: int, seed: int = 1) -> Figures:
    """Make the trials."""
    figures = Figures(bad={"accepted": 0, "changed": 0, "key": 0, "stuck": 0, "tried no write": 0})
    named = {name: subject for name, subject in subjects().items() if name.endswith("dedupes")}
    del named["steered, dedupes"]  # steering is no writing: a zombie may do it, too
    del named["bounded, dedupes"]  # what a zombie has spent counts: `budgets` and `simulate` look at that
    with workplace() as quick:
        models = known(named, quick)
        stops = planned(models, trials, random.Random(seed))
        jobs = [partial(trial, named[name], quick / str(at), kill) for at, (name, kill) in enumerate(stops)]
        for (name, kill), (wrong, refused, outside) in zip(stops, lanes(jobs, LANES), strict=True):
            figures.trials += 1
            figures.reach(kill.label)
            figures.reach("refused", refused)
            figures.reach("called outside", outside)
            for kind, what in wrong.items():
                figures.blame(kind, f"{name}, {kill}: {what}")
            if not refused and not wrong:
                figures.blame("tried no write", f"{name}, {kill}")
    return figures


TRIALS = (
    Trial(
        "zombies", "F18",
        "An owner is stopped past its lease, another takes over, and the first goes on; nothing that it writes may be "
        "accepted, and what it calls outside carries the key of its successor's call.",
        run, short={"trials": 60}, long={"trials": 2_004},
    ),
)  # fmt: skip
