"""Runs of every shape are killed with SIGKILL, anywhere, and go on (F1, F2, F4, F5).

Each label of each shape at its first, third and last time (in the long campaign); more than a third inside of effects;
at random times; and the processes that recover, up to three in a row. Every fifth on a store whose commits go through
its thread.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any

import msgspec

from trials.figures import Figures, Trial
from trials.shapes import SHAPES, subjects
from windlass.stores.base import Store
from windlass.stores.sqlite import SQLiteStore
from windlass.testing.crash import IN_DOUBT, LANES, Job, make, most_nested, settled_model
from windlass.testing.crash_forks import lanes
from windlass.testing.crash_judge import KINDS
from windlass.testing.crash_trial import Model, Subject, workplace
from windlass.testing.crash_world import Kill

WHOLE = 120  # trials: fewer are a sample, and cannot hit every label and shape
LEAST_SHARE = 0.4  # of the kills, that fall between an intent and its outcome
Planned = tuple[str, Sequence[Kill]]


def on_a_thread(url: str) -> Store:
    """Make a store that takes every disk for a slow one: its commits move to the writer's thread."""
    return SQLiteStore(url, slow=0.0)


def known(named: Mapping[str, Subject], folder: Path) -> dict[str, Model]:
    """Let each subject run unkilled, twice."""

    def one(place: int, subject: Subject) -> Any:
        home = folder / f"model-{place}"
        home.mkdir()
        return msgspec.to_builtins(settled_model(subject, home))

    found = lanes([partial(one, place, subject) for place, subject in enumerate(named.values())], LANES)
    return dict(zip(named, (msgspec.convert(plain, Model) for plain in found), strict=True))


def covering(models: Mapping[str, Model]) -> Iterator[Planned]:
    """List a kill for each label, in turn of the subjects that reach it."""
    labels = sorted({label for model in models.values() for label in model.reached})
    for place, label in enumerate(labels):
        reaching = [name for name, model in models.items() if label in model.reached]
        yield reaching[place * 7 % len(reaching)], [Kill(label)]


def every(models: Mapping[str, Model]) -> Iterator[Planned]:
    """List a kill for each label of each subject, at its first, third and last time."""
    for name, model in models.items():
        for label, last in model.reached.items():
            yield from ((name, [Kill(label, number)]) for number in sorted({1, min(3, last), last}))


def anywhere(models: Mapping[str, Model], dice: random.Random) -> Iterator[Planned]:
    """List kills without end: of ten, six inside of effects, two of which are killed again, three at random times."""
    inside = {name: [label for label in IN_DOUBT if label in model.reached] for name, model in models.items()}

    def at(name: str, labels: Sequence[str]) -> Kill:
        label = dice.choice(labels)
        return Kill(label, dice.randint(1, models[name].reached[label]))

    for number, name in enumerate(cycle(models)):
        way = number * 7 % 10
        if way < 6:
            first = at(name, inside[name])
        elif way < 9:
            first = Kill(seconds=dice.uniform(0, models[name].seconds))
        else:
            first = at(name, sorted(models[name].reached))
        again = dice.randint(1, most_nested(models[name])) if way in (0, 5, 8) else 0
        yield name, [first, *(at(name, sorted(models[name].reached)) for _ in range(again))]


def in_turn(one: Iterator[Planned], other: Iterator[Planned]) -> Iterator[Planned]:
    """Take from one and the other until one has ended."""
    for planned in one:
        yield planned
        yield next(other)


def run(folder: Path, trials: int, seed: int = 1, each: bool = False) -> Figures:
    """Make the trials.

    Args:
        each: begin with every label of every subject.
    """
    named, dice = subjects(below=True), random.Random(seed)
    with workplace() as quick:
        models = known(named, quick)
        ends = anywhere(models, dice)
        first = every(models) if each else in_turn(covering(models), ends)
        planned = islice(chain.from_iterable((first, ends)), trials)
        jobs = []
        for place, (name, kills) in enumerate(planned):
            subject = replace(named[name], store=on_a_thread) if place % 5 == 4 else named[name]
            home = (quick if place % 2 else folder) / str(place)  # in memory, and on the disk
            jobs.append(Job(subject, models[name], kills, home, name))
        report = make(jobs)
    figures = Figures(report.trials, {kind: getattr(report, kind) for kind in KINDS}, trouble=list(report.trouble))
    figures.bad["ended unkilled"] = report.missed
    if trials >= WHOLE:
        for shape in SHAPES:
            figures.reach(shape, sum(job.name.startswith(f"{shape},") for job in jobs))
        for label in sorted({label for model in models.values() for label in model.reached}):
            figures.reach(f"killed at {label}", report.labels.get(label, 0))
    figures.reach("parked", report.parked)
    figures.reach("killed while recovering", report.nested)
    figures.shown = {
        "between intent and outcome": round(report.share, 3), "effects in doubt": report.doubts,
        "killed between intent and call": report.labels.get("effect.call.before", 0), "parked": report.parked,
        "killed while recovering": report.nested, "resumed by hand": report.poisoned,
    }  # fmt: skip
    if trials >= WHOLE and report.share < LEAST_SHARE:
        figures.blame("too few inside of effects", f"{report.share:.0%} of {report.trials}")
    return figures


TRIALS = (
    Trial(
        "kills", "F1 F2 F4 F5",
        "Runs of fifteen shapes (child runs and sub-graphs among them) upon three kinds of outside systems are "
        "killed with SIGKILL; none may lose, repeat or wrongly ask about anything, or be stuck.",
        run, short={"trials": 350}, long={"trials": 10_000, "each": True},
    ),
)  # fmt: skip
