"""Fifty registered secrets go through every door of a run that is killed three times; then everything is searched.

Each goes in as it is, in JSON, as Python shows it, in base64 at each alignment, in links and in hexadecimal. What is
searched is what is left: the database with its log and anchor, a back-up, what was logged, and what every command says,
in a process that knows none of the secrets, and in one that knows all. Two kinds are counted apart, because nothing is
promised of them: values that nobody registered, and values that are stored in two pieces.
"""

import asyncio
import contextlib
import json
import logging
import os
import random
import shutil
import signal
import string
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from trials.figures import Figures, Trial
from windlass import (
    Allow,
    Context,
    Edge,
    Happened,
    ModelAnswer,
    ModelRequest,
    Output,
    Pipeline,
    RunFailed,
    Runtime,
    Secret,
    SecretFilter,
    Stream,
    Yields,
    model,
    task,
    tool,
)
from windlass.cli import app
from windlass.core.errors import SecretInName
from windlass.core.secret import MASKS
from windlass.testing.crash_forks import Say, fork

CANARIES = 50
RUN, SECONDS = "canaries", 60.0
ODD = ('"', "\\", " ", "/", "+", "%", "ß", "\n", "'", "$")  # a fifth of the canaries have one of these in them
DOORS = {
    "channels.input", "call", "arguments", "effect", "question", "answer", "failure", "writes.first", "writes.second",
}  # fmt: skip
PART = 4  # of so many spellings a canary goes in as one
PLACE: dict[str, Path] = {}  # of this process


@cache
def canaries() -> list[str]:
    """Make the values, always the same."""
    dice = random.Random(53)
    letters = string.ascii_letters + string.digits + "-_"
    made = ["".join(dice.choices(letters, k=dice.randint(12, 44))) for _ in range(CANARIES)]
    return [f"{value[:6]}{ODD[place // 5]}{value[6:]}" if place % 5 == 0 else value for place, value in enumerate(made)]


def spellings(value: str) -> dict[str, str]:
    """Spell a value; written anew here, not as the product does it."""
    content = value.encode()
    return {
        "raw": value,
        "json": json.dumps({"key": value}),
        "json in json": json.dumps(json.dumps([value], ensure_ascii=False)),
        "repr": repr({"key": value}),
        "base64": b64encode(content).decode(),
        "base64 after one": b64encode(b":" + content).decode(),
        "base64 after two": b64encode(b"u:" + content + b"!").decode(),
        "base64 for links": urlsafe_b64encode(content).decode(),
        "link": quote(value, safe=""),
        "link in part": quote(value),
        "form": quote_plus(value),
        "link in full": "".join(f"%{byte:02X}" for byte in content),
        "link in full, small": "".join(f"%{byte:02x}" for byte in content),
        "hex": content.hex(),
    }


def traces(value: str) -> list[bytes]:
    """Make what must not be found: the middle of each spelling, which stands there whatever is around it."""
    found = [value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]]
    found += [quote(value, safe=""), quote(value), quote_plus(value), value.encode().hex()]
    found += ["".join(f"%{byte:02{case}}" for byte in value.encode()) for case in "xX"]
    for before in (b"", b":", b"u:"):
        for encode in (b64encode, urlsafe_b64encode):
            found.append(encode(before + value.encode()).decode()[4:-4])
    return [one.encode() for one in dict.fromkeys(found)]


@cache
def load() -> dict[str, str]:
    """Return every canary, each in some of the spellings: each spelling in many of them."""
    some = ((f"{place} {how}", text, place + 3 * number) for place, one in enumerate(canaries())
            for number, (how, text) in enumerate(spellings(one).items()))  # fmt: skip
    return {name: text for name, text, turn in some if turn % PART == 0}


def register() -> list[Secret]:
    """Let this process know the canaries, as a call that reveals them does."""
    made = [Secret(f"canary-{place}", resolve=lambda one=one: one) for place, one in enumerate(canaries())]  # type: ignore[misc]
    for secret in made:
        secret.reveal()
    return made


def die(where: str) -> None:
    """Be killed here, the first time that anybody comes by."""
    mark = PLACE["folder"] / f"killed-{where}"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


async def echo(given: Any) -> Any:
    """Be what is called."""
    return given


async def send(given: dict[str, str], key: Secret) -> dict[str, str]:
    """Be an effect that is done, and then the process is gone."""
    die("effect")
    return {**given, "key": key.reveal()}


@tool
async def look_up(given: dict[str, str]) -> dict[str, str]:
    """Be a tool."""
    return given


@model(name="parrot")
async def parrot(request: ModelRequest) -> ModelAnswer:
    """Be a model that says what it is told."""
    return ModelAnswer(text=request.messages[-1].content)


async def done(*_: Any) -> Happened:
    """Say what came of an effect in doubt."""
    return Happened(load())


@task
async def first(given: dict[str, str], ctx: Context) -> dict[str, Any]:
    """Push everything through every call."""
    everything = load()
    for name in canaries():
        with contextlib.suppress(SecretInName):
            await ctx.call(name, echo, 1)
            PLACE["folder"].joinpath("named").touch()
    await ctx.call("echo", echo, everything)
    ctx.emit(everything)
    await asyncio.sleep(0.3)  # by now the item is in the store
    die("item")
    await ctx.tool("look_up", given=everything)
    await ctx.model(json.dumps(everything, ensure_ascii=False))
    await ctx.effect("send", send, everything, Secret("canary-0", value=canaries()[0]), on_doubt=done)
    answer = await ctx.ask("\n".join(everything.values()), dict[str, str])
    return {"given": given, "answer": answer, "own": everything, "bytes": "\n".join(everything.values()).encode()}


@task
async def second(first: dict[str, Any]) -> Yields[str]:
    """Yield them all."""
    for text in load().values():
        yield text
    die("stream")
    yield Output(str(first) + " ".join(load().values()))


@task
async def third(second: Stream[str]) -> int:
    """Take them in."""
    return len([text async for text in second])


@task
async def fails(third: int) -> int:
    """Fail with all of them in the message, in that of the cause, and on the way."""
    try:
        DOORS.remove(" ".join(canaries()))
    except KeyError as error:
        raise ValueError(f"{third}: {' '.join(load().values())}") from error
    return third


UNREGISTERED = "nobody-ever-said-that-this-is-one"


@task
async def pieces(given: int) -> dict[str, Any]:
    """Keep what nothing is promised of."""
    return {"unregistered": UNREGISTERED, "pieces": [canaries()[1][:7], canaries()[1][7:]]}


@task
async def shout(given: str) -> str:
    """Fail with what was given."""
    raise ValueError(f"no answer for {given}: {' '.join(load().values())}")


doors = Pipeline(
    "doors", [first, second, third, fails], edges=[Edge("second", "third", stream=True)], tools=[look_up],
    models=[parrot], grants=[Allow("look_up")],
)  # fmt: skip
apart = Pipeline("apart", [pieces])
shouts = Pipeline("shouts", [shout])


def begin(folder: Path) -> Callable[[Say], None]:
    """Start the run; the process does not come to its end."""

    def work(_: Say) -> None:
        ready(folder)
        options: dict[str, Any] = {"tags": {"all": " ".join(load().values())}, "thread": canaries()[3]}
        asyncio.run(going(folder, lambda runtime: runtime.run(doors, load(), id=RUN, **options)))

    return work


def go_on(folder: Path) -> Callable[[Say], None]:
    """Resume the run, answer what it asks, and do with it whatever can be done."""

    def work(say: Say) -> None:
        ready(folder)
        asyncio.run(going(folder, steered))
        say("done")

    return work


def ready(folder: Path) -> None:
    """Make this process one that knows the canaries, and whose standard error and log are kept."""
    PLACE["folder"] = folder
    register()
    handler = logging.FileHandler(folder / "program.log")
    handler.addFilter(SecretFilter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("program").info("it begins with %s", load())


async def going(folder: Path, what: Callable[[Runtime], Any]) -> None:
    """Do something with a runtime."""
    async with Runtime(f"sqlite:///{folder}/runs.db", [doors, apart]) as runtime:
        await what(runtime)


async def steered(runtime: Runtime) -> None:
    """Go through the rest of the run's life."""
    everything = load()
    if not (await runtime.get(RUN)).head.branch:
        await runtime.resume(RUN)
        try:
            while (result := await runtime.wait(RUN)).waiting:
                await runtime.answer(result.waiting[0], everything, by=canaries()[2])
        except RunFailed:
            logging.getLogger("program").exception("it failed with %s", canaries()[1])
        for letter in await runtime.dead_letters():
            await runtime.drop(letter.id, by="trial", note=" ".join(everything.values()))
        await runtime.rollback(RUN, 1, by=canaries()[4])
    await runtime.resume(RUN, edits={"input": everything})
    await runtime.wait(RUN)
    for name in canaries():
        with contextlib.suppress(SecretInName):
            await runtime.start(apart, 1, id=name)
            PLACE["folder"].joinpath("named").touch()
    await runtime.run(apart, 1, id="apart")


def shown(folder: Path, *, knows: bool) -> Callable[[Say], None]:
    """Keep what every command says."""

    def work(_: Say) -> None:
        if knows:
            register()
        store = ["--store", f"sqlite:///{folder}/runs.db"]
        words = [
            ["runs", "list"], ["runs", "show", RUN], ["runs", "events", RUN], ["effects", "list"],
            ["effects", "show", RUN], ["inbox", "list"], ["dlq", "list"], ["audit", "show", RUN],
            ["runs", "diff", RUN, "1", "2"], ["runs", "replay", RUN], ["budget", "show"], ["store", "check"],
        ]  # fmt: skip
        if knows:
            words = [["run", "trials.canaries:shouts", "--input", json.dumps(canaries()[0])], ["dlq", "list"]]
        else:
            words.append(["store", "backup", str(folder / "copy.db")])
        said = (folder / f"said-{knows}").open("w", encoding="utf-8")
        with said as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            for one in words:
                app.run([*one, *store])
                if one[:2] != ["store", "backup"]:
                    app.run([*one, "--json", *store])

    return work


def searched(folder: Path, figures: Figures) -> None:
    """Look for every canary in every file."""
    values = canaries()
    wanted = {trace: place for place, value in enumerate(values) for trace in traces(value)}
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        found = [(trace, place) for trace, place in wanted.items() if trace in data]
        figures.trials += len(wanted)
        if data:
            figures.reach(f"bytes of {path.suffix or path.name}", len(data))
        for trace, place in found[:3]:
            figures.blame("LEAKED", f"canary {place} as {trace[:20]!r} in {path.name}")
    copy = (folder / "copy.db").read_bytes()
    figures.shown["not promised, and found: unregistered"] = int(UNREGISTERED.encode() in copy)
    figures.shown["not promised, and found: in two pieces"] = int(values[1][7:].encode() in copy)


def canary(folder: Path, kills: int = 3) -> Figures:
    """Push, kill, resume, show and search."""
    figures = Figures(bad={"LEAKED": 0, "named": 0, "stuck": 0})
    MASKS.forget()  # what this process does is inherited by its children
    code, has_ended = fork(begin(folder)).end(SECONDS), False
    for _ in range(kills):
        if code != -signal.SIGKILL:
            break
        figures.reach("killed")
        shutil.copy(folder / "runs.db-wal", folder / f"{figures.reached['killed']}.wal")
        child = fork(go_on(folder))
        has_ended = child.hear(SECONDS) == "done"
        code = child.end(SECONDS)
    if code != 0 or not has_ended:
        figures.blame("stuck", f"the run ended with {code}")
        return figures
    for knows in (False, True):
        if fork(shown(folder, knows=knows)).end(SECONDS) != 0:
            figures.blame("stuck", f"commands, knows={knows}")
    if (folder / "named").exists():
        figures.blame("named", "a canary was taken as a name")
    searched(folder, figures)
    events = [
        json.loads(line) for line in (folder / "said-False").read_text().splitlines() if line.startswith('{"run"')
    ]
    told = {event["data"]["where"] for event in events if event.get("type") == "value.redacted"}
    for door in DOORS:
        figures.reached[f"door {door}"] = int(door in told)
    return figures


TRIALS = (
    Trial(
        "canaries", "S11",
        "Fifty registered secrets in fourteen spellings go through every door of a run that is killed three times; no "
        "file, log, back-up or command may show one.",
        canary, short={"kills": 3}, long={"kills": 3},
    ),
)  # fmt: skip
