"""One trial of the crash tester: a process is killed, others go on, and what is left goes to the judge."""

import asyncio
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from windlass.core import queries
from windlass.core.blueprint import Definition
from windlass.core.errors import AlreadyAnswered, RunFailed, RunUnknown
from windlass.core.events import Event
from windlass.core.records import Question
from windlass.core.words import Result
from windlass.engine.runtime import Runtime
from windlass.stores import sqlite as _warm  # noqa: F401 -- children import nothing
from windlass.stores.base import Store, open_store
from windlass.testing.crash_forks import Say, fork
from windlass.testing.crash_judge import End, Evidence, Kept, Look, Verdict, judge, of_run, settle, together
from windlass.testing.crash_world import Kill, World, enter, listen, read
from windlass.testing.errors import ProofRefused
from windlass.worker.worker import Worker

RUN = "killed"
REFUSED = "refused: "  # how a child says why it cannot go on
MOST_BELOW = 1_000  # child runs
MOST_SECONDS = 60.0  # a process that takes longer is stuck
ABOUT_EFFECTS = ("doubt", "stand", "undo")  # how the keys of questions about effects begin
Answers: TypeAlias = Mapping[str, Any] | Callable[[Question], Any]
Drive: TypeAlias = Callable[["Going"], Awaitable[Result]]


@dataclass(frozen=True)
class Subject:
    """What is killed.

    Args:
        answers: by prompt, or by a function of the question.
        prepare: called first in each process of a trial, with the trial's own folder.
        drive: takes the run from wherever it stands to its end; by default it starts or attaches, and answers.
        store: makes the store of a process from its URL, for one with other habits; by default the Runtime does.
    """

    definition: Definition
    input: Any = None
    answers: Answers = field(default_factory=dict)
    prepare: Callable[[Path], object] | None = None
    drive: Drive | None = None
    store: Callable[[str], Store] = open_store


class Model(Struct, frozen=True):
    """What the subject comes to when nobody kills it, which labels it reaches how often, and how long it takes."""

    evidence: Evidence
    reached: dict[str, int]
    seconds: float
    below: dict[str, Evidence] = {}  # of its child runs


class Going:
    """A subject in a process that drives it."""

    def __init__(self, subject: Subject, runtime: Runtime, folder: Path) -> None:
        self.subject = subject
        self.runtime = runtime
        self.folder = folder
        self.poisoned = 0

    async def to_the_end(self) -> Result:
        """Start the run or attach to it, and answer whatever it asks."""
        await self.runtime.start(self.subject.definition, self.subject.input, id=RUN)
        while (result := await self.wait()).status == "waiting":
            for question in await self.runtime.questions(RUN):
                with suppress(AlreadyAnswered):  # another process was faster
                    await self.runtime.answer(question.id, await self.answer(question))
        return result

    async def wait(self) -> Result:
        """Wait until the run settles; one whose owners died too often in a row is resumed, as a person would."""
        while True:
            try:
                return await self.runtime.wait(RUN)
            except RunFailed as error:
                if error.failure.get("code") != "run.poison":
                    return Result(RUN, "failed")
                self.poisoned += 1
                await self.runtime.resume(RUN)

    async def answer(self, question: Question) -> Any:
        """Answer a question: one about an effect from the ledger, any other as the subject says.

        Raises:
            ProofRefused: nobody said what to answer.
        """
        kind, _, _ = question.key.partition("|")
        if kind in ABOUT_EFFECTS and question.about:
            return settle(read(self.folder / "ledger"), kind, question.about["key"])
        answers = self.subject.answers
        if callable(answers):
            return answers(question)
        if question.prompt not in answers:
            said = f"{question.address} asks {question.prompt!r}, and answers= has no such prompt"
            raise ProofRefused(said)
        return answers[question.prompt]

    async def below(self) -> list[str]:
        """Name the child runs that are waited for, and theirs."""
        found = await self.runtime.store.find(queries.Runs(under=RUN, limit=MOST_BELOW))
        return [record.id for record in found if record.origin is None or not record.origin.detached]

    async def looks(self) -> dict[str, Look]:
        """Read what is acknowledged of the run and of those below it, before anybody claims them."""
        try:
            return {run: await self.look(run) for run in [RUN, *await self.below()]}
        except RunUnknown:
            return {}

    async def look(self, run: str) -> Look:
        """Read what is acknowledged of a run.

        Raises:
            RunUnknown: there is none yet.
        """
        events = [event async for event in self.runtime.events(run)]
        lines = await self.runtime.store.find(queries.Effects(run=run))
        intents = Counter(event.data["key"] for event in events if event.type == "effect.intended")
        asked = Counter(key for _, key in await self.asked(run, events))
        doubtful = [line for line in lines if line.status == "intended" and line.on_doubt == "ask"]
        return Look(
            seq=len(events), mark=marks(events)[-1],
            completed=[event.address for event in since(events) if event.type == "activation.completed"],
            called=[(event.address, event.data["name"]) for event in events if event.type == "call.recorded"],
            paid=[line.effect_key for line in lines if line.status == "done"],
            doubtful=[line.effect_key for line in doubtful if intents[line.effect_key] > asked[line.effect_key]],
            in_doubt=sum(line.status == "intended" for line in lines),
            rollbacks=sum(event.type == "run.rolled_back" for event in events),
        )  # fmt: skip

    async def asked(self, run: str, events: Sequence[Event]) -> list[tuple[int, str]]:
        """List the questions whether an effect happened: number of the event, key of the effect."""
        found = await self.runtime.store.find(queries.Questions(run=run, statuses=None))
        about = {question.id: question.about["key"] for question in found if question.key.startswith("doubt|")}
        told = [event for event in events if event.type == "question.asked" and event.data["id"] in about]
        return [(event.seq, about[event.data["id"]]) for event in told]

    async def end(self, result: Result) -> End:
        """Read how a run stands."""
        run = result.run
        events = [event async for event in self.runtime.events(run)]
        lines = await self.runtime.store.find(queries.Effects(run=run))
        done = [event for event in events if event.type == "activation.completed"]
        steps = [event.data["digest"] for event in events if event.type == "step.committed"]
        return End(
            status=result.status,
            output=msgspec.json.encode(result.output, enc_hook=repr, order="sorted").decode(),
            digest=steps[-1] if steps else "",
            marks=marks(events),
            is_gapless=[event.seq for event in events] == [*range(1, len(events) + 1)],
            completed=[(e.address, msgspec.json.encode(e.data["writes"], order="sorted").decode()) for e in done],
            effects=[
                Kept(o.address, o.name, o.key, o.effect_key, o.status, o.on_doubt, o.arguments_digest) for o in lines
            ],
            permits=[(event.address, event.data["name"]) for event in events if is_leave(event)],
            undos=[(event.address, event.data["name"]) for event in events if event.type == "effect.undoing"],
            asked=await self.asked(run, events),
            rollbacks=sum(event.type == "run.rolled_back" for event in events),
            poisoned=self.poisoned,
            differing=(await self.runtime.replay(run)).differing,
        )  # fmt: skip


def since(events: Sequence[Event]) -> Sequence[Event]:
    """Return the events after the last rollback: what finished before it may have to run again."""
    back = [place for place, event in enumerate(events, start=1) if event.type == "run.rolled_back"]
    return events[back[-1] :] if back else events


def is_leave(event: Event) -> bool:
    """Say whether an event gives leave to call an effect again."""
    return event.type == "effect.in_doubt" and bool(event.data["settled"])


def marks(events: Sequence[Event]) -> list[str]:
    """Digest a run's events so that the digest of each covers all before it."""
    found, last = [], b""
    for event in events:
        last = sha256(last + msgspec.json.encode(event, order="sorted")).digest()[:8]
        found.append(last.hex())
    return found


def process(subject: Subject, folder: Path, turn: int, kill: Kill | None) -> Callable[[Say], None]:
    """Make a process of a trial: it looks, goes on, and says how the run ended, unless it is killed before."""

    def work(say: Say) -> None:
        here = enter(World(folder / "ledger", turn, kill))
        listen()
        if subject.prepare is not None:
            subject.prepare(folder)

        async def main() -> tuple[dict[str, End], float]:
            store = subject.store(f"sqlite:///{folder}/runs.db")
            await store.open()
            async with Runtime(store, [subject.definition]) as runtime:
                going = Going(subject, runtime, folder)
                say(msgspec.json.encode(await going.looks() if turn else {}).decode())
                begun = time.perf_counter()
                await runtime.start(subject.definition, subject.input, id=RUN)
                say("told")
                async with beside(runtime, subject.definition):
                    result = await (subject.drive(going) if subject.drive is not None else going.to_the_end())
                    took = time.perf_counter() - begun
                    ended = {RUN: await going.end(result)}
                    ended |= {run: await going.end(await runtime.wait(run)) for run in await going.below()}
            await store.close()
            return ended, took

        try:
            ended, took = asyncio.run(main())
        except ProofRefused as refused:
            say(f"{REFUSED}{refused.args[0]}")
            raise
        say(msgspec.json.encode([ended, here.reached, took]).decode())

    return work


def attempt(work: Callable[[Say], None], kill: Kill | None, ledger: Path, turn: int) -> tuple[list[str], int | None]:
    """Fork a process, kill it if it is to die at a time, and return what it said, and how it ended."""
    child = fork(work)
    if kill is None or kill.seconds is None:
        code = child.end(MOST_SECONDS)
        return child.rest(), code
    first = child.hear()
    time.sleep(kill.seconds)
    World(ledger, turn).note("killed")
    child.send(signal.SIGKILL)
    code = child.end(MOST_SECONDS)
    return [first, *child.rest()], code


@asynccontextmanager
async def beside(runtime: Runtime, definition: Definition) -> AsyncIterator[None]:
    """Let a worker go on beside with the child runs of a definition that has any: what a dead process drove."""
    if not definition.compile().companions:
        yield
        return
    worker = Worker(runtime, [definition])
    working = asyncio.ensure_future(worker.run())
    try:
        yield
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


@contextmanager
def workplace() -> Iterator[Path]:
    """Make a folder for trials, in memory where the system has such files: what a SIGKILL leaves needs no disk."""
    memory = Path("/dev/shm")  # noqa: S108 -- the folder in it is ours alone
    place = str(memory) if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="windlass-prove-", dir=place) as name:
        yield Path(name)


def model(subject: Subject, folder: Path) -> Model:
    """Let a subject run to its end, without a kill.

    Raises:
        ProofRefused: it does not complete.
    """
    folder.mkdir()
    lines = folder / "ledger"
    said, code = attempt(process(subject, folder, 0, None), None, lines, 0)
    for line in said:
        if line.startswith(REFUSED):
            raise ProofRefused(line.removeprefix(REFUSED), hint="see prove(..., answers=...)")
    if code != 0 or len(said) < 3:  # noqa: PLR2004 -- look, told, end
        how = "did not end" if code is None else f"ended with exit code {code}"
        raise ProofRefused(f"a run that nobody killed {how}", hint="its error stands on stderr")
    ends, reached, seconds = msgspec.json.decode(said[2], type=tuple[dict[str, End], dict[str, int], float])
    if ends[RUN].status != "completed":
        raise ProofRefused(f"a run that nobody killed ended {ends[RUN].status}", hint="prove a run that completes")
    found = {run: Evidence([], end, of_run(read(lines), run), was_told=run == RUN) for run, end in ends.items()}
    return Model(found.pop(RUN), reached, seconds, found)


def trial(subject: Subject, folder: Path, kills: Sequence[Kill], known: Model) -> Verdict | None:
    """Make one trial; None if the first process had ended before it was to be killed."""
    folder.mkdir(parents=True)
    ledger = folder / "ledger"
    said, code = attempt(process(subject, folder, 0, kills[0]), kills[0], ledger, 0)
    if code != -signal.SIGKILL:
        return None
    was_told = "told" in said
    looks: list[dict[str, Look]] = []
    ends: dict[str, End] = {}
    for turn, kill in enumerate([*kills[1:], None], start=1):
        said, code = attempt(process(subject, folder, turn, kill), kill, ledger, turn)
        if said and said[0]:
            looks.append(msgspec.json.decode(said[0], type=dict[str, Look]))
        if len(said) > 2 and code == 0:  # noqa: PLR2004 -- look, told, end
            ends, _, _ = msgspec.json.decode(said[2], type=tuple[dict[str, End], dict[str, int], float])
            break
    lines, verdicts = read(ledger), []
    for run, wanted in {RUN: known.evidence, **known.below}.items():
        seen, told = [look.get(run, Look()) for look in looks], was_told and run == RUN
        verdicts.append(judge(Evidence(seen, ends.get(run, End()), of_run(lines, run), told), wanted))
    if more := ends.keys() - {RUN, *known.below}:
        verdicts.append(Verdict(duplicated=[f"run {run} is one too many" for run in sorted(more)]))
    return together(verdicts)
