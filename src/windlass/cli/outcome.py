"""How a run stands when a command leaves it: its output, what it waits for, or what failed it; and what to do next."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from msgspec import Struct

from windlass.cli.options import Common
from windlass.cli.output import Out, clock_time, duration, short, spell
from windlass.core.blueprint import Blueprint, Place
from windlass.core.frames import visit_of
from windlass.core.owner import is_alive
from windlass.core.position import load, parse, place
from windlass.core.queries import Commands, Runs, Turns
from windlass.core.records import Question, RunRecord
from windlass.core.states import PAUSED, WAITING, Status
from windlass.core.thread import names_of, place_of
from windlass.engine import reads
from windlass.engine.begin import front
from windlass.engine.continued import next_of
from windlass.engine.inherit import base_of
from windlass.engine.outputs import output
from windlass.engine.runtime import Runtime
from windlass.policies.chain import resolve_at

OK, RUN_FAILED, STILL = 0, 1, 3
EXIT = {Status.COMPLETED: OK, Status.FAILED: RUN_FAILED, Status.CANCELLED: RUN_FAILED}  # else STILL


class Failing(Struct, frozen=True, kw_only=True):
    """What failed a run.

    Attributes:
        attempt, of: the last attempt, and how many there may be; 0 where the definition is not known.
        input: what the node was given, by parameter.
        checkpoint: the last one before the failure.
    """

    address: str
    attempt: int
    of: int
    input: dict[str, Any]
    failure: dict[str, Any]
    checkpoint: int


class Outcome(Struct, frozen=True, kw_only=True):
    """How a run stands."""

    record: RunRecord
    output: Any = None
    questions: tuple[Question, ...] = ()
    asking: dict[str, RunRecord] = {}  # the runs that ask them, by id
    signals: tuple[str, ...] = ()  # by name: those that it waits for
    posted: tuple[str, ...] = ()  # verbs that wait for whoever drives the run next
    failing: Failing | None = None
    behind: RunRecord | None = None  # the turn that it waits for
    continued: str = ""  # the last of the runs that it continued as
    next: RunRecord | None = None  # the turn behind it that can begin, and that nobody drives

    @property
    def status(self) -> Status:
        """The run's state."""
        return self.record.head.status

    @property
    def code(self) -> int:
        """The exit code of D34."""
        return EXIT.get(self.status, STILL)

    def as_object(self) -> dict[str, Any]:
        """Spell it out for programs."""
        asked = [
            {"id": q.id, "run": q.run, "address": q.address, "prompt": q.prompt, "schema": q.schema, "about": q.about}
            for q in self.questions
        ]
        return {
            "type": "result", "run": self.record.id, "status": self.status.value, "output": self.output,
            "questions": asked, "signals": self.signals, "due_at": self.record.head.due_at, "posted": self.posted,
            "behind": None if self.behind is None else self.behind.id,
            "continued": self.continued or None, "next": None if self.next is None else self.next.id,
            "failure": None if self.failing is None else msgspec.structs.asdict(self.failing),
        }  # fmt: skip


async def look_up(runtime: Runtime, run: str, blueprint: Blueprint | None = None) -> Outcome:
    """Find out how a run stands.

    Raises:
        RunUnknown: no run has this id.
    """
    record = await runtime.get(run)
    if blueprint is not None and blueprint.name != record.definition:
        blueprint = None  # that of a run above it
    match record.head.status:
        case Status.COMPLETED:
            state = await runtime.state(run)
            shown, onward = _output(record, state, blueprint), await next_of(runtime.store, record)
            return Outcome(record=record, output=shown, continued=onward, next=await _next(runtime, record))
        case Status.CANCELLED:
            return Outcome(record=record, next=await _next(runtime, record))
        case Status.FAILED:
            failing = await _failing(runtime, record, blueprint)
            return Outcome(record=record, failing=failing, next=await _next(runtime, record))
        case _:
            posted = [command.verb for command in await runtime.store.find(Commands(run=run))]
            faced = await front(runtime.store, record)
            asked = tuple(await runtime.questions(faced.id))
            behind = None if faced is record else faced
            signals = await _signals(runtime, faced.id)
            return Outcome(
                record=record, questions=asked, asking=await asking(runtime, asked), signals=signals,
                posted=tuple(posted), behind=behind,
            )  # fmt: skip


async def asking(runtime: Runtime, questions: Sequence[Question]) -> dict[str, RunRecord]:
    """Read the records of the runs that ask, by id."""
    ids = tuple({question.run for question in questions})
    return {record.id: record for record in await runtime.store.find(Runs(ids=ids, limit=max(1, len(ids))))}


def where(question: Question, records: Mapping[str, RunRecord]) -> str:
    """Say where a question is asked: of a child run with the path to it, by which it is told from its siblings."""
    record = records.get(question.run)
    return question.address if record is None or record.origin is None else f"{record.origin.path}/{question.address}"


async def _next(runtime: Runtime, record: RunRecord) -> RunRecord | None:
    """Find the turn that can begin now that a run has ended; one that somebody drives begins by itself."""
    if not record.turn:
        return None
    waiting = Turns(**names_of(record), above=place_of(record), live=True, limit=1)
    found = [one for one in await runtime.store.find(waiting) if not is_driven(one)]
    return found[0] if found else None


async def _signals(runtime: Runtime, run: str) -> tuple[str, ...]:
    position = load(await runtime.store.load(run))
    waits = (wait.name for pending in position.pending.values() for wait in pending.open_signals)
    return tuple(dict.fromkeys(waits))


def _output(record: RunRecord, state: dict[str, Any], blueprint: Blueprint | None) -> Any:
    """Pick the output: a pipeline's last tasks are seen in its structure, too."""
    if blueprint is not None:
        return output(state, blueprint)
    structure = msgspec.json.decode(record.structure)
    if structure.get("kind") != "pipeline":
        return state
    sources = {way.partition(" -> ")[0] for way in structure.get("edges", {})}
    sinks = [name for name in structure["nodes"] if name not in sources]
    return state.get(sinks[0]) if len(sinks) == 1 else {name: state.get(name) for name in sinks}


async def _failing(runtime: Runtime, record: RunRecord, blueprint: Blueprint | None) -> Failing | None:
    told = await reads.last_failure(runtime.store, record.id)
    if told is None:
        return None
    address, failure = told["address"], told.get("failure", {})
    pending = load(await runtime.store.load(record.id)).pending.get(address)
    at = None if blueprint is None else next((one for one in blueprint.tree() if one.path == place(address)), None)
    return Failing(
        address=address,
        attempt=pending.attempts if pending is not None else 0,
        of=0 if at is None else _tries(at, runtime),
        input=await _input(runtime, record, address),
        failure=failure,
        checkpoint=record.head.n,
    )


def _tries(at: Place, runtime: Runtime) -> int:
    """Say how many attempts there may be, as far as the platform is known here: a limit that it names is left out."""
    return resolve_at(at._replace(node=replace(at.node, limits=())), runtime.services.platform).max_attempts


async def _input(runtime: Runtime, record: RunRecord, address: str) -> dict[str, Any]:
    """Work out what an activation was given, from the structure: the definition need not be known."""
    path, index = address.rpartition("/")[0], parse(address)[2]
    described = {"sub": msgspec.json.decode(record.structure)}
    for name in place(address).split("/"):
        described = described.get("sub", {}).get("nodes", {}).get(name, {})
    params: dict[str, str] = described.get("params", {})
    state = await runtime.state(record.id, frame=path)
    given: dict[str, Any] = {}
    for name, said in params.items():
        kind, *sources = said.split(" ")
        if kind == "channel":
            given[name] = state.get(sources[0])
        elif kind == "upstreams":
            given[name] = {source: state.get(source) for source in sources}
        elif kind == "item" and index:
            items = state.get(sources[0])
            given[name] = items[int(index)] if isinstance(items, list) and int(index) < len(items) else None
        elif kind == "payload":
            planned = load(await runtime.store.load(record.id)).at(address).waiting.get(address)
            raw = planned.payload if planned is not None else None
            given[name] = None if raw is None else msgspec.json.decode(raw)
    return given


def tell_outcome(out: Out, common: Common, outcome: Outcome) -> int:
    """Say how a run stands and how it goes on; returns the exit code."""
    out.give(outcome.as_object())
    record = outcome.record
    match outcome.status:
        case Status.COMPLETED:
            out.line(f"{record.id} completed" + (f", and went on as {outcome.continued}" if outcome.continued else ""))
            out.line(spell(outcome.output))
        case Status.FAILED:
            for line in failing_lines(common, outcome):
                out.end(line)
        case Status.CANCELLED:
            out.end(f"{record.id} is cancelled")
        case _:
            for line in going_on_lines(common, outcome):
                out.end(line)
    if outcome.next is not None:
        out.say(f"{outcome.next.id}, turn {outcome.next.turn}, can begin: with a worker, or with")
        out.say(f"  {common.paste('runs', 'resume', outcome.next.id)}")
    return outcome.code


def is_driven(record: RunRecord) -> bool:
    """Say whether a process drives a run, as far as can be seen from here."""
    return record.owner is not None and is_alive(record.owner) is not False


def going_on_lines(common: Common, outcome: Outcome) -> list[str]:
    """Say when and how a run goes on that has not ended."""
    record = outcome.record
    source = [record.source] if record.source else []
    resume = common.paste("runs", "resume", record.id)
    if outcome.status is PAUSED:
        return [f"{record.id} is paused at checkpoint {record.head.n}; it goes on with", f"  {resume}"]
    if outcome.status is not WAITING and record.owner is not None and is_driven(record):
        watch = common.paste("runs", "watch", record.id)
        return [
            f"{record.id} is driven by pid {record.owner.pid} on {record.owner.host}; it is followed with",
            f"  {watch}",
        ]
    if outcome.behind is not None:
        said = f"{record.id} is turn {record.turn} of thread {record.thread}, and begins once run {outcome.behind.id} "
        lines = [f"{said}has ended, which is {outcome.behind.head.status}"]
        if outcome.behind.head.status is PAUSED:
            lines += ["  it goes on with", f"    {common.paste('runs', 'resume', outcome.behind.id)}"]
        return [*lines, *asked_lines(common, outcome)]
    if outcome.status is not WAITING:
        return [
            f"{record.id} is {outcome.status}, and nobody drives it; it goes on with a worker, or with",
            f"  {resume}",
        ]
    lines = [f"{record.id} waits", *asked_lines(common, outcome)]
    due_at = record.head.due_at
    if outcome.posted:
        verbs = ", ".join(outcome.posted)
        lines += [f"  for its next owner, with {verbs} to take; it goes on with a worker, or with", f"    {resume}"]
    elif due_at is not None:
        left = due_at - time.time()
        when = f"in {duration(left)}" if left > 0 else "now"
        lines += [f"  until {clock_time(due_at)} ({when}); then it goes on with a worker, or with", f"    {resume}"]
        if source:
            lines.append(f"    {common.paste('worker', *source)}")
    return lines


def asked_lines(common: Common, outcome: Outcome) -> list[str]:
    """Say which answers a run waits for, and how they are given."""
    faced = outcome.behind or outcome.record
    source = [outcome.record.source] if outcome.record.source else []
    lines = []
    for question in outcome.questions:
        lines += [
            f"  for an answer ({where(question, outcome.asking)}): {question.prompt}",
            f"    {common.paste('inbox', 'answer', question.id, example(question), *source, *whose(question))}",
        ]
        asking = outcome.asking.get(question.run)
        if asking is not None and asking.head.status is PAUSED and asking.id != faced.id:
            lines += [
                f"    {asking.id} is paused; it goes on with",
                f"      {common.paste('runs', 'resume', asking.id)}",
            ]
    for name in outcome.signals:
        lines += [
            f"  for a signal: {name}",
            f"    {common.paste('runs', 'signal', faced.id, name, '--value', 'VALUE')}",
        ]
    return lines


async def after_answer(runtime: Runtime, common: Common, asked: Question) -> list[str]:
    """Say how a run goes on whose question is answered; `asked` is the question as it stood before that."""
    said = "answered" if asked.status == "open" else f"answered before, by {asked.by or 'nobody named'}"
    record = await runtime.get(asked.run)
    if record.head.status in EXIT:
        return [f"{said}; {record.id} is {record.head.status}"]
    awaited = (*record.origin.line, record.id) if record.origin is not None else (record.id,)
    ids = awaited[awaited.index(base_of(record)) :]
    above = {one.id: one for one in await runtime.store.find(Runs(ids=ids, statuses=(PAUSED,), limit=len(ids)))}
    paused = next((one for one in ids if one in above), "")
    resume = f"  {common.paste('runs', 'resume', paused or record.id)}"
    if not paused:
        return [f"{said}; {record.id} goes on with a worker, or with", resume]
    below = "" if paused == record.id else f"below {paused}, which is "
    return [f"{said}; {record.id} is {below}paused, and goes on with", resume]


def whose(question: Question) -> list[str]:
    """Say on the command line as whom a question can be answered."""
    kind, _, name = question.terms.to.partition(":")
    option = {"user": "--by", "role": "--role", "tenant": "--tenant"}.get(kind)
    return [option, name] if option else []


def example(question: Question) -> str:
    """Make up an answer that has the form a question asks for."""
    schema = msgspec.json.decode(question.schema)
    if not isinstance(schema, dict):
        return "VALUE"
    return _example(schema)


def _example(schema: dict[str, Any]) -> str:
    if schema.get("enum"):
        return plain_text(schema["enum"][0])
    match schema.get("type"):
        case "boolean":
            return "true"
        case "integer" | "number":
            return "1"
        case "object":
            fields: dict[str, Any] = dict.fromkeys(schema.get("required", ()), "…")
            return spell(fields | ({"happened": True} if "happened" in fields else {}))
        case _:
            return "VALUE"


def plain_text(value: Any) -> str:
    """Spell a value as the command line takes it: a string bare, anything else as JSON."""
    return value if isinstance(value, str) else spell(value)


def failing_lines(common: Common, outcome: Outcome) -> list[str]:
    """Say what failed a run, where, with what input and why; and the two commands that help."""
    record, failing = outcome.record, outcome.failing
    if failing is None:
        return [f"{record.id} failed", f"  {common.paste('runs', 'resume', record.id)}"]
    where = failing.address or "the run itself"
    tries = f", attempt {failing.attempt}" if failing.attempt else ""
    tries += f" of {failing.of}" if failing.attempt and failing.of else ""
    lines = [f"{record.id} failed at {where}{tries}"]
    lines += [f"  {name} = {short(value, 100)}" for name, value in failing.input.items()]
    kept: dict[str, Any] | None = failing.failure
    begin = ""
    while kept:
        lines.append(f"  {begin}{kept.get('kind', 'Failure')}: {kept.get('message', '')}")
        lines += [f"    {frame}" for frame in kept.get("frames", ())]
        kept, begin = kept.get("cause"), "caused by "
    lines.append(f"  last checkpoint: {failing.checkpoint}")
    lines.append(f"mended, it goes on with:  {common.paste('runs', 'resume', record.id)}")
    begins_at = visit_of(failing.address).removesuffix("#1") if failing.address else str(failing.checkpoint)
    source = [record.source] if record.source else []
    fork = common.paste("runs", "fork", record.id, *source, "--from", begins_at)
    lines.append(f"to begin anew from there:  {fork}")
    return lines
