"""The trials that fork hold in small; `make prove` makes them in earnest.

They fork, so each runs in a process of its own that has neither loop nor connection nor thread.
"""

import ast
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import windlass
from trials.figures import Figures
from trials.rooms import ROOT, run_apart
from windlass.testing.crash_judge import KINDS

PACKAGE = Path(windlass.__file__).parent
SEVERAL = ("before", "inside", "after")  # of each write of a store
# No run of these shapes reaches these: chores do, and their own trials kill them there; turns of threads are killed
# there by tests/engine/test_threads_killed.py.
ELSEWHERE = {"prune.inside", "prune.after", "repair.told", "repair.inside", "repair.exchange"}
ELSEWHERE |= {"thread.queued", "thread.begin", "thread.begun"}


TWELVE = """
steps = [(f"s{n}", f"s{n + 1}") for n in range(1, 12)]
subject = Subject(layers("twelve", steps, 12, Target("bank", "neither")), 0)
with workplace() as folder:
    known = settled_model(subject, folder)
    places = [(label, n) for label in ("node.before", "effect.call.after", "effect.result.after") for n in range(1, 13)]
    report = make([Job(subject, known, [Kill(*at)], folder / f"{at}") for at in places])
print(json.dumps([report.trials, report.passes, report.trouble]))
"""
UNFENCED = """
for name in ("MOVE_HEAD", "MOVE_HEAD_AND_RELEASE"):
    sql = getattr(sqlite_jobs, name)
    assert "AND epoch = ? AND seq = ?" in sql
    setattr(sqlite_jobs, name, sql.replace("AND epoch = ? AND seq = ?", "AND ? > 0 AND ? > 0"))
with workplace() as folder:
    bad = zombies.run(folder, 12).bad
print(json.dumps([bad["accepted"], bad["changed"]]))
"""
IMPORTS = """
import json
from trials import zombies
from trials.shapes import layers
from windlass.stores import sqlite_jobs
from windlass.testing.crash import Job, make, settled_model
from windlass.testing.crash_trial import Subject, workplace
from windlass.testing.crash_world import Kill, Target
"""


def program(code: str) -> Any:
    """Run a program in a process of its own; return what it prints, as JSON."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(PACKAGE.parent), str(ROOT)))}
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTS + code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def holds(module: str, trial: str, **options: Any) -> Figures:
    """Run a trial with these options; it has to hold."""
    figures = run_apart(module, _named(module, trial), options).figures
    assert figures.passes, (figures.bad, figures.reached, figures.trouble)
    return figures


def _named(module: str, name: str) -> Any:
    return next(trial for trial in import_module(f"trials.{module}").TRIALS if trial.name == name)


def test_a_run_is_killed_at_every_label_of_the_product() -> None:
    figures = holds("kills", "kills", trials=120)
    assert figures.trials == 120
    assert figures.shown["between intent and outcome"] >= 0.4
    reached = {name.removeprefix("killed at ") for name in figures.reached if name.startswith("killed at ")}
    assert reached - {"world.begun", "world.done"} == labels() - ELSEWHERE


@pytest.mark.parametrize(
    ("module", "trial", "options"),
    [
        ("zombies", "zombies", {"trials": 24}),
        ("claims", "claims", {"runs": 1_000}),
        ("claims", "rivals", {"trials": 6}),
        ("answers", "answers", {"questions": 100}),
        ("signals", "signals", {"trials": 12}),
        ("gather", "gather", {"trials": 6}),
    ],
)
def test_a_trial_holds_in_small(module: str, trial: str, options: dict[str, int]) -> None:
    assert holds(module, trial, **options).trials > 0


def test_a_fan_out_of_a_thousand_that_is_killed_half_way_repeats_nothing_acknowledged() -> None:
    assert holds("fan_out", "fan-out", rounds=1).trials == 4


def test_a_run_of_twelve_steps_is_killed_at_each() -> None:
    assert program(TWELVE) == [36, True, []]


def test_without_its_fences_a_zombie_would_write() -> None:
    accepted, changed = program(UNFENCED)
    assert accepted
    assert changed


def test_the_figures_show_a_product_that_is_broken() -> None:
    figures = run_apart("kills", _named("kills", "kills"), {"trials": 40}, mutant="call-again").figures
    assert sum(figures.bad.get(kind, 0) for kind in KINDS)


def labels() -> set[str]:
    """Read the labels from the source: those given as they are, and those that a store makes for each write."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="crashpoint"), args=[ast.Constant(value=str(label))]):
                    found.add(label)
                case ast.Assign(targets=[ast.Name(id="label")], value=ast.Constant(value=str(label))):
                    found.update(f"{label}.{place}" for place in SEVERAL)
    return found
