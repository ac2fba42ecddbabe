"""Several people answer one question at once, from threads and processes (F41).

Runs wait with ten questions each. Processes with two threads, and one that drives the runs as well, answer all of them
with answers of their own, some of them alike; each question has to take exactly one, and the run has to see that one.
"""

import asyncio
import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trials.claims import wait_for
from trials.figures import Figures, Trial
from windlass import Context, Pipeline, Runtime, task
from windlass.core.errors import AlreadyAnswered
from windlass.core.queries import Questions
from windlass.testing.crash_forks import Say, fork

EACH = 10  # questions of a run
PROCESSES, THREADS = 3, 2
SHARED = 100  # a value that everybody may give
SECONDS = 120.0


@task
async def asking(n: int, ctx: Context) -> dict[str, int]:
    async def one(place: int) -> int:
        answer: int = await ctx.ask(f"question {place}?", int)
        return answer

    given = await asyncio.gather(*(one(place) for place in range(n)))
    return {f"question {place}?": answer for place, answer in enumerate(given)}


flow = Pipeline("asking", [asking])


def parked(folder: Path, runs: int) -> Callable[[Say], None]:
    """Make runs that wait for answers."""

    def work(_: Say) -> None:
        async def main() -> None:
            async with Runtime(f"sqlite:///{folder}/runs.db") as runtime:
                await asyncio.gather(*(runtime.run(flow, EACH, id=f"r{place}") for place in range(runs)))

        asyncio.run(main())

    return work


async def answer_all(url: str, who: int, definitions: list[Any], go: Path) -> list[tuple[str, int]]:
    """Answer every question, half of them with a value that others give, too; return the answers that were taken."""
    dice, taken = random.Random(who), []
    async with Runtime(url, definitions) as runtime:
        questions = await runtime.store.find(Questions(limit=1_000_000))
        wait_for(go)
        for question in questions:
            value = dice.choice([who, SHARED])
            try:
                await runtime.answer(question.id, value)
            except AlreadyAnswered:
                continue
            taken.append((question.id, value))
        for run in sorted({question.run for question in questions}) if definitions else ():
            await runtime.wait(run)
    return taken


def answering(folder: Path, place: int) -> Callable[[Say], None]:
    """Answer in two threads, the last process also with the definition: it drives the runs that it answers."""

    def work(say: Say) -> None:
        taken: list[tuple[str, int]] = []
        url, definitions = f"sqlite:///{folder}/runs.db", [flow] if place == PROCESSES - 1 else []

        def thread(number: int) -> None:
            with_definitions = definitions if number == 0 else []
            taken.extend(asyncio.run(answer_all(url, place * THREADS + number, with_definitions, folder / "go")))

        threads = [threading.Thread(target=thread, args=(number,)) for number in range(THREADS)]
        for one in threads:
            one.start()
        say("ready")
        for one in threads:
            one.join()
        say(json.dumps(taken))

    return work


def seen(folder: Path, runs: int) -> Callable[[Say], None]:
    """Drive what is left, and say what each run saw: question, answers that its log tells, answer in its output."""

    def work(say: Say) -> None:
        async def main() -> None:
            async with Runtime(f"sqlite:///{folder}/runs.db", [flow]) as runtime:
                found: list[Any] = []
                for place in range(runs):
                    run = f"r{place}"
                    await runtime.start(flow, EACH, id=run)
                    result = await runtime.wait(run)
                    told: dict[str, list[int]] = {}
                    prompts: dict[str, str] = {}
                    async for event in runtime.events(run):
                        if event.type == "question.asked":
                            prompts[event.data["id"]] = event.data["prompt"]
                        elif event.type == "question.answered":
                            told.setdefault(event.data["id"], []).append(event.data["value"])
                    output = result.output or {}
                    found += [(id, told.get(id, []), output.get(prompt)) for id, prompt in prompts.items()]
                say(json.dumps(found))

        asyncio.run(main())

    return work


def run(folder: Path, questions: int) -> Figures:
    """Answer every question six times."""
    figures = Figures(bad={"applied twice": 0, "another": 0, "unanswered": 0, "stuck": 0})
    runs = questions // EACH
    if fork(parked(folder, runs)).end(SECONDS) != 0:
        figures.blame("stuck", "the runs could not be made")
        return figures
    children = [fork(answering(folder, place)) for place in range(PROCESSES)]
    for child in children:
        child.hear()
    time.sleep(0.2)  # their threads open their stores
    (folder / "go").touch()
    accepted: dict[str, set[int]] = {}
    for place, child in enumerate(children):
        for name, value in json.loads(child.hear(SECONDS * 5) or "[]"):
            accepted.setdefault(name, set()).add(value)
            figures.reach(f"process {place} was {'first' if value != SHARED else 'taken'}")
        if (code := child.end(SECONDS)) != 0:
            figures.blame("stuck", f"process {place} ended {code}")
    last = fork(seen(folder, runs))
    for name, told, output in json.loads(last.hear(SECONDS * 5) or "[]"):
        figures.trials += 1
        if len(told) > 1:
            figures.blame("applied twice", f"{name}: {told}")
        elif not told:
            figures.blame("unanswered", name)
        elif {output} != {*told} or accepted.get(name) != {*told}:
            figures.blame("another", f"{name}: accepted {accepted.get(name)}, told {told}, seen {output}")
    if (code := last.end(SECONDS)) != 0:
        figures.blame("stuck", f"the last process ended {code}")
    return figures


TRIALS = (
    Trial(
        "answers", "F41 S16",
        "Six answerers in three processes answer every question, with the same and with other values; exactly one "
        "answer may reach each.",
        run, short={"questions": 500}, long={"questions": 5_000},
    ),
)  # fmt: skip
