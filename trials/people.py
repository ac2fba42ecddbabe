"""What people approve is what runs, and what they escalate is started once (S7, S16).

In `approve` something is approved, and one byte of what the approval is bound to is another when the run goes on: in
the arguments, the input, the called code, the rules, the branch, or, whatever the field, in what the engine works out.
Nothing may run, and an event has to name the field. Without a change exactly the approved bytes run, once, wherever the
process is killed between the approval and the effect. In `escalate` a question is put to a definition by processes that
are killed anywhere; the definition runs once, and its output is the answer.
"""

import asyncio
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
from msgspec import Raw

from trials.figures import Figures, Trial
from windlass import Context, Happened, Pipeline, RunFailed, Runtime, task
from windlass.core import crashpoint
from windlass.core.errors import WindlassError
from windlass.core.queries import Questions
from windlass.core.records import Command
from windlass.engine import approvals
from windlass.testing.crash_forks import Child, Say, fork
from windlass.worker.worker import Worker

FIELDS = ("run", "branch", "address", "input", "action", "arguments", "definition", "policy")
REAL = ("arguments", "input", "definition", "policy", "branch")  # changed in the world, not in what is worked out
SECONDS = 60.0
LONGEST = 70  # crashpoints that a process may reach before it is killed


@dataclass
class World:
    """What the task finds when it runs."""

    note: str = "to ann, 500 for the books"
    code: str = "return 1"
    to: str = "role:cfo"


def paying(world: World, paid: list[str]) -> Pipeline:
    """Pay, if that is approved."""
    space: dict[str, Any] = {"paid": paid}
    exec(f"async def pay(note):\n    paid.append(note)\n    {world.code}", space)

    @task(id="pays")
    async def pays(text: str, ctx: Context) -> Any:
        return await ctx.effect("pay", space["pay"], world.note, approve=world.to)

    return Pipeline("paying", [pays])


def flipped(text: str, dice: random.Random) -> str:
    """Change one byte of a text; it stays a text."""
    place = dice.randrange(len(text))
    other = dice.choice([one for one in "abcdefghijklmnopqrstuvwxyz0123456789" if one != text[place]])
    return text[:place] + other + text[place + 1 :]


@contextmanager
def worked_out(field: str, dice: random.Random) -> Iterator[None]:
    """Let the engine work one byte of a field out differently."""
    real = approvals.bound_to

    def bound_to(*given: Any) -> dict[str, str]:
        bound = real(*given)
        return {**bound, field: flipped(bound[field], dice)}

    with patch.object(approvals, "bound_to", bound_to):
        yield


async def approve(figures: Figures, url: str, place: int, dice: random.Random) -> None:
    """Approve one thing, let the run go on with another, and look."""
    field = (*FIELDS, "", "")[place % (len(FIELDS) + 2)]
    in_the_world = field in REAL and dice.random() < 0.5
    paid: list[str] = []
    world = World()
    run = f"r{place}"
    async with Runtime(url, [paying(world, paid)]) as runtime:
        await runtime.run(paying(world, paid), "input", id=run)
        (asked,) = await runtime.questions(run)
        if in_the_world and field == "branch":
            await runtime.pause(run)
    approved = dict(asked.about["bound"])
    if in_the_world and field == "arguments":
        world.note = flipped(world.note, dice)
    elif in_the_world and field == "definition":
        world.code = f"return {dice.randint(2, 9)}"
    elif in_the_world and field == "policy":
        world.to = f"role:{flipped('cfo', dice)}"
    async with Runtime(url, [paying(world, paid)]) as runtime:
        if in_the_world and field == "input":
            await runtime.store.post(edited(run, flipped("input", dice)))  # it is taken before the answer
        await runtime.answer(asked.id, "allow", by="cfo", roles=["cfo"])
        if in_the_world and field == "branch":
            await runtime.rollback(run, 1)
            await runtime.resume(run)
        if field and not in_the_world:
            with worked_out(field, dice):
                result = await going_on(runtime, run)
        else:
            result = await going_on(runtime, run)
        events = [event async for event in runtime.events(run)]
        void = [event.data["fields"] for event in events if event.type == "approval.void"]
        void += [["branch"] for event in events if event.type == "run.rolled_back"]  # with it the approval is gone
    figures.trials += 1
    figures.reach(f"{field} {'in the world' if in_the_world else 'worked out'}" if field else "nothing changed")
    if not field:
        if (paid, result) != ([world.note], "completed"):
            figures.blame("kept back", f"{run}: {paid}, {result}")
    elif paid:
        figures.blame("accepted", f"{run}: {field} of {approved[field]!r} was changed, and {paid} ran")
    elif field not in [name for names in void for name in names]:
        figures.blame("untold", f"{run}: {field} was changed, and the events say {void}")


def edited(run: str, value: str) -> Command:
    """Make the command that sets a run's input."""
    edits = {"input": Raw(msgspec.json.encode(value))}
    return Command(id=f"edit {run}", run=run, verb="edit", arguments={"edits": edits})


async def going_on(runtime: Runtime, run: str) -> str:
    """Let a run go on, and say how it stands then."""
    try:
        return (await runtime.wait(run)).status
    except RunFailed as failed:
        return str(failed)


def killed(folder: Path, at: int) -> Callable[[Say], None]:
    """Go on with an approved effect and be killed at the n-th crashpoint."""

    def work(say: Say) -> None:
        async def main() -> None:
            async with Runtime(f"sqlite:///{folder}/runs.db", [filing(folder)], timers=False) as runtime:
                await finish(runtime, [filing(folder)], "k")
                say((await runtime.get("k")).head.status.value)

        arm(at)
        asyncio.run(main())

    return work


def arm(at: int) -> None:
    """Kill this process at its n-th crashpoint; 0 is never."""
    left = [at]

    def reach(_: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    crashpoint.on_reach = reach if at else None


def bury(figures: Figures, child: Child, where: str) -> None:
    """Wait for a process that is to be killed: it may have ended well before, and in no other way."""
    code = child.end(SECONDS)
    if code == -signal.SIGKILL:
        figures.reach("killed")
    elif code != 0:
        figures.blame("stuck", f"{where}: a process ended with {code}")


async def finish(runtime: Runtime, definitions: list[Any], run: str) -> None:
    """Be a worker until a run has ended, and nothing is left to hand back."""
    worker = Worker(runtime, definitions)
    working = asyncio.create_task(worker.run())
    for _ in range(2_000):
        if (await runtime.get(run)).head.status in ("completed", "failed"):
            break
        await asyncio.sleep(0.005)
    worker.stop()
    await working


def filing(folder: Path) -> Pipeline:
    """Write a line into a file, if that is approved; a doubt is settled by looking there."""

    def seen(note: str) -> Any:
        path = folder / "paid"
        return Happened(1) if path.exists() and note in path.read_text() else None

    async def pay(note: str) -> int:
        with (folder / "paid").open("a") as file:
            file.write(f"{note}\n")
        return 1

    @task(id="files")
    async def files(note: str, ctx: Context) -> int:
        paid: int = await ctx.effect("pay", pay, note, approve="role:cfo", on_doubt=seen)
        return paid

    return Pipeline("filing", [files])


def approved_and_killed(figures: Figures, folder: Path, dice: random.Random) -> None:
    """Approve, kill who goes on, let another go on: what was approved happens, once."""
    folder.mkdir()

    def asks(_: Say) -> None:
        async def main() -> None:
            async with Runtime(f"sqlite:///{folder}/runs.db") as runtime:
                await runtime.run(filing(folder), "five hundred", id="k")
                (asked,) = await runtime.questions("k")
                await runtime.answer(asked.id, "allow", roles=["cfo"])

        asyncio.run(main())

    if fork(asks).end(SECONDS) != 0:
        figures.blame("stuck", f"{folder.name}: it could not be asked")
    bury(figures, fork(killed(folder, dice.randint(1, 60))), folder.name)
    last = fork(killed(folder, 0))
    status, code = last.hear(SECONDS), last.end(SECONDS)
    if (status, code) != ("completed", 0):
        figures.blame(
            "stuck", f"{folder.name}: the run is {status or 'not seen to its end'}, the process ended with {code}"
        )
    figures.trials += 1
    found = (folder / "paid").read_text() if (folder / "paid").exists() else ""
    if found != "five hundred\n":
        figures.blame("twice or not", f"{folder.name}: {found!r}")


def approve_all(folder: Path, approved: int, kills: int) -> Figures:
    """Approve one thing and run another."""
    figures = Figures(bad={"accepted": 0, "untold": 0, "kept back": 0, "twice or not": 0, "stuck": 0})
    ways = [*(f"{field} worked out" for field in FIELDS), *(f"{field} in the world" for field in REAL)]
    figures.reached = dict.fromkeys((*ways, "nothing changed", "killed"), 0)
    dice = random.Random(7)

    def work(tell: Say) -> None:
        async def main() -> None:
            for place in range(approved):
                await approve(figures, f"memory:{folder}/{place}", place, dice)

        asyncio.run(main())
        tell(msgspec.json.encode(figures).decode())

    child = fork(work)
    said = child.hear(SECONDS * 10)
    if child.end(SECONDS) != 0 or not said:
        figures.blame("stuck", "the approvals were not made")
        return figures
    figures = msgspec.json.decode(said, type=Figures)
    for place in range(kills):
        approved_and_killed(figures, folder / f"k{place}", dice)
    return figures


# Escalations


def asking() -> Pipeline:
    """Ask somebody."""

    @task(id="asks")
    async def asks(n: int, ctx: Context) -> int:
        return await ctx.ask("How many?", int, to="user:ann")

    return Pipeline("asking", [asks])


def counting(folder: Path) -> Pipeline:
    """Answer, and leave a line in a file."""

    async def note(run: str) -> int:
        with (folder / "counted").open("a") as file:
            file.write(f"{run}\n")
        return 7

    @task(id="counts")
    async def counts(input: dict[str, Any], ctx: Context) -> int:
        found: int = await ctx.effect("note", note, ctx.run_id, on_doubt="retry")
        return found

    return Pipeline("counting", [counts])


def escalating(folder: Path, at: int) -> Callable[[Say], None]:
    """Put the question to the definition, be a worker, and be killed at the n-th crashpoint."""

    def work(_: Say) -> None:
        async def main() -> None:
            definitions: list[Any] = [asking(), counting(folder)]
            async with Runtime(f"sqlite:///{folder}/runs.db", definitions, timers=False) as runtime:
                arm(at)
                for asked in await runtime.store.find(Questions(run="e")):
                    try:
                        await runtime.escalate(asked.id, "counting")
                    except WindlassError:
                        continue  # it was answered meanwhile
                await finish(runtime, definitions, "e")

        asyncio.run(main())

    return work


def escalate_all(folder: Path, trials: int) -> Figures:
    """Escalate in processes that are killed."""
    figures = Figures(bad={"not once": 0, "another answer": 0, "stuck": 0}, reached={"killed": 0})
    dice = random.Random(8)
    for place in range(trials):
        home = folder / f"e{place}"
        home.mkdir()

        def asks(_: Say, home: Path = home) -> None:
            async def main() -> None:
                async with Runtime(f"sqlite:///{home}/runs.db") as runtime:
                    await runtime.run(asking(), 1, id="e")

            asyncio.run(main())

        fork(asks).end(SECONDS)
        for _ in range(2):
            bury(figures, fork(escalating(home, dice.randint(1, LONGEST))), home.name)
        if fork(escalating(home, 0)).end(SECONDS) != 0:
            figures.blame("stuck", home.name)
        said = fork(ended(home))
        status, output, runs = (said.hear(SECONDS) or "||").split("|")
        said.end(SECONDS)
        figures.trials += 1
        lines = (home / "counted").read_text().splitlines() if (home / "counted").exists() else []
        if runs != "1" or len(set(lines)) != 1:
            figures.blame("not once", f"{home.name}: {runs} runs, {lines}")
        if (status, output) != ("completed", "7"):
            figures.blame("another answer", f"{home.name}: {status} {output}")
    return figures


def ended(home: Path) -> Callable[[Say], None]:
    """Say how the run stands, its output, and how often the definition was started."""

    def work(say: Say) -> None:
        async def main() -> None:
            async with Runtime(f"sqlite:///{home}/runs.db", [asking(), counting(home)], timers=False) as runtime:
                record = await runtime.get("e")
                state = await runtime.state("e")
                runs = await runtime.runs(definitions=("counting",))
                say(f"{record.head.status.value}|{state.get('asks')}|{len(runs)}")

        asyncio.run(main())

    return work


TRIALS = (
    Trial(
        "approve", "S7",
        "One thing is approved, and one byte of what is about to run is another, in any field that an approval is "
        "bound to; all are refused and told. What was approved runs once, whoever is killed before.",
        approve_all, short={"approved": 80, "kills": 3}, long={"approved": 5_000, "kills": 200},
    ),
    Trial(
        "escalate", "",
        "A question is put to a definition by processes that are killed anywhere; the definition runs once, and its "
        "output is the answer.",
        escalate_all, short={"trials": 3}, long={"trials": 300},
    ),
)  # fmt: skip
