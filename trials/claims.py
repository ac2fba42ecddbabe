"""Several processes want one run at once: bare claims by the thousand, and whole runs that their owner left (F17, F19).

In `claims` four processes claim every run of a store, in orders of their own; each run has to go to exactly one of
them. In `rivals` the owner of a run is killed, and four processes attach at the same moment: one wins, the others
follow it, all are told the same end, and nothing happens twice.
"""

import asyncio
import json
import mmap
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from trials.figures import Figures, Trial
from trials.kills import known
from trials.shapes import subjects
from windlass import Pipeline, Runtime, task
from windlass.core.errors import RunOwned
from windlass.core.owner import this_process
from windlass.core.queries import Runs
from windlass.stores.base import open_store
from windlass.testing.crash_forks import Say, fork, lanes
from windlass.testing.crash_judge import KINDS, End, Evidence, judge
from windlass.testing.crash_trial import RUN, Model, Subject, attempt, process, workplace
from windlass.testing.crash_world import Kill, read

RIVALS = 4
WAVE = 250  # runs that are made at once
HANDFUL = 10  # runs that a process claims at once
SECONDS = 60.0


@task
async def nothing(n: int) -> int:
    return n


idle = Pipeline("idle", [nothing])


def runs_of(folder: Path, number: int) -> Callable[[Say], None]:
    """Make runs that nobody owns."""

    def work(_: Say) -> None:
        async def main() -> None:
            url = f"sqlite:///{folder}/runs.db"
            async with Runtime(url) as runtime:
                await runtime.run(idle, 1, id="first")
            async with Runtime(url) as runtime:  # which does not know the definition, and drives nothing
                first = (await runtime.history("first"))[0].n
                for start in range(0, number, WAVE):
                    names = [f"r{place}" for place in range(start, min(number, start + WAVE))]
                    await asyncio.gather(*(runtime.fork("first", at=first, id=name) for name in names))

        asyncio.run(main())

    return work


class Steps:
    """How far each process has come, in memory that they share: none goes on before all have come so far."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._memory = mmap.mmap(-1, 4 * number)

    def wait(self, place: int, step: int) -> None:
        """Say that a process has come to a step, and wait for the others."""
        self._memory[4 * place : 4 * place + 4] = step.to_bytes(4, "little")
        while any(int.from_bytes(self._memory[4 * n : 4 * n + 4], "little") < step for n in range(self.number)):
            time.sleep(0)


def claimant(folder: Path, number: int, place: int, steps: Steps) -> Callable[[Say], None]:
    """Claim every run, a handful at a time and at the same time as the others; say which were won."""

    def work(say: Say) -> None:
        async def main() -> list[str]:
            store = open_store(f"sqlite:///{folder}/runs.db")
            await store.open()
            owner, dice, won = this_process(), random.Random(place), []
            await store.renew(owner)

            async def claim(name: str) -> None:
                try:
                    await store.claim(name, owner)
                except RunOwned:
                    return
                won.append(name)

            for step, start in enumerate(range(0, number, HANDFUL), start=1):
                steps.wait(place, step)
                names = [f"r{place}" for place in range(start, min(number, start + HANDFUL))]
                dice.shuffle(names)
                await asyncio.gather(*map(claim, names))
            say(json.dumps(won))
            wait_for(folder / "stop")  # an owner that has ended would free its runs for the others
            await store.close()
            return won

        asyncio.run(main())

    return work


def wait_for(path: Path) -> None:
    """Wait until a file is there, with nothing else under way."""
    while not path.exists():
        time.sleep(0.001)


def epochs(folder: Path) -> Callable[[Say], None]:
    """Say how often each run was claimed, by its own count."""

    def work(say: Say) -> None:
        async def main() -> None:
            store = open_store(f"sqlite:///{folder}/runs.db")
            await store.open()
            found: list[Any] = []
            while page := await store.find(Runs(definitions=("idle",), after=found[-1].id if found else None)):
                found += page
            await store.close()
            say(json.dumps({record.id: record.epoch for record in found if record.id != "first"}))

        asyncio.run(main())

    return work


def claims(folder: Path, runs: int) -> Figures:
    """Let four processes claim all runs."""
    figures = Figures(bad={"double": 0, "unclaimed": 0, "stuck": 0})
    if fork(runs_of(folder, runs)).end(SECONDS * 10) != 0:
        figures.blame("stuck", "the runs could not be made")
        return figures
    begun, steps = time.monotonic(), Steps(RIVALS)
    rivals = [fork(claimant(folder, runs, place, steps)) for place in range(RIVALS)]
    won = [json.loads(rival.hear(SECONDS * 10) or "[]") for rival in rivals]
    seconds = time.monotonic() - begun
    (folder / "stop").touch()
    for place, rival in enumerate(rivals):
        if (code := rival.end(SECONDS)) != 0:
            figures.blame("stuck", f"claimant {place} ended {code}")
    winners = Counter(name for names in won for name in names)
    child = fork(epochs(folder))
    claimed: dict[str, int] = json.loads(child.hear(SECONDS))
    child.end()
    figures.trials = len(claimed)
    for name, epoch in claimed.items():
        if winners[name] > 1 or epoch > 1:
            figures.blame("double", f"{name}: {winners[name]} winners, epoch {epoch}")
        elif winners[name] < 1:
            figures.blame("unclaimed", name)
    for place, names in enumerate(won):
        figures.reach(f"process {place} won", len(names))
    figures.shown["claims tried a second"] = round(runs * RIVALS / seconds)
    return figures


def rival_trial(subject: Subject, folder: Path, kill: Kill, model: Model) -> list[tuple[str, str]]:
    """Kill the owner, let the rivals race, and say what is wrong."""
    while True:
        folder.mkdir(parents=True)
        ledger = folder / "ledger"
        _, code = attempt(process(subject, folder, 0, kill), kill, ledger, 0)
        if code == -signal.SIGKILL:
            break
        if code != 0 or kill.number == 1:
            return [("stuck", f"the owner was not killed, it ended {code}")]
        folder, kill = folder / "again", Kill(kill.label, kill.number // 2)  # fewer commits than usual
    children = [fork(process(subject, folder, turn, None)) for turn in range(1, RIVALS + 1)]
    codes, said = [child.end(SECONDS) for child in children], [child.rest() for child in children]
    if any(codes):
        return [("stuck", f"the rivals ended {codes}")]
    told = tuple[dict[str, End], dict[str, int], float]
    ends = [msgspec.json.decode(lines[2], type=told)[0][RUN] for lines in said]
    wrong = [("told", f"a rival was told {e.status} {e.output}") for e in ends if e.output != ends[0].output]
    return wrong + judge(Evidence([], ends[-1], read(ledger)), model.evidence).trouble()


def rivals(folder: Path, trials: int, seed: int = 1) -> Figures:
    """Kill owners, and let four processes resume each run."""
    kinds = (*KINDS, "told")
    figures, dice = Figures(bad=dict.fromkeys(kinds, 0)), random.Random(seed)
    named = {name: subject for name, subject in subjects().items() if subject.drive is None}
    chosen = [name for name in named if name.endswith("neither")] * 3 + list(named)
    with workplace() as quick:
        models = known(named, quick)
        picks = [dice.choice(chosen) for _ in range(trials)]
        jobs = []
        for place, name in enumerate(picks):
            reached = models[name].reached
            label = dice.choice(["node.before", "world.done", "world.begun", "commit.after", "effect.result.after"])
            kill = Kill(label, dice.randint(1, max(1, reached[label] - 2)))
            jobs.append(partial(rival_trial, named[name], quick / str(place), kill, models[name]))
        for name, wrong in zip(picks, lanes(jobs, 2), strict=True):
            figures.trials += 1
            figures.reach(name.rpartition(" ")[2])
            for kind, what in wrong:
                figures.blame(kind, f"{name}: {what}")
    return figures


TRIALS = (
    Trial(
        "claims", "F17",
        "Four processes claim every run of a store in orders of their own; each run has to go to exactly one.",
        claims, short={"runs": 5_000}, long={"runs": 50_000},
    ),
    Trial(
        "rivals", "F17 F19",
        "The owner is killed and four processes attach to its run at once; all have to be told one end, and nothing "
        "may happen twice.",
        rivals, short={"trials": 24}, long={"trials": 1_000},
    ),
)  # fmt: skip
