"""`windlass inbox list|answer`: what runs ask people."""

import asyncio
import time
from typing import Annotated

import msgspec
from cyclopts import Parameter

from windlass.cli.foreground import show_until_settled
from windlass.cli.loader import load
from windlass.cli.opening import opened
from windlass.cli.options import COMMON, DRIVING, Common, Driving
from windlass.cli.output import Out, cut, duration, iso, spell, table
from windlass.cli.steer import user
from windlass.cli.values import read_answer
from windlass.core.errors import QuestionUnknown
from windlass.core.queries import Questions
from windlass.core.records import Question


def list_questions(*, run: str = "", common: Common = COMMON) -> int:
    """List open questions, oldest first.

    Args:
        run: only questions of this run.
    """
    out = Out(as_json=common.json)

    async def go() -> list[Question]:
        async with opened(common) as runtime:
            if run:
                await runtime.get(run)
            return await runtime.questions(run or None)

    found = asyncio.run(go())
    for question in found:
        out.give({
            "id": question.id, "run": question.run, "address": question.address, "prompt": question.prompt,
            "schema": question.schema, "about": question.about, "asked_at": iso(question.asked_at),
        })  # fmt: skip
    rows = [
        (q.id, q.run, q.address, duration(time.time() - q.asked_at), cut(q.prompt, 60), cut(spell(q.schema), 40))
        for q in found
    ]
    out.lines(table(("ID", "RUN", "FROM", "AGE", "QUESTION", "ANSWER"), rows) if rows else ("no open questions",))
    return 0


def answer(
    question: str, value: Annotated[str, Parameter(allow_leading_hyphen=True)], definition: str = "", /, *,
    by: str = "", wait: bool = False, common: Driving = DRIVING,
) -> int:  # fmt: skip
    """Answer a question; the run goes on with a worker, or here if its definition is given.

    Args:
        question: the question's id.
        value: JSON, else text; where text is asked for it is taken as it stands.
        definition: FILE.py:NAME, to go on here and show the run until it ends or waits again.
        by: who answers; else the user.
        wait: stay while the run waits again.
    """
    out = Out(as_json=common.json)
    loaded = load([definition]) if definition else []

    async def go() -> int:
        async with opened(common, loaded) as runtime:
            found = await runtime.store.find(Questions(ids=(question,), statuses=None))
            if not found:
                raise QuestionUnknown(f"no question {question!r} in {common.url}")
            asked = found[0]
            given = read_answer(value, msgspec.json.decode(asked.schema))
            record = await runtime.get(asked.run)
            out.say(f"store {common.url}\nrun   {asked.run}")
            await runtime.answer(question, given, by=by or user())
            if loaded:
                return await show_until_settled(
                    runtime, asked.run, common, after=record.head.seq, wait=wait, blueprint=loaded[0].compile()
                )  # fmt: skip
        out.give({"type": "answered", "question": question, "run": asked.run, "value": given})
        out.end(f"answered; {asked.run} goes on with a worker, or with")
        out.end(f"  {common.paste('runs', 'resume', asked.run)}")
        return 0

    return asyncio.run(go())
