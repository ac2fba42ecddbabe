"""What is done to a store while its disk fails: a script that is run again until it comes to its end, and its judge.

The script says a line before and after each write, to whoever survives the process. The judge compares these lines
with what the store holds afterwards.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, TypedDict

from msgspec import Struct, field

from windlass import END, Context, Graph, Pipeline, Runtime, append, task
from windlass.core.blueprint import Definition
from windlass.core.errors import StoreError, WindlassError
from windlass.core.queries import Questions, Rows, Runs
from windlass.core.states import ENDED, PAUSED, WAITING
from windlass.core.tallies import Answer
from windlass.stores.sqlite import SQLiteStore
from windlass.stores.sqlite_file import Link
from windlass.testing.crash_forks import fork
from windlass.testing.disk import Call, Disk

Tell = Callable[[str], None]
STEPS = 5
PATIENCE = 30.0  # seconds that a process may take
LONG = 9_000  # characters: a row of three pages


class Quiet(Disk):
    """Never waits for the disk: nobody cuts the power while a store is judged."""

    def meet(self, call: Call, do: Callable[..., object]) -> None:
        """Do what is asked, unless it is a sync."""
        if call.what != "sync":
            do()


class Told(SQLiteStore):
    """Says what it is about to write and what it has acknowledged; copies the WAL into the file often.

    Args:
        tell: takes a line.
        pages: of the WAL that make SQLite copy it.
    """

    def __init__(self, url: str, tell: Tell, *, pages: int = 12, **options: Any) -> None:
        super().__init__(url, **options)
        self.tell = tell
        self.pages = pages

    def _connect(self) -> Link:
        link = super()._connect()
        link.longest = self.pages
        return link

    async def create(self, record: Any, first: Any, owner: Any) -> tuple[Answer, ...]:
        """Say so before and after."""
        self.tell(f"begun {first.run} {first.head.seq}")
        answers = await super().create(record, first, owner)
        self._acknowledge(first)
        return answers

    async def commit(self, write: Any) -> tuple[Answer, ...]:
        """Say so before and after."""
        self.tell(f"begun {write.run} {write.head.seq}")
        answers = await super().commit(write)
        self._acknowledge(write)
        return answers

    async def post(self, command: Any) -> bool:
        """Say so after an answer."""
        posted = await super().post(command)
        if command.verb == "answer":
            self.tell(f"answered {command.run}")
        return posted

    def _acknowledge(self, write: Any) -> None:
        digest = write.rows[-1].digest if write.rows else "-"
        self.tell(f"kept {write.run} {write.head.seq} {digest}")


class State(TypedDict):
    """Channels of the loop."""

    n: int
    log: Annotated[list[str], append]


class Scene:
    """The script: a loop with effects, a question, a rollback, a fork.

    Args:
        tell: takes a line.
    """

    def __init__(self, tell: Tell) -> None:
        self.tell = tell
        self.loop = self._loop()
        self.asks = self._asks()
        self.definitions: list[Definition] = [self.loop, self.asks]

    def _loop(self) -> Graph:
        tell = self.tell
        graph = Graph("loop", State)

        @graph.node(writes=["n", "log"])
        async def step(n: int, ctx: Context) -> dict[str, object]:
            key = ctx.key("pay")

            async def think(number: int) -> int:
                return number

            async def pay(number: int) -> int:
                tell(f"called {key}")
                return number

            await ctx.call("think", think, n)
            await ctx.effect("pay", pay, n, on_doubt="retry")
            tell(f"paid {key}")
            return {"n": n + 1, "log": [str(n) * (100 if n % 3 else LONG)]}

        def more(n: int) -> str:
            return END if n > STEPS else "step"

        graph.start(step)
        graph.branch(step, more, [step, END])
        return graph

    def _asks(self) -> Pipeline:
        @task
        async def ask(n: int, ctx: Context) -> int:
            return n + await ctx.ask("How many?", int)

        @task
        async def big(ask: int) -> str:
            return str(ask) * 70_000  # out of line, as a blob

        return Pipeline("asks", [ask, big])

    async def play(self, runtime: Runtime) -> dict[str, Any]:
        """Go through the script from wherever the store stands, and return what it comes to."""
        await runtime.run(self.loop, {"n": 1}, id="loop")
        second = await runtime.run(self.asks, 1, id="asks")
        for question in await runtime.questions("asks"):
            await runtime.answer(question.id, 6)
        if second.status == WAITING:
            second = await runtime.wait("asks")
        if not await runtime.store.find(Runs(ids=("fork",))):
            await runtime.fork("loop", at=("step", 2), id="fork")
        third = await self._settled(runtime, "fork")
        if (await runtime.get("loop")).head.branch == 0:
            await runtime.rollback("loop", ("step", 3))
        last = await self._settled(runtime, "loop")
        ends = {"asks": second, "fork": third, "loop": last}
        return {name: short(end.output) for name, end in ends.items()}

    async def _settled(self, runtime: Runtime, run: str) -> Any:
        """Let a run go on to its end, also one that was paused or interrupted."""
        while True:
            record = await runtime.get(run)
            if record.head.status not in ENDED and run not in runtime.driving:
                await runtime.resume(run)
            result = await runtime.wait(run)
            if result.status != PAUSED:
                return result


def short(output: Any) -> Any:
    """Say what an output is in few words."""
    if isinstance(output, dict):
        return [output["n"], [(text[0], len(text)) for text in output["log"]]]
    return (output[0], len(output)) if isinstance(output, str) else output


LOG = [(str(n), 100 if n % 3 else LONG) for n in range(1, STEPS + 1)]
END_OF_LOOP = [STEPS + 1, LOG]
COMES_TO = {"asks": ("7", 70_000), "fork": END_OF_LOOP, "loop": END_OF_LOOP}


class Heard(Struct):
    """What was said of a store, put in order.

    Args:
        begun: run → the last event that a write was begun for.
        kept: run → event → digest of the row that was acknowledged.
        answered: runs whose question was answered.
        paid: keys of effects whose outcome was durable.
        wrong: what must not be said: a word for it, and the line.
    """

    begun: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    kept: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    answered: set[str] = field(default_factory=set)
    paid: set[str] = field(default_factory=set)
    unsynced: set[str] = field(default_factory=set)
    wrong: list[tuple[str, str]] = field(default_factory=list)

    def take(self, line: str) -> None:
        """Take a line; lines of a word that is not known are for others."""
        word, _, rest = line.partition(" ")
        match word, rest.split():
            case "begun", [run, seq]:
                self.begun[run] = max(self.begun[run], int(seq))
            case "kept", [run, seq, digest]:
                self.kept[run][int(seq)] = digest
                if self.unsynced:
                    self.wrong.append(("acknowledged after a failed sync", f"{line}; not reopened: {self.unsynced}"))
            case "answered", [run]:
                self.answered.add(run)
            case "paid", [key]:
                self.paid.add(key)
            case "called", [key] if key in self.paid:
                self.wrong.append(("effect called again", key))
            case "unsynced", [name]:
                self.unsynced.add(name)
            case "opened", [name]:
                self.unsynced.discard(name)
            case "wrong", [what, *_]:
                self.wrong.append((what, rest))


def heard(lines: Iterable[str]) -> Heard:
    """Put lines in order."""
    said = Heard()
    for line in lines:
        said.take(line)
    return said


def judge_apart(url: str, lines: Sequence[str]) -> list[tuple[str, str]]:
    """Open what is left, compare, play to the end and compare again, in a process of its own that waits for no disk."""

    def child(tell: Tell) -> None:
        logging.disable()
        with Quiet("quiet", is_default=True):
            for what, where in asyncio.run(_open_and_judge(url, lines)):
                tell(f"{what}: {where}".replace("\n", " "))

    judging = fork(child)
    ended = judging.end(PATIENCE)
    wrong = [] if ended == 0 else [("stuck", f"the judge ended with {ended}")]
    for line in judging.rest():
        what, _, where = line.partition(": ")
        wrong.append((what, where))
    return wrong


async def _open_and_judge(url: str, lines: Sequence[str]) -> list[tuple[str, str]]:
    said = heard(lines)
    said.unsynced.clear()
    wrong = list(said.wrong)
    store = Told(url, said.take)
    try:
        await store.open()
        wrong += await judge(store, said)
        wrong += await finish(store, said)
        wrong += await judge(store, said)
        await store.close()
    except StoreError as error:
        wrong.append(("does not open", f"{type(error).__name__}: {error}"))
    return wrong


async def judge(store: SQLiteStore, said: Heard) -> list[tuple[str, str]]:
    """Compare an open store with what was said of it: a word for each thing that is wrong, and where."""
    found = (await store.maintain("check"))["problems"]
    wrong = [("corrupt", problem) for problem in found]
    records = {record.id: record for record in await store.find(Runs())}
    for run, kept in said.kept.items():
        here = records[run].head.seq if run in records else 0
        if here < max(kept):
            wrong.append(("lost", f"{run}: event {max(kept)} was acknowledged, the head is {here}"))
            continue
        digests = {row.last: row.digest for row in await store.find(Rows(run=run))}
        wrong += [
            ("lost", f"{run}: the row of event {seq} is another")
            for seq, digest in kept.items()
            if digest not in ("-", digests.get(seq))
        ]
    for run, record in records.items():
        if record.head.seq > said.begun[run]:
            wrong.append(("invented", f"{run}: nobody wrote event {record.head.seq}"))
    for question in await store.find(Questions()):
        if question.run in said.answered:
            wrong.append(("lost", f"the answer of {question.run}"))
    return wrong


async def finish(store: SQLiteStore, said: Heard) -> list[tuple[str, str]]:
    """Play the script to its end on a disk that is well: what is wrong then."""
    before = len(said.wrong)
    scene = Scene(said.take)
    try:
        async with Runtime(store, scene.definitions) as runtime:
            end = await scene.play(runtime)
    except WindlassError as error:
        return [("stuck", f"{type(error).__name__}: {error}")]
    wrong = [] if end == COMES_TO else [("stuck", f"it came to {end}")]
    return wrong + said.wrong[before:]
