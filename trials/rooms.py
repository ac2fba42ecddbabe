"""Where the trials are, and how one is run: in a process of its own, so that it may fork and be broken."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import msgspec
from msgspec import Struct

from trials.figures import Figures, Trial

ROOT = Path(__file__).parents[1]
MUTANT_SECONDS = 180.0  # the slowest detector takes 60 on a quiet machine


class NameUnknown(LookupError):
    """A trial, mutant or tape that does not exist.

    Args:
        kind: what was asked for.
        name: by which name.
        known: the names that there are.
    """

    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        near = get_close_matches(name, known, n=3) or known
        super().__init__(f"there is no {kind} {name!r}; there is {', '.join(near)}")


class Run(Struct, frozen=True):
    """A trial that was run: what it came to, and how long it took."""

    trial: str
    figures: Figures
    seconds: float


def modules() -> Iterator[str]:
    """Name the modules of this folder that hold trials."""
    for module in iter_modules([str(Path(__file__).parent)]):
        text = (Path(__file__).parent / f"{module.name}.py").read_text()
        if "\nTRIALS" in text:
            yield module.name


def every_trial() -> dict[str, tuple[str, Trial]]:
    """Find all trials: name → module, trial."""
    return {trial.name: (name, trial) for name in modules() for trial in import_module(f"trials.{name}").TRIALS}


def a_trial(name: str, module: str = "") -> Trial:
    """Find a trial by its name, looking in one module only if that is said.

    Raises:
        NameUnknown: there is none.
    """
    if module:
        trials: tuple[Trial, ...] = import_module(f"trials.{module}").TRIALS
        return next(trial for trial in trials if trial.name == name)
    known = every_trial()
    if name not in known:
        raise NameUnknown("trial", name, sorted(known))
    return known[name][1]


def run_here(trial: Trial, options: dict[str, Any]) -> Figures:
    """Run a trial in this process, in a folder that is gone afterwards; what it raises is trouble, too."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TRIALS_FOLDER")) as folder:
        try:
            return trial.run(Path(folder), **options)
        except Exception as error:  # noqa: BLE001 -- a trial that breaks down shows nothing
            return Figures(bad={"broke down": 1}, trouble=[f"broke down: {error!r}"])


def run_apart(module: str, trial: Trial, options: dict[str, Any], mutant: str = "") -> Run:
    """Run a trial in a new process, perhaps on a mutant of the product, and return what it came to.

    On a mutant it has to end within MUTANT_SECONDS: what goes on for ever is noticed, too.
    """
    words = ["one", trial.name, "--module", module, "--options", json.dumps(options)]
    words += ["--mutant", mutant] if mutant else []
    begun = time.monotonic()
    limit = MUTANT_SECONDS if mutant else None
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "trials", *words],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=limit,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        figures = Figures(bad={"hung": 1}, trouble=[f"did not end in {limit:g} s"])
        return Run(trial.name, figures, time.monotonic() - begun)
    seconds = time.monotonic() - begun
    last = ended.stdout.strip().rpartition("\n")[2]
    try:
        figures = msgspec.json.decode(last, type=Figures)
    except msgspec.MsgspecError:
        said = (ended.stderr or ended.stdout).strip().rpartition("\n")[2]
        figures = Figures(bad={"broke down": 1}, trouble=[f"broke down: exit code {ended.returncode}: {said}"])
    return Run(trial.name, figures, seconds)
