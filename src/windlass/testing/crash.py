"""Kill your pipeline, again and again, and see that nothing is lost and nothing happens twice.

    report = prove(pipeline, input=3, trials=100)
    report.raise_if_bad()

The definition runs twice unkilled: what it comes to then, it has to come to always. After that each trial forks a
process that drives it on a store of its own and is killed with SIGKILL, at a label of the product, at a random time,
or while it recovers from the kill before; another process goes on, and the judge compares what is left. Effects are
really called: give the definition fakes. A question about an effect in doubt is answered from what its function did.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import msgspec
from msgspec import Struct, field

from windlass.cli.loader import load
from windlass.core.blueprint import Definition
from windlass.core.errors import WindlassError
from windlass.testing.crash_forks import lanes, refuse_company
from windlass.testing.crash_judge import KINDS, Evidence, Verdict
from windlass.testing.crash_trial import Answers, Model, Subject, model, trial, workplace
from windlass.testing.crash_world import Kill, Target, world
from windlass.testing.errors import LabelUnknown, NotDeterministic, ProofError, ProofFailed, ProofRefused

__all__ = ["Report", "Target", "prove", "world"]

LANES = max(2, min(4, (os.cpu_count() or 2) + 1))  # processes that make trials: one more than cores, as they wait, too
MOST_TRIES = 20  # with other times, of a run that ends before it is killed
MOST_NESTED = 3  # kills of processes that recover
MOST_TROUBLE = 20  # lines in a report
IN_DOUBT = ("effect.call.before", "world.begun", "world.done", "effect.call.after")  # labels inside of an effect
Progress = Callable[[int, int], None]


class Report(Struct, kw_only=True):
    """What the trials came to.

    Args:
        missed: trials in which the run ended before it was to be killed; they count as no trial.
        between: first kills that fell between an effect's intent and its outcome.
        lost, duplicated, rerun, asked_wrongly, stuck: trials with something of the kind; each is to be 0.
        parked: questions that were asked about effects in doubt.
        doubts: effects that the first kills left with an intent and without outcome.
        poisoned: runs that had to be resumed by hand, because their owners died three times in a row.
        nested: processes killed while they recovered.
        labels: how often the first process was killed at each label; the labels never reached are not in it.
        trouble: where something was wrong, and what.
    """

    trials: int = 0
    missed: int = 0
    between: int = 0
    lost: int = 0
    duplicated: int = 0
    rerun: int = 0
    asked_wrongly: int = 0
    stuck: int = 0
    parked: int = 0
    doubts: int = 0
    poisoned: int = 0
    nested: int = 0
    seed: int = 1
    seconds: float = 0.0
    labels: dict[str, int] = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        """The share of trials whose kill fell between an intent and its outcome."""
        return self.between / self.trials if self.trials else 0.0

    @property
    def passes(self) -> bool:
        """Whether there were trials, and nothing was wrong in any."""
        return self.trials > 0 and not any(getattr(self, kind) for kind in KINDS)

    def add(self, where: str, verdict: Verdict) -> None:
        """Count a trial."""
        self.trials += 1
        self.between += verdict.is_between
        self.parked += verdict.parked
        self.doubts += verdict.doubts
        self.poisoned += verdict.poisoned
        found = verdict.trouble()
        for kind in {kind for kind, _ in found}:
            setattr(self, kind, getattr(self, kind) + 1)
        self.trouble += [f"{where}: {kind}: {what}" for kind, what in found][: MOST_TROUBLE - len(self.trouble)]

    def line(self) -> str:
        """Say it in one line."""
        names = ("trials", *KINDS, "parked", "poisoned", "nested", "missed")
        said = ", ".join(f"{name.replace('_', ' ')} {getattr(self, name)}" for name in names)
        rate = self.trials / self.seconds if self.seconds else 0.0
        return f"{said}, killed inside an effect {self.share:.0%}, {self.seconds:.1f} s, {rate:.0f} trials/s"

    def raise_if_bad(self) -> None:
        """Raise if anything was wrong.

        Raises:
            ProofFailed: it says the first thing that was.
        """
        if not self.passes:
            first = self.trouble[0] if self.trouble else "every run ended before it was to be killed"
            raise ProofFailed(f"seed {self.seed}: {self.line()}: {first}")


def prove(
    definition: Definition | str, *, input: Any = None, trials: int = 100, seed: int = 1,
    answers: Answers | None = None, labels: Sequence[str] | None = None,
    prepare: Callable[[Path], object] | None = None, progress: Progress | None = None,
) -> Report:  # fmt: skip
    """Kill runs of a definition, and count what was lost, repeated, asked wrongly or stuck.

    Args:
        definition: it, or where it stands (`flows.py:pipeline`): then the trials are made by a fresh interpreter, which
            is the way where a loop or threads run, as in a notebook or an async test.
        trials: runs to kill.
        seed: of the kills' places and times.
        answers: to what the run asks, by prompt, or a function of the question.
        labels: kill at these only; by default at all that the run reaches, and at random times.
        prepare: called first in each process of a trial with the trial's own folder, for fakes that keep files.
        progress: called with the number of trials made, and of all.

    Raises:
        ProofRefused: a loop or other threads run here, or the run does not complete by itself.
        NotDeterministic: two runs that nobody killed came to different things.
        LabelUnknown: a label is not reached.
    """
    if isinstance(definition, str):
        if prepare is not None or not isinstance(answers, Mapping | None):
            said = f"functions cannot be handed to the interpreter that imports {definition}"
            raise ProofRefused(said, hint="pass answers as a dict, or the definition itself")
        options = {"input": input, "trials": trials, "seed": seed, "answers": answers, "labels": labels}
        return _apart(definition, options, progress)
    refuse_company()
    subject = Subject(definition, input, answers or {}, prepare)
    begun = time.monotonic()
    with workplace() as folder:
        known = settled_model(subject, folder)
        planned = plan(known, trials, random.Random(seed), labels)  # noqa: S311 -- kills have to be the same again
        jobs = [Job(subject, known, kills, folder / str(place)) for place, kills in enumerate(planned)]
        report = make(jobs, progress)
    report.seed, report.seconds = seed, time.monotonic() - begun
    return report


@dataclass(frozen=True)
class Job:
    """A trial to make.

    Args:
        name: told before the kills, where something is wrong.
    """

    subject: Subject
    known: Model
    kills: Sequence[Kill]
    folder: Path
    name: str = ""

    @property
    def where(self) -> str:
        """What is told of it."""
        return (f"{self.name}: " if self.name else "") + ", then ".join(map(str, self.kills))

    def make(self) -> dict[str, Any] | None:
        """Make it; again, with another time, as long as the run ends before it is killed."""
        kills = list(self.kills)
        for again in range(MOST_TRIES):
            folder = self.folder / str(again)
            verdict = trial(self.subject, folder, kills, self.known)
            shutil.rmtree(folder)
            if verdict is not None:
                plain: dict[str, Any] = msgspec.to_builtins(verdict)
                return plain
            if kills[0].seconds is None:  # a race went another way, and the label was reached less often
                kills[0] = Kill(kills[0].label, max(1, kills[0].number - 1 - again))
            else:
                kills[0] = Kill(seconds=random.uniform(0, self.known.seconds))  # noqa: S311 -- no secret
        return None


def make(jobs: Sequence[Job], progress: Progress | None = None) -> Report:
    """Make trials, a few at a time."""
    report = Report()
    made = 0

    def told(place: int, found: Any) -> None:
        nonlocal made
        made += 1
        kills = jobs[place].kills
        if found is None:
            report.missed += 1
        else:
            report.add(jobs[place].where, msgspec.convert(found, Verdict))
            report.nested += len(kills) - 1
            if kills[0].label:
                report.labels[kills[0].label] = report.labels.get(kills[0].label, 0) + 1
        if progress is not None:
            progress(made, len(jobs))

    lanes([partial(job.make) for job in jobs], LANES, told)
    return report


def settled_model(subject: Subject, folder: Path) -> Model:
    """Run a subject twice without a kill; what it came to both times is what it has to come to.

    Raises:
        ProofRefused: it does not complete.
        NotDeterministic: it came to different things.
    """
    first, second = model(subject, folder / "first"), model(subject, folder / "second")
    found = difference(first.evidence, second.evidence)
    if found:
        raise NotDeterministic(found)
    return first


def difference(first: Evidence, second: Evidence) -> str:
    """Say in which activation two runs differ, and how; empty if in none."""
    one, other = first.end, second.end
    theirs = Counter(map(tuple, other.completed))
    for address, written in one.completed:
        if not theirs[address, written]:
            found = next((wrote for at, wrote in other.completed if at == address), None)
            how = "was not reached" if found is None else f"wrote {found}"
            return f"{address} wrote {written} in one run, and {how} in another"
    for address, written in Counter(map(tuple, other.completed)) - Counter(map(tuple, one.completed)):
        return f"{address} wrote {written} in one run, and not in another"
    effects = [{(*effect.identity, effect.digest) for effect in end.effects} for end in (one, other)]
    for address, name, _, _ in sorted(effects[0] ^ effects[1]):
        return f"{address} made the effect {name!r} with other arguments, or not, in another run"
    made = [Counter((line.address, line.name) for line in run.ledger if line.kind == "call") for run in (first, second)]
    for address, name in sorted(set((made[0] - made[1]) + (made[1] - made[0]))):
        times = [run[address, name] for run in made]
        return f"{address} made the call {name!r} {times[0]} times in one run, and {times[1]} times in another"
    if (one.output, one.digest) != (other.output, other.digest):
        return f"the run's output was {one.output} in one run, and {other.output} in another"
    return ""


def plan(known: Model, trials: int, dice: random.Random, labels: Sequence[str] | None = None) -> Iterator[list[Kill]]:
    """List the kills of each trial.

    Of five trials two kill at the next label (its first time, its last, its third), one inside of an effect, one at a
    random time, and one kills up to three of the processes that recover, too.

    Raises:
        LabelUnknown: a label is not reached.
    """
    reached = {label: _times(known, label) for label in (known.reached if labels is None else labels)}
    if not reached:
        raise LabelUnknown("labels= names none", hint="leave it out to kill at all that the run reaches")
    inside = [label for label in IN_DOUBT if label in reached]
    each = [kill for which in (1, 0, 3) for label in sorted(reached) for kill in _at(reached, label, which)]

    def somewhere(among: Sequence[str]) -> Kill:
        label = dice.choice(among)
        return Kill(label, dice.randint(1, reached[label]))

    everywhere = sorted(reached)
    for number in range(trials):
        turn = number % 5
        if turn <= 1 or labels is not None:
            yield [each.pop(0) if each else somewhere(everywhere)]
        elif turn == 2 and inside:  # noqa: PLR2004 -- one of five
            yield [somewhere(inside)]
        elif turn == 3:  # noqa: PLR2004 -- one of five
            again = dice.randint(1, most_nested(known))
            yield [somewhere(everywhere), *(somewhere(everywhere) for _ in range(again))]
        else:
            yield [Kill(seconds=dice.uniform(0, known.seconds))]


def most_nested(known: Model) -> int:
    """Say how many processes in a row may be killed that recover.

    A child run whose owners died three times in a row has failed, and its parent with it: what a person mends there is
    another tree of runs.
    """
    return 1 if known.below else MOST_NESTED


def _at(reached: Mapping[str, int], label: str, which: int) -> list[Kill]:
    """Make a kill at a label's which-th time, or (0) at its last; nothing if it is another's already."""
    last = reached[label]
    number = which or last
    return [Kill(label, number)] if number == 1 == which or 1 < number < last or (not which and last > 1) else []


def _times(known: Model, label: str) -> int:
    if label in known.reached:
        return known.reached[label]
    near = get_close_matches(label, known.reached, 3, 0.5) or sorted(known.reached)
    raise LabelUnknown(f"the run does not reach a label {label!r}", hint=f"there are {', '.join(near)}")


def _apart(target: str, options: dict[str, Any], progress: Progress | None) -> Report:
    """Make the trials in a fresh interpreter."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", __name__, target]
    with subprocess.Popen(  # noqa: S603 -- ourselves
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as apart:
        options_of, told = cast("IO[str]", apart.stdin), cast("IO[str]", apart.stdout)
        options_of.write(json.dumps(options))
        options_of.close()
        for line in told:
            kind, said = json.loads(line)
            if kind == "report":
                return msgspec.convert(said, Report)
            if kind == "error":
                raise _error(**said)
            if progress is not None:
                progress(*said)
    raise ProofRefused(f"the interpreter that imports {target} ended {apart.returncode}", hint="see its stderr")


def _error(code: str, message: str, hint: str) -> WindlassError:
    kinds = {kind.code: kind for kind in (LabelUnknown, NotDeterministic, ProofRefused)}
    kind: type[WindlassError] = kinds.get(code, ProofError)
    return kind(message, hint=hint)


def main() -> None:
    """Make the trials that another interpreter asks for: options on stdin, a line of JSON for each thing to say."""

    def tell(kind: str, said: Any) -> None:
        sys.stdout.write(json.dumps([kind, said]) + "\n")
        sys.stdout.flush()

    try:
        (definition,) = load([sys.argv[1]])
        report = prove(definition, **json.load(sys.stdin), progress=lambda made, of: tell("progress", [made, of]))
    except WindlassError as error:
        tell("error", {"code": error.code, "message": str(error.args[0]), "hint": error.hint})
    else:
        tell("report", msgspec.to_builtins(report))


if __name__ == "__main__":
    main()
