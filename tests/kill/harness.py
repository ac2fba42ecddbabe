"""Kill a run again and again, resume it in a fresh process, and count what was lost, repeated, parked and stuck.

    python -m tests.kill.harness --trials 1000

Every trial: a child runs a scene on SQLite and is killed, at a label or at a random time; another child looks at the
file, resumes, answers for the world what is in doubt, and ends the run; the judge compares file, ledger and output.
In every fourth random trial the second child is killed too. `--sabotage` breaks the product in a named way.
"""

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from tests.kill.forks import fork, lanes
from tests.kill.judge import End, Evidence, Look, Verdict, judge, settle
from tests.kill.sabotage import SABOTAGES
from tests.kill.scenes import SCENES, STEPS, Scene
from tests.kill.world import Kill, World, enter, read
from windlass import Runtime
from windlass.core.errors import RunUnknown
from windlass.core.events import Event
from windlass.stores import sqlite as _warm  # noqa: F401 -- children import nothing

LABELS = (  # in the order in which a step reaches them; the kills at each step go round
    "effect.call.before", "node.before", "world.begun", "call.before", "world.done", "record.before",
    "effect.call.after", "record.after", "effect.result.after", "effect.intent.before", "commit.inside", "commit.after",
)  # fmt: skip
SEVERAL = {"commit.inside": 4, "commit.after": 4}  # times that a step reaches these
Say = Callable[[str], None]


@dataclass
class Figures:
    """What the trials of a campaign came to."""

    trials: int = 0
    between: int = 0
    lost: int = 0
    repeated: int = 0
    parked: int = 0
    parked_wrongly: int = 0
    stuck: int = 0
    seconds: float = 0.0
    trouble: list[str] = field(default_factory=list)

    def add(self, name: str, verdict: Verdict) -> None:
        """Count a trial."""
        self.trials += 1
        self.between += verdict.is_between
        self.parked += verdict.parked
        for column in ("lost", "repeated", "parked_wrongly", "stuck"):
            found: list[str] = getattr(verdict, column)
            setattr(self, column, getattr(self, column) + bool(found))
            self.trouble += [f"{name}: {column}: {what}" for what in found]

    def line(self) -> str:
        """Say it in one line."""
        shown = {name: value for name, value in asdict(self).items() if name not in ("trouble", "seconds")}
        return ", ".join(f"{name} {value}" for name, value in shown.items()) + f", {self.seconds:.1f} s"


async def look(runtime: Runtime) -> Look:
    """Read what is acknowledged, before anybody claims the run."""
    try:
        events = [event async for event in runtime.events("r")]
    except RunUnknown:
        return Look()

    def of(kind: str) -> list[str]:
        return [event.address for event in events if event.type == kind]

    intents, paid = Counter(of("effect.intended")), of("effect.completed")
    asked = Counter(event.address for event in events if is_doubt(event))
    intended = [address for address, number in intents.items() if address not in paid and number > asked[address]]
    return Look(len(events), of("activation.completed"), of("call.recorded"), paid, intended)


def is_doubt(event: Event) -> bool:
    """Say whether an event is a question about an effect."""
    return event.type == "question.asked" and event.data["prompt"].startswith("Did the effect")


def first(scene: Scene, folder: Path, kill: Kill) -> Callable[[Say], None]:
    """The process that is killed."""

    def work(say: Say) -> None:
        enter(World(folder / "ledger", 0, kill))

        async def main() -> None:
            async with Runtime(f"sqlite:///{folder}/r.db") as runtime:
                say("ready")
                begun = time.perf_counter()
                await runtime.run(scene.definition, scene.input, id="r")
                say(str(time.perf_counter() - begun))

        asyncio.run(main())

    return work


def next_one(scene: Scene, folder: Path, turn: int, kill: Kill | None) -> Callable[[Say], None]:
    """A process that finds the run, resumes it and ends it, unless it is killed, too."""

    def work(say: Say) -> None:
        enter(World(folder / "ledger", turn, kill))

        async def main() -> None:
            async with Runtime(f"sqlite:///{folder}/r.db") as runtime:
                say(json.dumps(asdict(await look(runtime))))
                result = await runtime.run(scene.definition, scene.input, id="r")
                while result.status == "waiting":
                    for question in await runtime.questions("r"):
                        verdict = settle(read(folder / "ledger"), question.address)
                        await runtime.answer(question.id, verdict)
                    result = await runtime.wait("r")
                events = [event async for event in runtime.events("r")]
                end = End(
                    status=result.status,
                    output=result.output,
                    numbers=[event.seq for event in events],
                    completed=[event.address for event in events if event.type == "activation.completed"],
                    asked=[(event.seq, event.address) for event in events if is_doubt(event)],
                    differing=list((await runtime.replay("r")).differing),
                )
                say(json.dumps(asdict(end)))

        asyncio.run(main())

    return work


def attempt(work: Callable[[Say], None], kill: Kill | None, ledger: Path, turn: int) -> tuple[list[str], int | None]:
    """Fork a process, kill it if it is to die at a time, and return what it said, and how it ended."""
    child = fork(work)
    said = [child.hear()]
    if kill is not None and kill.seconds is not None:
        time.sleep(kill.seconds)
        World(ledger, turn).note("killed", address="-")
        child.send(signal.SIGKILL)
    code = child.end()
    return [*said, *child.rest()], code


def trial(scene: Scene, folder: Path, kills: Sequence[Kill]) -> Verdict | None:
    """Make one trial; None if the first process had ended before it was to be killed."""
    folder.mkdir()
    ledger = folder / "ledger"
    _, code = attempt(first(scene, folder, kills[0]), kills[0], ledger, 0)
    if code != -signal.SIGKILL:
        return None
    looks, end = [], End()
    for turn, kill in enumerate([*kills[1:], None], start=1):
        said, code = attempt(next_one(scene, folder, turn, kill), kill, ledger, turn)
        if said[0]:
            looks.append(Look(**json.loads(said[0])))
        if len(said) > 1:
            end = End(**json.loads(said[1]))
            break
    return judge(Evidence(looks, end, read(ledger)), scene.steps, scene.output)


def plan(trials: int, seconds: dict[str, float], dice: random.Random) -> Iterator[tuple[str, str, list[Kill]]]:
    """List the kills: each step of each scene at a label, and then as many as asked for at random times."""
    for shift, name in enumerate(SCENES):
        for step in range(1, STEPS + 1):
            label = LABELS[(step + 6 * shift) % len(LABELS)]
            number = step * SEVERAL.get(label, 1)
            yield f"{name}, {label} {number}", name, [Kill(label, number)]
    for number in range(trials):
        name = list(SCENES)[number % 2]
        kills = [Kill(seconds=dice.uniform(0, seconds[name])) for _ in range(2 if number % 4 == 0 else 1)]
        yield f"{name}, after {kills[0].seconds:.4f} s", name, kills


def measure(scene: Scene, folder: Path) -> float:
    """Return how long the scene takes when nobody kills it."""
    folder.mkdir()
    said, code = attempt(first(scene, folder, Kill()), None, folder / "ledger", 0)
    assert code == 0, f"the scene does not even end by itself: {code}"
    return float(said[1])


def tried(scene: Scene, folder: Path, kills: list[Kill], seconds: float) -> dict[str, Any]:
    """Make one trial; again, with another time, as long as the run ends before it is killed."""
    for again in range(20):
        verdict = trial(scene, folder / str(again), kills)
        if verdict is not None:
            return asdict(verdict)
        kills = [Kill(seconds=random.uniform(0, seconds)), *kills[1:]]
    return asdict(Verdict(stuck=["it always ended before it was killed"]))


def campaign(trials: int, most: int, seed: int, folder: Path) -> Figures:
    """Make all trials."""
    begun = time.monotonic()
    figures = Figures()
    seconds = {name: measure(scene, folder / name) for name, scene in SCENES.items()}
    planned = list(islice(plan(trials, seconds, random.Random(seed)), most))
    jobs = []
    for place, (_, name, kills) in enumerate(planned):
        (folder / str(place)).mkdir()
        jobs.append(partial(tried, SCENES[name], folder / str(place), kills, seconds[name]))
    for (title, _, _), verdict in zip(planned, lanes(jobs), strict=True):
        figures.add(title, Verdict(**verdict))
    figures.seconds = time.monotonic() - begun
    return figures


def main() -> int:
    """Read the command line, make the trials, print the figures; 1 if one is not what it has to be."""
    parser = argparse.ArgumentParser(description="kill, resume, count")
    parser.add_argument("--trials", type=int, default=40, help="kills at random times, beside those at each step")
    parser.add_argument("--most", type=int, default=sys.maxsize, help="trials in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sabotage", choices=SABOTAGES)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.sabotage:
        SABOTAGES[given.sabotage]()
    with tempfile.TemporaryDirectory() as folder:
        figures = campaign(given.trials, given.most, given.seed, Path(folder))
    sys.stdout.write((json.dumps(asdict(figures)) if given.json else figures.line()) + "\n")
    for trouble in figures.trouble[:20]:
        sys.stderr.write(trouble + "\n")
    return int(bool(figures.trouble) or figures.between < 0.4 * figures.trials)


if __name__ == "__main__":
    sys.exit(main())
