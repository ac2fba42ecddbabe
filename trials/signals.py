"""A worker or a run in the foreground is told to stop in the middle of a step (F40).

`windlass worker` gets SIGTERM or SIGINT, once or twice, `windlass run` SIGINT once or twice, or SIGTERM. It has to end
with the code that it promises, and another process has to go on at once, without waiting for a lease.
"""

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from trials.figures import Figures, Trial
from trials.kills import known
from trials.shapes import chain, diamond
from windlass import Result
from windlass.cli import app as _warm  # noqa: F401 -- children import nothing
from windlass.cli import main as windlass
from windlass.testing.crash_forks import Say, fork, lanes
from windlass.testing.crash_judge import KINDS, End, Evidence, judge
from windlass.testing.crash_trial import RUN, Going, Model, Subject, attempt, process, workplace
from windlass.testing.crash_world import Kill, Target, World, enter, listen, read

QUICK_SECONDS = 4.0  # a lease is good for 15, and renewed every 5
LEAST_QUICK = 0.95
SECONDS = 30.0
TERM, INT = signal.SIGTERM, signal.SIGINT
WAYS: dict[tuple[str, tuple[signal.Signals, ...]], set[int]] = {  # command and signals → exit codes
    ("worker", (TERM,)): {0},
    ("worker", (INT,)): {0},
    ("worker", (TERM, TERM)): {0},
    ("run", (INT,)): {0, 3},  # it may complete while it drains
    ("run", (INT, INT)): {0, 3, 130},  # the second may come when it has paused, or completed
    ("run", (TERM,)): {-TERM},
}
Way = tuple[str, tuple[signal.Signals, ...]]


async def resumed(going: Going) -> Result:
    """Go on with a run that Ctrl-C has paused, too."""
    while (result := await going.to_the_end()).status == "paused":
        await going.runtime.resume(RUN)
    return result


flow = chain(Target("bank", "neither")).definition
fork_and_join = diamond(Target("bank", "neither")).definition
SUBJECTS = {
    "flow": Subject(flow, 0, drive=resumed),
    "fork_and_join": Subject(fork_and_join, 0, drive=resumed),
}


def command(name: str, folder: Path, verb: str, grace: float) -> Callable[[Say], None]:
    """A process that is `windlass worker` or `windlass run`."""

    def work(_: Say) -> None:
        enter(World(folder / "ledger", 1))
        listen()
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        words = {"worker": ["--grace", str(grace)], "run": ["--id", RUN, "--input", "0"]}[verb]
        code = 1
        try:
            code = windlass([verb, f"{__name__}:{name}", *words, "--store", f"sqlite:///{folder}/runs.db"])
        except SystemExit as ended:
            code = int(ended.code or 0)
        os._exit(code)

    return work


def trial(name: str, folder: Path, way: Way, model: Model, seed: int) -> dict[str, Any]:
    """Stop a command in the middle of a step, and let another process go on."""
    folder.mkdir(parents=True)
    verb, signals = way
    dice, ledger, subject = random.Random(seed), folder / "ledger", SUBJECTS[name]
    if verb == "worker":  # a run that its owner left
        left = Kill("run.create.after")
        attempt(process(subject, folder, 0, left), left, ledger, 0)
    child = fork(command(name, folder, verb, dice.choice([0.0, 0.005, 5.0])))
    wanted, give_up = dice.randint(1, 4), time.monotonic() + SECONDS
    while sum(line.kind in ("begun", "did") for line in read(ledger)) < wanted and time.monotonic() < give_up:
        time.sleep(0.001)
    for number in signals:
        time.sleep(dice.uniform(0, 0.004))
        try:
            child.send(number)
        except ProcessLookupError:
            break
    code, ended = child.end(SECONDS), time.monotonic()
    said, last = attempt(process(subject, folder, 2, None), None, ledger, 2)
    took = time.monotonic() - ended
    found: dict[str, Any] = {"code": code, "took": took, "wrong": []}
    if last != 0:
        return {**found, "wrong": [("stuck", f"the next process ended {last}")]}
    end = msgspec.json.decode(said[2], type=tuple[dict[str, End], dict[str, int], float])[0][RUN]
    lines = read(ledger)
    found["mid step"] = any(line.turn == 2 for line in lines)
    found["wrong"] = judge(Evidence([], end, lines), model.evidence).trouble()
    return found


def planned(trials: int, dice: random.Random) -> Sequence[tuple[str, Way, int]]:
    """List subjects, ways and seeds."""
    ways = list(WAYS)
    return [(dice.choice(list(SUBJECTS)), ways[n % len(ways)], dice.randrange(1_000_000)) for n in range(trials)]


def run(folder: Path, trials: int, seed: int = 1) -> Figures:
    """Make the trials."""
    kinds = (*KINDS, "code", "waited")
    figures, quick, slowest = Figures(bad=dict.fromkeys(kinds, 0)), 0, 0.0
    with workplace() as place:
        models = known({name: replace(subject) for name, subject in SUBJECTS.items()}, place)
        plan = planned(trials, random.Random(seed))
        jobs = [partial(trial, name, place / str(n), way, models[name], s) for n, (name, way, s) in enumerate(plan)]
        for (name, way, _), found in zip(plan, lanes(jobs, 2), strict=True):
            verb, signals = way
            where = f"{verb} {name}, {' '.join(number.name for number in signals)}"
            figures.trials += 1
            figures.reach(f"{verb} {' '.join(number.name for number in signals)}")
            figures.reach("stopped in the middle", int(found.get("mid step", False)))
            quick += found["took"] < QUICK_SECONDS
            slowest = max(slowest, found["took"])
            if found["code"] not in WAYS[way]:
                figures.blame("code", f"{where}: it ended {found['code']}")
            for kind, what in found["wrong"]:
                figures.blame(kind, f"{where}: {what}")
    figures.shown = {"gone on at once": round(quick / max(1, trials), 3), "slowest": round(slowest, 2)}
    if quick < LEAST_QUICK * trials:
        figures.blame("waited", f"{trials - quick} of {trials} waited for a lease")
    return figures


TRIALS = (
    Trial(
        "signals", "F40",
        "`windlass worker` and `windlass run` are stopped by SIGTERM and SIGINT in the middle of a step; each has to "
        "end as it promises, nothing may be lost, and the next process goes on without waiting for a lease.",
        run, short={"trials": 36}, long={"trials": 504},
    ),
)  # fmt: skip
