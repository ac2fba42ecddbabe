"""Every kind of value in every place where one is kept, on every store: back exactly as it was, or refused in words.

A refusal is a typed error that names the path, before anything is written: the checkpoint before it stands. What must
not be: a value that comes back as another, an error that is not typed, half a write.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Annotated, Any, TypedDict

from hypothesis import HealthCheck, Phase, given, settings

from tests.core.values import VALUES, same
from trials.figures import Figures, Trial
from trials.value_cases import CASES, CODEC, TYPES
from windlass import (
    Context,
    Edge,
    Graph,
    Happened,
    Output,
    Pipeline,
    Recover,
    Retry,
    RunFailed,
    Runtime,
    Send,
    Stream,
    Update,
    Yields,
    append,
    task,
)
from windlass.core.errors import WindlassError
from windlass.core.queries import Blobs, Effects, Questions, Runs

REFUSALS = ("value.not_kept", "value.too_large")
PATH = re.compile(r"^[\w#\[\].…'\" -]+: ")  # `value.a[3]: `, at the beginning of a refusal
REFUSED = re.compile(r"Value(NotKept|TooLarge)\([\"'][\w#\[\].…-]+: ")
NUMBERS = count()
STUCK_SECONDS = 10.0
NOTHING_BAD = {"CHANGED": 0, "raw error": 0, "partial": 0, "stuck": 0}


class Again(Exception):
    """Fail an attempt, so that the next one reads what the first one kept."""


class Held:
    """The value under trial, and what became of it."""

    def __init__(self) -> None:
        self.value: Any = None
        self.seen: list[Any] = []
        self.calls = 0


HELD = Held()
TWICE = Retry(on=(Again, ConnectionError), max_attempts=3, initial=0)


def give() -> Any:
    """Return the value."""
    HELD.calls += 1
    return HELD.value


def see(value: Any, ctx: Context | None = None, until: int = 2) -> int:
    """Take note of a value that was read; before the last attempt, fail, so that it is read from the log."""
    if ctx is not None and ctx.attempt < until:
        raise Again
    HELD.seen.append(value)
    return 1


@task
async def first() -> int:
    return 1


@task
async def make(first: int) -> Any:
    return give()


@task
async def read(make: Any) -> int:
    return see(make)


@task
async def echo(input: Any) -> int:
    return see(input)


@task(retry=TWICE)
async def called(first: int, ctx: Context) -> int:
    async def fetch() -> Any:
        return give()

    return see(await ctx.call("fetch", fetch), ctx)


@task(retry=TWICE)
async def sent(first: int, ctx: Context) -> int:
    async def act(value: Any) -> int:
        HELD.calls += 1
        return 1

    await ctx.effect("act", act, HELD.value)
    return see(HELD.value, ctx)


@task(retry=TWICE)
async def done(first: int, ctx: Context) -> int:
    async def act() -> Any:
        return give()

    return see(await ctx.effect("act", act), ctx)


@task(retry=TWICE)
async def verified(first: int, ctx: Context) -> int:
    async def act() -> Any:
        HELD.calls += 1
        raise ConnectionError

    return see(await ctx.effect("act", act, on_doubt=lambda: Happened(HELD.value)), ctx, until=3)


@task(retry=TWICE)
async def asked(first: int, ctx: Context) -> int:
    return see(await ctx.ask("what?", Any), ctx)


@task
async def produce(first: int) -> Yields[int]:
    yield give()
    yield Output(1)


@task
async def consume(produce: Stream[Any]) -> int:
    async for value in produce:
        see(value)
    return 1


@task
async def many(first: int) -> list[Any]:
    return [give()]


@task
async def each(many: Any) -> Any:
    return many


@task
async def gather(each: list[Any]) -> int:
    return see(each[0])


@task(recover=lambda _: Recover.fallback(HELD.value))
async def failing(first: int) -> Any:
    raise ConnectionError


@task
async def after(failing: Any) -> int:
    return see(failing)


class State(TypedDict, total=False):
    """The channels of the graphs."""

    first: int
    value: Any
    values: Annotated[list[Any], append]


def graph_of(name: str, second: Callable[..., Any], third: Callable[..., Any], **options: Any) -> Graph:
    """Make a graph of three nodes: one that writes something, one that gives the value, one that reads it."""
    graph = Graph(name, State, types=TYPES)

    @graph.node(writes=["first"])
    async def begin() -> dict[str, Any]:
        return {"first": 1}

    graph.node(second, id="second", **options)
    graph.node(third, id="third")
    graph.start("begin")
    graph.edge("begin", "second")
    if "sends" not in options:
        graph.edge("second", "third")
    return graph


async def write() -> dict[str, Any]:
    return {"value": give()}


async def add() -> dict[str, Any]:
    return {"values": [give()]}


async def send() -> Update:
    return Update(sends=[Send("third", give())])


async def stop() -> None:
    HELD.calls += 1
    if HELD.calls == 1:
        raise Again


async def look(value: Any) -> None:
    see(value)


async def look_at(values: Any) -> None:
    see(values[0])


async def take(value_sent: Any) -> None:
    see(value_sent)


def pipeline(name: str, *tasks: Any, edges: tuple[Edge, ...] = ()) -> Pipeline:
    """Make a pipeline whose first task is in the log before the value comes."""
    return Pipeline(name, tasks=list(tasks), edges=edges, types=TYPES)


DEFINITIONS: dict[str, Any] = {
    "channel": graph_of("channel", write, look, writes=["value"]),
    "appended": graph_of("appended", add, look_at, writes=["values"]),
    "payload": graph_of("payload", send, take, sends=["third"]),
    "edit": graph_of("edit", stop, look),
    "input": pipeline("input", echo),
    "output": pipeline("output", first, make, read),
    "call": pipeline("call", first, called),
    "arguments": pipeline("arguments", first, sent),
    "outcome": pipeline("outcome", first, done),
    "verified": pipeline("verified", first, verified),
    "answer": pipeline("answer", first, asked),
    "item": pipeline("item", first, produce, consume, edges=(Edge("produce", "consume", stream=True),)),
    "mapped": pipeline("mapped", first, many, each, gather, edges=(Edge("many", "each", each=True),)),
    "fallback": pipeline("fallback", first, failing, after),
}


async def go(runtime: Runtime, place: str, run: str) -> None:
    """Bring the value to its place, and let it be read there."""
    definition = DEFINITIONS[place]
    if place == "edit":
        try:
            await runtime.run(definition, {}, id=run)
        except RunFailed:
            await runtime.resume(run, edits={"value": HELD.value})
        await runtime.wait(run)
        return
    await runtime.run(definition, HELD.value if place == "input" else {} if place in GRAPHS else None, id=run)
    if place == "answer":
        (question,) = await runtime.questions(run)
        await runtime.answer(question.id, HELD.value)
        await runtime.wait(run)


GRAPHS = ("channel", "appended", "payload", "edit")


async def judged(runtime: Runtime, place: str) -> str:
    """Say how the value fared: `kept`, `refused`, or what is wrong."""
    HELD.seen, HELD.calls, run = [], 0, f"{place}-{next(NUMBERS)}"
    try:
        async with asyncio.timeout(STUCK_SECONDS):
            await go(runtime, place, run)
    except TimeoutError:
        return "stuck: nothing happens any more"
    except WindlassError as error:
        failure = error.failure if isinstance(error, RunFailed) else {}
        code, said = failure.get("code") or error.code, failure.get("message") or str(error)
        if HELD.seen:
            return f"partial: seen, then {code}"
        if code not in REFUSALS:
            return f"raw error: {code}: {said:.150}"
        if not PATH.match(said):
            return f"raw error: without a path: {said:.150}"
        return await whole(runtime, place, run) or "refused"
    except Exception as error:  # noqa: BLE001 -- that is what is looked for
        return f"raw error: {type(error).__name__}: {error!s:.150}"
    if place == "verified" and [asked for asked in await runtime.questions(run) if REFUSED.search(asked.prompt)]:
        return await whole(runtime, place, run) or "refused"  # nobody knows whether it happened: a person is asked
    if not HELD.seen or not all(exact(HELD.value, value) for value in HELD.seen):
        return f"CHANGED: into {HELD.seen!r:.100}" if HELD.seen else "CHANGED: never seen"
    return await kept(runtime, place, run) or "kept"


def exact(one: Any, other: Any) -> bool:
    """Compare value, type and bytes."""
    try:
        return same(one, other) and CODEC.encode(one).data == CODEC.encode(other).data
    except (WindlassError, RecursionError):
        return False  # it could not have been kept


async def whole(runtime: Runtime, place: str, run: str) -> str:
    """Say what is wrong with a run after a refusal: it has to stand as it did before."""
    if place == "input":
        return "partial: a run was made" if await runtime.runs(ids=(run,)) else ""
    state = await runtime.state(run)
    left = {name: value for name, value in state.items() if name not in ("first", "input") and value not in ([], None)}
    if state.get("first") != 1 or (left and place != "mapped"):
        return f"partial: {state!r:.150}"
    if (await runtime.replay(run)).differing:
        return "partial: the log does not replay"
    if place == "arguments" and HELD.calls:
        return "partial: the effect was called"
    if place == "answer" and [
        asked.status for asked in await runtime.store.find(Questions(run=run, statuses=None))
    ] != ["open"]:
        return "partial: the question is not open"
    return ""


async def kept(runtime: Runtime, place: str, run: str) -> str:
    """Say what is wrong with a run that kept the value: the store has to give it back as well."""
    if (await runtime.replay(run)).differing:
        return "CHANGED: the log does not replay"
    state, value = await runtime.state(run), HELD.value
    channel = {"channel": "value", "edit": "value", "input": "input", "output": "make", "fallback": "failing"}.get(
        place
    )
    if channel and not exact(value, state[channel]):
        return f"CHANGED: in the state: {state[channel]!r:.100}"
    if place == "appended" and not exact([value], state["values"]):
        return f"CHANGED: in the state: {state['values']!r:.100}"
    if place in ("arguments", "outcome", "verified"):
        (line,) = await runtime.store.find(Effects(run=run))
        raw, due = (line.arguments, [[value], {}]) if place == "arguments" else (line.value, value)
        blobs = {blob.digest: bytes(blob.content) for blob in CODEC.encode(due).blobs}
        found = await runtime.store.find(Blobs(digests=tuple(blobs)))
        stored = {blob.digest: blob.content for blob in found}
        if not exact(due, CODEC.decode(bytes(raw), stored.__getitem__)):
            return "CHANGED: in the ledger"
    return ""


def urls(folder: Path) -> dict[str, str]:
    """Name a store of each kind."""
    return {
        "memory": "memory:",
        "sqlite": f"sqlite:///{folder / 'values.db'}",
        "sqlite in memory": "sqlite:///:memory:",
    }


def note(figures: Figures, said: str, where: str) -> None:
    """Count how a value fared."""
    figures.trials += 1
    if said in ("kept", "refused"):
        figures.reach(said)
    else:
        figures.blame(said.partition(":")[0], f"{where}: {said}")


def matrix(folder: Path, stores: list[str] | None = None, places: list[str] | None = None) -> Figures:
    """Bring every case to every place on every store."""
    figures = Figures(bad=dict(NOTHING_BAD), reached={"kept": 0, "refused": 0})
    unlike: dict[tuple[str, str], set[str]] = {}

    async def go_through(store: str, url: str) -> None:
        async with Runtime(url) as runtime:
            for place in places or DEFINITIONS:
                for name, case in CASES.items():
                    HELD.value = case()
                    said = await judged(runtime, place)
                    note(figures, said, f"{store}, {place}, {name}")
                    unlike.setdefault((place, name), set()).add(said)
            for said, where in await labels(runtime):
                note(figures, said, f"{store}, {where}")
            if store == "sqlite" and (problems := (await runtime.store.maintain("check"))["problems"]):
                figures.blame("partial", f"{store}: check: {problems!r:.200}")

    for store, url in urls(folder).items():
        if store in (stores or urls(folder)):
            asyncio.run(go_through(store, url))
    for (place, name), told in unlike.items():
        if len(told) > 1:
            figures.blame("CHANGED", f"{place}, {name}: not the same on every store: {told}")
    figures.shown = {"values": len(CASES), "places": len(places or DEFINITIONS)}
    return figures


async def labels(runtime: Runtime) -> list[tuple[str, str]]:
    """Bring every text to the places that hold labels: id, tags, tenant, thread."""
    ends = []
    texts = {name: case() for name, case in CASES.items() if isinstance(case(), str) and len(case()) < 1_000}
    for name, text in texts.items():
        everywhere: dict[str, dict[str, Any]] = {
            "id": {"id": f"label {text}"}, "tag": {"tags": {"k": text}}, "tag's key": {"tags": {text: "v"}},
            "tenant": {"tenant": text}, "thread": {"thread": text},
        }  # fmt: skip
        for place, options in everywhere.items():
            HELD.value, HELD.seen = 1, []
            given: dict[str, Any] = {"id": f"label-{next(NUMBERS)}", **options}
            try:
                await runtime.run(DEFINITIONS["input"], 1, **given)
            except WindlassError:
                is_made = bool(HELD.seen) or bool(text.isprintable() and await runtime.runs(ids=(given["id"],)))
                ends.append(("partial: made" if is_made else "refused", f"{place}, {name}"))
            except Exception as error:  # noqa: BLE001 -- that is what is looked for
                ends.append((f"raw error: {type(error).__name__}: {error!s:.100}", f"{place}, {name}"))
            else:
                (record,) = await runtime.store.find(Runs(ids=(given["id"],)))
                told = {name: getattr(record, name) for name in given}
                ends.append(("kept" if told == given else f"CHANGED: {told!r:.100}", f"{place}, {name}"))
    return ends


def drawn(folder: Path, examples: int, stores: list[str], place: str = "channel") -> Figures:
    """Let hypothesis draw values, nested at will."""
    figures = Figures(bad=dict(NOTHING_BAD), reached={"kept": 0, "refused": 0})

    def look_for(judge: Callable[[Any], Awaitable[str]], loop: asyncio.AbstractEventLoop, store: str) -> None:
        @settings(
            max_examples=examples, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(VALUES)
        def one(value: Any) -> None:
            note(figures, loop.run_until_complete(judge(value)), f"{store}, {value!r:.100}")

        one()

    for store in stores:
        with asyncio.Runner() as runner:
            runtime = Runtime(urls(folder)[store])

            async def judge(value: Any, runtime: Runtime = runtime) -> str:
                HELD.value = value
                said = await judged(runtime, place)
                HELD.value = [value, object()]  # the same value beside one that cannot be kept
                refused = await judged(runtime, place)
                return said if refused == "refused" else f"partial: beside an object it is {refused}"

            runner.run(runtime.__aenter__())
            look_for(judge, runner.get_loop(), store)
            runner.run(runtime.__aexit__(None, None, None))
    figures.reach("refused", figures.trials)
    return figures


TRIALS = (
    Trial(
        "values", "F31 F32 F33",
        "Every kind of value in every place on every store: another value back, an untyped error, half a write",
        matrix, short={"stores": ["sqlite in memory"]}, long={},
    ),
    Trial(
        "drawn values", "F32 F33", "Values that hypothesis draws, alone and beside one that cannot be kept",
        drawn, short={"examples": 300, "stores": ["memory"]}, long={"examples": 2_000, "stores": ["memory", "sqlite"]},
    ),
)  # fmt: skip
