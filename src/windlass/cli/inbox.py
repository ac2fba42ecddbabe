"""`windlass inbox list|show|answer|edit|escalate`: what runs ask people, and what people do about it."""

import asyncio
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from windlass.cli.foreground import show_until_settled
from windlass.cli.loader import load
from windlass.cli.opening import opened
from windlass.cli.options import COMMON, DRIVING, Common, Driving, Limit
from windlass.cli.outcome import after_answer, asking, where
from windlass.cli.output import Out, clock_time, cut, duration, iso, short, spell, table
from windlass.cli.steer import Edits, user
from windlass.cli.store import seconds
from windlass.cli.values import read_answer, read_pairs
from windlass.core.errors import DefinitionUnknown, InputError, QuestionUnknown, RunFailed
from windlass.core.queries import EVER, Questions, Runs
from windlass.core.records import Question, RunRecord
from windlass.core.shown import capped
from windlass.engine.escalations import BEGIN
from windlass.engine.runtime import Runtime
from windlass.engine.terms import PEOPLE, addressee

PROMPT = 100  # characters of a question in the list: of an approval, the arguments come last
Role = Annotated[tuple[str, ...], Parameter(help="A role of whoever answers; as often as needed.")]
Value = Annotated[str | None, Parameter(allow_leading_hyphen=True)]
Why = Annotated[str, Parameter(help="Why, for the record.")]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which questions are meant."""

    run: Annotated[str, Parameter(help="Only questions of this run, and of the runs below that it waits for.")] = ""
    to: Annotated[
        str,
        Parameter(help="Only those put to user:NAME, role:NAME, tenant:NAME, definition:NAME; `anybody`: to none."),
    ] = ""
    definition: Annotated[tuple[str, ...], Parameter(help="Only of runs of this definition; as often as needed.")] = ()
    tenant: Annotated[str, Parameter(help="Only of this tenant's runs.")] = ""
    older_than: Annotated[str, Parameter(help="Only those asked more than 30m, 12h, 7d ago.")] = ""
    due_within: Annotated[str, Parameter(help="Only those whose deadline is within 30m, 12h, 7d.")] = ""

    def pick(self, questions: list[Question]) -> list[Question]:
        """Return those that are meant.

        Raises:
            InputError: `--to` is no form of an address.
        """
        now = time.time()
        before = now - seconds(self.older_than, "--older-than") if self.older_than else None
        until = now + seconds(self.due_within, "--due-within") if self.due_within else None
        to = "" if self.to == "anybody" else self.to
        if not to.startswith(BEGIN):
            addressee(to, "--to")
        return [
            one for one in questions
            if (not self.to or one.terms.to == to)
            and (not self.definition or one.definition in self.definition)
            and (not self.tenant or one.tenant == self.tenant)
            and (before is None or one.asked_at < before)
            and (until is None or (one.terms.due_at is not None and one.terms.due_at <= until))
        ]  # fmt: skip


ANY = Filters()


def told(question: Question, record: RunRecord | None = None) -> dict[str, Any]:
    """Show a question as plain JSON.

    Args:
        record: of the run that asks; None if that is gone.
    """
    origin = None if record is None else record.origin
    terms = question.terms.plain()
    return {
        "id": question.id, "run": question.run, "definition": question.definition, "tenant": question.tenant,
        "root": question.run if origin is None else origin.line[0], "path": "" if origin is None else origin.path,
        "address": question.address, "prompt": question.prompt, "schema": question.schema, "about": question.about,
        "asked_at": iso(question.asked_at), "status": question.status, "to": question.terms.to,
        "due_at": None if question.terms.due_at is None else iso(question.terms.due_at),
        "otherwise": terms.get("otherwise", "reject") if question.terms.due_at is not None else None,
    }  # fmt: skip


def list_questions(*, filters: Filters = ANY, limit: Limit = 1000, common: Common = COMMON) -> int:
    """List open questions, oldest first.

    Args:
        limit: at most so many.
    """
    out = Out(as_json=common.json)

    async def go() -> tuple[list[Question], dict[str, RunRecord]]:
        async with opened(common) as runtime:
            if filters.run:
                await runtime.get(filters.run)
                asked = await runtime.questions(filters.run)
            else:
                asked = await runtime.store.find(Questions(limit=limit if filters == ANY else EVER))
            picked = filters.pick(asked)[:limit]
            return picked, await asking(runtime, picked)

    found, records = asyncio.run(go())
    for question in found:
        out.give(told(question, records.get(question.run)))
    now = time.time()
    rows = [
        (
            q.id, q.run, where(q, records), q.terms.to or "anybody", duration(now - q.asked_at),
            "" if q.terms.due_at is None else duration(max(0.0, q.terms.due_at - now)), cut(q.prompt, PROMPT),
            cut(spell(q.schema), 40),
        )
        for q in found
    ]  # fmt: skip
    heads = ("ID", "RUN", "FROM", "TO", "AGE", "DUE IN", "QUESTION", "ANSWER")
    out.lines(table(heads, rows) if rows else ("no open questions",))
    return 0


async def read(runtime: Runtime, id_: str, common: Common) -> Question:
    """Read a question.

    Raises:
        QuestionUnknown: there is none of this id.
    """
    found = await runtime.store.find(Questions(ids=(id_,), statuses=None))
    if not found:
        raise QuestionUnknown(f"no question {id_!r} in {common.url}")
    return found[0]


def show(question: str, /, *, common: Common = COMMON) -> int:
    """Show a question with all that is known of it, and the state of its run.

    Args:
        question: the question's id.
    """
    out = Out(as_json=common.json)

    async def go() -> tuple[Question, dict[str, Any], RunRecord]:
        async with opened(common) as runtime:
            asked = await read(runtime, question, common)
            return asked, await runtime.state(asked.run), await runtime.get(asked.run)

    asked, state, record = asyncio.run(go())
    out.give({**told(asked, record), "answer": asked.answer, "by": asked.by, "state": state})
    out.lines(described(asked, where(asked, {asked.run: record})))
    out.lines(["state", *(f"  {name} = {short(value)}" for name, value in state.items())])
    return 0


def described(asked: Question, place: str = "") -> list[str]:
    """Describe a question on some lines.

    Args:
        place: where it is asked, as `where` says it.
    """
    terms = asked.terms
    lines = [
        f"question  {asked.id} ({asked.status})", f"run       {asked.run}, {place or asked.address}",
        f"to        {terms.to or 'anybody'}", f"asked     {clock_time(asked.asked_at)}",
    ]  # fmt: skip
    if terms.due_at is not None:
        follows = {"reject": "it is rejected", "escalate": f"{terms.onward} is asked"}
        after = follows.get(terms.otherwise, f"{bytes(terms.value).decode()} is taken")
        lines.append(f"deadline  {clock_time(terms.due_at)}; then {after}")
    if terms.remind:
        lines.append(f"reminders {', '.join(map(clock_time, terms.remind))}")
    lines.append(f"answer    {spell(asked.schema)}")
    if asked.answered_at is not None:
        by = f", by {asked.by}" if asked.by else ""
        lines.append(f"given     {short(asked.answer, 1_000)}{by}, {clock_time(asked.answered_at)}")
    lines.append(capped(asked.prompt))
    shown = asked.about.get("shown")
    about = {name: value for name, value in asked.about.items() if name not in ("shown", "arguments", "bound", "again")}
    if shown is not None:
        lines += ["shown", *(f"  {line}" for line in str(shown).splitlines())]
    if again := asked.about.get("again"):
        lines.append(f"again     it differs in {', '.join(again['differs'])} from question {again['id']}, which showed")
        lines += [f"  {line}" for line in str(again["shown"]).splitlines()]
    return lines + ([f"about     {capped(spell(about))}"] if about else [])


def answer(
    question: str, value: Value = None, definition: str = "", /, *, by: str = "", role: Role = (), tenant: str = "",
    wait: bool = False, common: Driving = DRIVING,
) -> int:  # fmt: skip
    """Answer a question; the run goes on with a worker, or here if its definition is given.

    Args:
        question: the question's id.
        value: JSON, else text; where text is asked for it is taken as it stands. Without it a terminal is asked.
        definition: FILE.py:NAME, to go on here and show the run until it ends or waits again.
        by: who answers; else the user.
        tenant: whom they answer for.
        wait: stay while the run waits again.
    """
    out = Out(as_json=common.json)
    loaded = load([definition]) if definition else []

    async def go() -> int:
        async with opened(common, loaded) as runtime:
            asked = await read(runtime, question, common)
            text = value if value is not None else from_terminal(out, asked)
            given = read_answer(text, msgspec.json.decode(asked.schema))
            record = await runtime.get(asked.run)
            out.say(f"store {common.url}\nrun   {asked.run}")
            await runtime.answer(question, given, by=by or user(), roles=role, tenant=tenant)
            if loaded:
                return await show_until_settled(
                    runtime, asked.run, common, after=record.head.seq, wait=wait, blueprint=loaded[0].compile()
                )  # fmt: skip
            told = await after_answer(runtime, common, asked)
        before = {} if asked.status == "open" else {"duplicate": True, "by": asked.by}
        out.give({"type": "answered", "question": question, "run": asked.run, "value": given, **before})
        for line in told:
            out.end(line)
        return 0

    return asyncio.run(go())


def from_terminal(out: Out, asked: Question) -> str:
    """Show a question on the terminal and read the answer there.

    Raises:
        InputError: there is no terminal, or it was closed.
    """
    if not sys.stdin.isatty():
        raise InputError("value", "there is none, and no terminal to ask at", hint="windlass inbox answer ID VALUE")
    for line in described(asked):
        out.say(line)
    try:
        return input("answer> ")
    except EOFError:
        raise InputError("value", "the terminal was closed") from None


def edit(
    question: str, definition: str = "", /, *, with_: Edits = (), overwrite: bool = False, by: str = "", why: Why = "",
    common: Driving = DRIVING,
) -> int:  # fmt: skip
    """Correct channels of a run that waits; it goes on with them, and what it asks is asked anew if it is another.

    Args:
        question: the id of a question, or of a run.
        definition: FILE.py:NAME; else what the run was started with is imported, from the current directory.
        overwrite: set channels whole; else what is given passes through their reducers.
        by: who edits; else the user.
    """
    out = Out(as_json=common.json)
    edits = read_pairs(with_, "--with")

    async def look() -> tuple[str, str]:
        async with opened(common) as runtime:
            found = await runtime.store.find(Questions(ids=(question,), statuses=None))
            record = await runtime.get(found[0].run if found else question)
            return record.id, definition or record.source

    async def go(run: str, source: str) -> None:
        async with opened(common, load([source])) as runtime:
            out.say(f"store {common.url}\nrun   {run}")
            await runtime.edit(run, edits, by=by or user(), why=why, overwrite=overwrite)

    run, source = asyncio.run(look())
    if not source:
        hint = common.paste("inbox", "edit", question, "FILE.py:NAME")
        raise DefinitionUnknown(f"run {run} was not started from a file", hint=hint)
    asyncio.run(go(run, source))
    out.give({"type": "edited", "run": run, "channels": sorted(edits)})
    out.end(f"edited {', '.join(sorted(edits))} of {run}")
    return 0


def escalate(question: str, to: str, /, *, by: str = "", why: Why = "", common: Driving = DRIVING) -> int:
    """Put a question to somebody else, or start a definition on it: what that returns is the answer.

    Args:
        question: the question's id.
        to: user:NAME, role:NAME, tenant:NAME; FILE.py:NAME, which is driven here; or definition:NAME, for a worker.
        by: who says so; else the user.
    """
    out = Out(as_json=common.json)
    kind, colon, _ = to.partition(":")
    loaded = load([to]) if colon and kind not in (*PEOPLE, "definition") else []

    async def go() -> tuple[str, str]:
        async with opened(common, loaded) as runtime:
            asked = await read(runtime, question, common)
            out.say(f"store {common.url}\nrun   {asked.run}")
            goal = await runtime.escalate(question, loaded[0] if loaded else to, by=by or user(), why=why)
            if loaded:
                with suppress(RunFailed):
                    await runtime.wait(goal, timers=True)
                asked = await read(runtime, question, common)
            elif kind == "definition" and not await runtime.store.find(Runs(ids=(goal,))):
                goal = to
            return goal, asked.status

    goal, status = asyncio.run(go())
    out.give({"type": "escalated", "question": question, "to": goal, "status": status})
    out.end(f"escalated to {goal}; the question is {status}")
    if kind == "definition" and goal == to:
        out.say(f"a worker that knows {to.removeprefix('definition:')!r} starts it; nobody else can answer meanwhile")
        out.say(f"back to people:  {common.paste('inbox', 'escalate', question, 'role:NAME')}")
    return 0
