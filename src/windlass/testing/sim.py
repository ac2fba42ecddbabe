"""Deterministic simulation: the real engine on simulated time, processes, store and world, searched for what breaks it.

    report = explore(definition, input, schedules=1_000)
    assert not report.violations, report

Each schedule runs the definition on several simulated workers that share one store, and draws from a seeded tape in
which order things happen and what goes wrong: writes that are refused, or applied with the answer lost, slow ones,
workers that crash or stand still for longer than their lease at any await, clocks that jump, drains. After at most six
faults nothing goes wrong any more, and the run has to come to the end that it has without a fault.

A tape that broke something is made as short and as plain as it gets, can be kept in a file, and replayed for ever:
`python -m windlass.testing.sim replay FILE`, `python -m windlass.testing.sim search SCENE --schedules N`.
"""

import argparse
import asyncio
import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from msgspec import Struct, field

from windlass.core import records as r
from windlass.core.blueprint import Definition
from windlass.core.errors import DefinitionError, DefinitionUnknown, InputError
from windlass.policies.chain import NO_PLATFORM
from windlass.policies.platform import Platform
from windlass.testing.sim_play import Outcome, Scene, Simulation, plain
from windlass.testing.sim_scenes import SCENES
from windlass.testing.sim_shrink import shrink
from windlass.testing.sim_tape import HARMLESS, TURNS, Tape, trimmed

KEPT = "name a file that a search has kept"
COLLECTED = 4  # schedules after which the garbage collector comes: they leave some 300 objects each
MOST_VIOLATIONS = 3  # that one search keeps; it ends with the last of them


class Violation(Struct, frozen=True):
    """Something that must not happen, and the schedule on which it did: what a stored tape holds.

    Args:
        what: what was broken, a sentence each.
        found: when, as a date.
    """

    scene: str
    tape: list[int]
    what: list[str]
    found: str = ""


class Report(Struct):
    """What a search came to.

    Attributes:
        reached: what was come by, and how often: a count of zero is a search that is blind to it.
    """

    schedules: int = 0
    seconds: float = 0.0  # of processor time
    faults: int = 0
    turns: int = 0
    reached: dict[str, int] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)

    def add(self, scene: str, outcome: Outcome) -> None:
        """Count one schedule."""
        self.schedules += 1
        self.turns += outcome.turns
        self.faults += outcome.faults
        for what, times in outcome.reached.items():
            self.reached[what] = self.reached.get(what, 0) + times
        if outcome.trouble:
            self.violations.append(Violation(scene, trimmed(outcome.tape), outcome.trouble))

    def merge(self, other: "Report") -> None:
        """Add what another search came to."""
        self.schedules += other.schedules
        self.seconds += other.seconds
        self.turns += other.turns
        self.faults += other.faults
        self.violations += other.violations
        for what, times in other.reached.items():
            self.reached[what] = self.reached.get(what, 0) + times


@contextmanager
def collected_between() -> Iterator[None]:
    """Let no garbage collector come by itself: `search` calls it between schedules.

    What a schedule leaves behind is in the processor's cache then, and nothing that still lives has to be looked at.
    """
    was_enabled = gc.isenabled()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.collect()  # of what is not frozen; else it comes for everything as soon as it may
        gc.unfreeze()
        if was_enabled:
            gc.enable()


@contextmanager
def unlisted() -> Iterator[None]:
    """Let asyncio keep no list of all tasks: nothing asks a simulation for it, and each task pays for it twice."""
    listed: Any = getattr(asyncio.tasks, "_all_tasks", getattr(asyncio.tasks, "_scheduled_tasks", None))
    if listed is None:  # a version of Python that keeps it in another way
        yield
        return
    listed.add = lambda _task: None  # of this one set
    try:
        yield
    finally:
        del listed.add


def search(scene: Scene, seeds: range) -> Report:
    """Go through a scene's schedules of these seeds; ends early when enough is broken."""
    report = Report()
    begun = time.process_time()
    with collected_between(), unlisted():
        for seed in seeds:
            if seed % COLLECTED == 0:
                gc.collect(1)
            report.add(scene.name, scene.play(Tape(dice=Random(f"{scene.name}{seed}"))))  # noqa: S311 -- no secret
            if len(report.violations) >= MOST_VIOLATIONS:
                break
    report.seconds = time.process_time() - begun
    return report


def explore(
    definition: Definition, input: Any = None, *, schedules: int = 1_000, seed: int = 0,
    answers: Callable[[r.Question], Any] | None = None, same_output: bool = True, platform: Platform = NO_PLATFORM,
) -> Report:  # fmt: skip
    """Simulate a definition of your own on two workers, and look for what breaks it; violations come shrunk.

    Effects and calls go through the simulation: they are refused, and their answers get lost, as ConnectionError.

    Args:
        answers: what people say to the questions that it asks, by question; by default they stay open.
        same_output: whether every schedule has to end as the one without a fault does.
        platform: what its Runtimes have declared for every run.

    Raises:
        DefinitionError: it does not end the same way twice without a fault: then nothing can be said of it.
    """
    scene = _scene_of(definition, input, answers, same_output=same_output, platform=platform)
    ends = [plain(scene.play(Tape()).runs) for _ in range(2)]
    if same_output and ends[0] != ends[1]:
        said = f"{scene.name} ended {ends[0]}, and then {ends[1]}: neither schedule had a fault"
        raise DefinitionError("sim.differs", said, hint="let it depend on its input alone, or pass same_output=False")
    report = search(scene, range(seed, seed + schedules))
    report.violations = [smallest(scene, violation) for violation in report.violations[:3]]
    return report


def _scene_of(
    definition: Definition, input: Any, answers: Callable[[r.Question], Any] | None, *, same_output: bool,
    platform: Platform,
) -> Scene:  # fmt: skip
    async def script(simulation: Simulation) -> None:
        await simulation.start(definition, input)
        await simulation.finish(answers=answers)

    name = definition.compile().name
    return Scene(name, [definition], script, None if same_output else _anything, platform=platform)


def _anything(_simulation: Simulation, _outcome: Outcome) -> list[str]:
    return []


def smallest(scene: Scene, violation: Violation) -> Violation:
    """Find the shortest and plainest tape that breaks the same thing."""
    kinds = {kind_of(what) for what in violation.what}

    def breaks(tape: Sequence[int]) -> bool:
        return any(kind_of(what) in kinds for what in scene.play(Tape(tape)).trouble)

    tape = shrink(violation.tape, breaks)
    return Violation(scene.name, tape, scene.play(Tape(tape)).trouble)


def kind_of(what: str) -> str:
    """Tell troubles apart by their words, not by their numbers and names."""
    return " ".join(word for word in what.split() if word.isalpha())


def enumerate_schedules(scene: Scene, *, faults: int = 1, disorder: int = 1, most: int | None = None) -> Report:
    """Go through all schedules of a scene with so many faults and so much disorder.

    A depth-first walk over the tape, in which every prefix is gone through once: delay-bounded scheduling (Emmi,
    Qadeer and Rakamarić, 2011), with faults counted apart.

    Args:
        disorder: choices that are not first in first out, and delays.
        most: schedules after which it stops; None goes through all.
    """
    report = Report()
    ahead = [([faults], disorder)]
    while ahead and (most is None or report.schedules < most):
        digits, left = ahead.pop()
        tape = Tape(digits)
        report.add(scene.name, scene.play(tape))
        for place in range(len(digits), len(tape.taken)):
            begun, kind = tape.taken[:place], tape.kinds[place]
            for digit in range(1, tape.arities[place]):
                costs = kind == "order" or (kind == "fault" and digit in HARMLESS)
                if costs <= left and (kind != "turn" or digit in TURNS):
                    ahead.append(([*begun, digit], left - costs))
    return report


def load(path: Path) -> Violation:
    """Read a stored tape.

    Raises:
        InputError: there is no such file, or it is no tape.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Violation)
    except OSError as error:
        raise InputError("tape", f"{path} cannot be read: {error}", hint=KEPT) from error
    except msgspec.MsgspecError as error:
        raise InputError("tape", f"{path} is no tape: {error}", hint=KEPT) from error


def replay(violation: Violation) -> Outcome:
    """Go through a stored tape again.

    Raises:
        DefinitionUnknown: there is no scene of its name.
    """
    return scene_named(violation.scene).play(Tape(violation.tape))


def scene_named(name: str) -> Scene:
    """Return a scene.

    Raises:
        DefinitionUnknown: there is none of this name.
    """
    if name not in SCENES:
        raise DefinitionUnknown(f"no scene {name!r}", hint=f"one of {', '.join(SCENES)}")
    return SCENES[name]


def main(arguments: Sequence[str] | None = None) -> int:
    """Search or replay, as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m windlass.testing.sim", description=__doc__.partition("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    again = verbs.add_parser("replay", help="go through a stored tape again")
    again.add_argument("file", type=Path)
    seek = verbs.add_parser("search", help="go through a scene's schedules")
    seek.add_argument("scene")
    seek.add_argument("--schedules", type=int, default=1_000)
    seek.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    try:
        if given.verb == "replay":
            found = replay(load(given.file)).trouble
            sys.stdout.write("".join(f"{what}\n" for what in found) or "nothing was broken\n")
            return int(bool(found))
        scene = scene_named(given.scene)
        report = search(scene, range(given.seed, given.seed + given.schedules))
    except (InputError, DefinitionUnknown) as error:
        sys.stderr.write(f"error: {error}\ncode: {error.code}\n")
        return 2
    report.violations = [smallest(scene, violation) for violation in report.violations[:1]]
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(report), indent=1).decode() + "\n")
    return int(bool(report.violations))


if __name__ == "__main__":
    sys.exit(main())
