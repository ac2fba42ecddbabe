"""Who may not answer does not, what is no answer is none, and a flood of approvals is cut off (S9, S14, S15).

In `strangers` ids of questions are guessed, and real ones are answered by whoever they are not put to, or through
another run. In `poisoned` values that break a question's schema in one place are given to it. Nothing may change by
any of it; then the right people answer, and the runs complete. In `flood` runs ask for far too many approvals.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from trials.figures import Figures, Trial
from windlass import Ask, Context, Pipeline, Platform, Runtime, task, tool
from windlass.core.clock import random_id
from windlass.core.errors import (
    AnswerInvalid,
    NotForYou,
    PermissionDenied,
    QuestionUnknown,
    ValueNotKept,
    WindlassError,
)
from windlass.core.records import Command, Question

TO = ("user:ann", "role:cfo", "tenant:acme")
RIGHT: dict[str, dict[str, Any]] = {
    "user:ann": {"by": "ann"}, "role:cfo": {"by": "bob", "roles": ["cfo"]}, "tenant:acme": {"tenant": "acme"}
}  # fmt: skip
HEX = "0123456789abcdef"


@task(id="asks")
async def asks(n: int, ctx: Context) -> list[str]:
    """Ask three people."""
    return list(await asyncio.gather(*(ctx.ask(f"{n}, {to}?", str, to=to) for to in TO)))


asking = Pipeline("asking", [asks])


def guess(real: str, dice: random.Random) -> str:
    """Guess an id: any, or one that is nearly real."""
    place = dice.randrange(len(real))
    other = dice.choice([digit for digit in HEX if digit != real[place]])
    near = [real[:place] + other + real[place + 1 :], real[:-1], f"{real}0", f"{real} ", "%", "", f"{real}' OR 1"]
    return dice.choice(["".join(dice.choices(HEX, k=len(real))), *near])


def foreign(to: str, dice: random.Random) -> dict[str, Any]:
    """Be somebody else, who may have a name that is nearly right."""
    kind, _, name = to.partition(":")
    near = [name.upper(), f"{name} ", f"{name}2", name[:-1], "", f"definition:{name}", f"x:{name}", f"{to}x", to[1:]]
    who: dict[str, Any] = {"by": dice.choice(near), "roles": [dice.choice(near)], "tenant": dice.choice(near)}
    if kind != "user":
        who["by"] = name
    if kind == "tenant":
        who["roles"] = [name]
    return who


async def stand(runtime: Runtime) -> list[Any]:
    """Say how all runs and questions stand."""
    runs = sorted((record.id, record.head) for record in await runtime.runs(limit=1_000))
    return [runs, sorted(msgspec.json.encode(question) for question in await runtime.questions())]


async def refused(figures: Figures, what: str, work: Any, wanted: type[WindlassError] | tuple[Any, ...]) -> None:
    """See that something is refused, and as what."""
    figures.trials += 1
    try:
        await work
    except wanted:
        figures.reach(what)
    except WindlassError as error:
        figures.blame("told otherwise", f"{what}: {error!r}")
    else:
        figures.blame("let in", what)


def strangers(folder: Path, tries: int, seed: int = 1) -> Figures:
    """Try to answer what is not one's own."""
    figures = Figures(bad={"let in": 0, "told otherwise": 0, "changed": 0, "shut out": 0})
    dice = random.Random(seed)

    async def one(runtime: Runtime, asked: Question, other: str) -> None:
        way = dice.choice(("guessed", "foreign", "foreign", "other run"))
        if way == "guessed":
            await refused(figures, way, runtime.answer(guess(asked.id, dice), "yes", by="ann"), QuestionUnknown)
        elif way == "foreign":
            await refused(figures, way, runtime.answer(asked.id, "yes", **foreign(asked.terms.to, dice)), NotForYou)
        else:
            arguments = {"question": asked.id, "value": "yes"}
            command = Command(id=random_id(), run=other, verb="answer", arguments=arguments, by="ann")
            await refused(figures, way, runtime.store.post(command), QuestionUnknown)

    async def main() -> None:
        async with Runtime(f"sqlite:///{folder}/runs.db", [asking]) as runtime:
            runs = [(await runtime.run(asking, number)).run for number in range(4)]
            before, open_ = await stand(runtime), await runtime.questions()
            for _ in range(tries):
                asked = dice.choice(open_)
                await one(runtime, asked, dice.choice([run for run in runs if run != asked.run]))
            if await stand(runtime) != before:
                figures.blame("changed", "runs or questions stand otherwise")
            for asked in open_:
                await runtime.answer(asked.id, "yes", **RIGHT[asked.terms.to])
            ends = [(await runtime.wait(run)).output for run in runs]
            figures.bad["shut out"] += sum(end != ["yes"] * len(TO) for end in ends)

    asyncio.run(main())
    return figures


@dataclass(frozen=True)
class Verdict:
    """What is asked for."""

    amount: int
    kind: Literal["refund", "none"]
    notes: list[str]


GOOD = {"amount": 5, "kind": "refund", "notes": ["late"]}
Break = Callable[[random.Random], Any]


def wild(dice: random.Random, depth: int = 0) -> Any:
    """Draw a value that is no verdict, whatever else it is."""
    leaf: Any = dice.choice([None, True, -1, 10**40, 0.5, float("nan"), "", "refund", "\u202e", "a" * 300, b"x", []])
    if depth > 2 or dice.random() < 0.4:
        return leaf
    return [wild(dice, depth + 1)] if dice.random() < 0.5 else {dice.choice(["amount", "x", ""]): wild(dice, depth + 1)}


BREAKS: tuple[Break, ...] = (
    wild,
    lambda dice: dict(dice.sample([*GOOD.items()], 2)),
    lambda dice: {**GOOD, "amount": dice.choice(["5", None, 5.5, [5], {"amount": 5}, True, "all"])},
    lambda dice: {**GOOD, "kind": dice.choice(["Refund", "", None, 1, ["refund"], "refund\x00", "r\u0435fund"])},
    lambda dice: {**GOOD, "notes": dice.choice(["late", None, [1], [["late"]], [None], {"0": "late"}])},
    lambda dice: [GOOD] if dice.random() < 0.5 else msgspec.json.encode(GOOD).decode(),
)


@task(id="judges")
async def judges(n: int, ctx: Context) -> int:
    """Ask for a verdict."""
    return (await ctx.ask(f"{n}?", Verdict)).amount


judging = Pipeline("judging", [judges], types=[Verdict])


def poisoned(folder: Path, values: int, seed: int = 1) -> Figures:
    """Give what is no answer."""
    figures = Figures(bad={"let in": 0, "told otherwise": 0, "changed": 0, "shut out": 0})
    dice = random.Random(seed)

    async def main() -> None:
        async with Runtime(f"sqlite:///{folder}/runs.db", [judging]) as runtime:
            run = (await runtime.run(judging, 1)).run
            before, (asked,) = await stand(runtime), await runtime.questions()
            for number in range(values):
                place = number % len(BREAKS)
                value = BREAKS[place](dice)
                await refused(figures, f"way {place}", runtime.answer(asked.id, value), (AnswerInvalid, ValueNotKept))
                if number % 100 == 0 and await stand(runtime) != before:
                    figures.blame("changed", f"after {value!r:.100}")
            if await stand(runtime) != before:
                figures.blame("changed", "the run or its question stands otherwise")
            try:
                await runtime.answer(asked.id, GOOD)
            except WindlassError as error:
                figures.blame("shut out", repr(error))
            else:
                figures.bad["shut out"] += (await runtime.wait(run)).output != GOOD["amount"]

    asyncio.run(main())
    return figures


@tool
async def wipe(n: int) -> int:
    """Do what needs an approval."""
    return n


@task(grants=[Ask("wipe")], id="floods")
async def floods(n: int, ctx: Context) -> int:
    """Ask for many approvals at once, and count how many nobody was asked for."""

    async def one(place: int) -> int:
        try:
            await ctx.tool("wipe", n=place)
        except PermissionDenied:
            return 1
        return 0

    return sum(await asyncio.gather(*(one(place) for place in range(n))))


flooding = Pipeline("flooding", [floods], tools=[wipe])


def flood(folder: Path, requests: int, runs: int = 20) -> Figures:
    """Let runs ask for far too many approvals; no run and no approver may be asked for more than its limit."""
    figures = Figures(requests, {"too many of a run": 0, "too many of an approver": 0, "not told": 0, "lost": 0})
    most, each = 4, 50

    async def main() -> None:
        platform = Platform(approvals=most, approvals_each=each)
        async with Runtime(f"sqlite:///{folder}/runs.db", [flooding], platform=platform) as runtime:
            asked = 0
            for number in range(runs):
                run = (await runtime.run(flooding, requests // runs, f"r{number}")).run
                mine = len(await runtime.questions(run))
                denied = len([event async for event in runtime.events(run) if event.type == "approval.denied"])
                asked += mine
                figures.bad["too many of a run"] += mine > most
                figures.bad["not told"] += mine + denied != requests // runs
                figures.reach("denied", denied)
            figures.reach("asked", asked)
            figures.bad["too many of an approver"] += asked > each
            for question in await runtime.questions():
                await runtime.answer(question.id, "allow")
            done = [(await runtime.wait(f"r{number}")).output for number in range(runs)]
            figures.bad["lost"] += sum(done) + asked != requests

    asyncio.run(main())
    return figures


TRIALS = (
    Trial(
        "strangers", "S14",
        "Ids of questions are guessed, and real ones are answered by those whom they are not put to, or through "
        "another run; nobody is let in, nothing changes, and the right people are not shut out.",
        strangers, short={"tries": 2_000}, long={"tries": 100_000},
    ),
    Trial(
        "poisoned", "S15",
        "Answers that break their question's schema in one place are given to it; each is refused, the run waits as it "
        "did, and a good answer is taken after all of them.",
        poisoned, short={"values": 1_500}, long={"values": 50_000},
    ),
    Trial(
        "flood", "S9",
        "Runs ask for far more approvals than they may; no run and no approver is asked for more than the limits, and "
        "the rest is denied, and told.",
        flood, short={"requests": 1_000}, long={"requests": 10_000},
    ),
)  # fmt: skip
