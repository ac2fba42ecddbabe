"""`windlass runs pause|resume|cancel|signal|rollback|fork`: steering runs, from any process."""

import asyncio
import getpass
import time
from collections.abc import Awaitable
from contextlib import suppress
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import Parameter

from windlass.cli.foreground import show_until_settled
from windlass.cli.loader import load
from windlass.cli.opening import opened
from windlass.cli.options import COMMON, DRIVING, Common, Driving
from windlass.cli.outcome import look_up, tell_outcome
from windlass.cli.output import Out, clock_time
from windlass.cli.values import parse, read_pairs
from windlass.core.clock import random_id
from windlass.core.errors import DefinitionUnknown, RunOwned
from windlass.core.events import told
from windlass.core.owner import is_alive
from windlass.core.queries import Commands, Rows
from windlass.core.records import Command, RunRecord
from windlass.engine.runtime import Runtime
from windlass.engine.tree import Target, parse_target

PATIENT_SECONDS = 2.0  # then it is said whom a command waits for
LOOK_SECONDS = 0.25
Edits = Annotated[tuple[str, ...], Parameter(name="--with", help="CHANNEL=VALUE, set first; JSON, else text.")]


def pause(run: str, /, *, now: bool = False, common: Common = COMMON) -> int:
    """Stop a run at its next boundary; it goes on with `windlass runs resume`.

    Args:
        run: the run's id.
        now: stop what runs, too; effects in flight come to their end first.
    """
    out = Out(as_json=common.json)

    async def go() -> int:
        async with opened(common) as runtime:
            out.say(f"store {common.url}\nrun   {run}")
            await patiently(out, runtime, run, runtime.pause(run, immediate=now, by=user()))
            tell_outcome(out, common, await look_up(runtime, run))
        return 0

    return asyncio.run(go())


def cancel(run: str, /, *, common: Common = COMMON) -> int:
    """End a run; effects in flight come to their end first.

    Args:
        run: the run's id.
    """
    out = Out(as_json=common.json)

    async def go() -> int:
        async with opened(common) as runtime:
            out.say(f"store {common.url}\nrun   {run}")
            await patiently(out, runtime, run, runtime.cancel(run, by=user()))
            tell_outcome(out, common, await look_up(runtime, run))
        return 0

    return asyncio.run(go())


def resume(
    run: str, definition: str = "", /, *,
    with_: Edits = (),
    wait: bool = False,
    common: Driving = DRIVING,
) -> int:  # fmt: skip
    """Let a paused, failed or interrupted run go on, here, and show it until it ends or waits.

    Args:
        run: the run's id.
        definition: FILE.py:NAME; else what the run was started with is imported, from the current directory.
        wait: stay while the run waits, and first wait for another process that owns it.
    """
    out = Out(as_json=common.json)
    edits = read_pairs(with_, "--with")

    async def go() -> int:
        record = await read_record(common, run)
        source = definition or record.source
        if not source:
            raise DefinitionUnknown(
                f"run {run} is of {record.definition!r}, and was not started from a file",
                hint=common.paste("runs", "resume", run, "FILE.py:NAME"),
            )
        if not definition:
            out.say(f"importing {source}: the run was started with it")
        (loaded,) = load([source])
        async with opened(common, [loaded]) as runtime:
            out.say(f"store {common.url}\nrun   {run}")
            await begin_again(runtime, out, run, edits, wait=wait)
            return await show_until_settled(
                runtime, run, common, after=record.head.seq, wait=wait, blueprint=loaded.compile()
            )  # fmt: skip

    return asyncio.run(go())


async def begin_again(runtime: Runtime, out: Out, run: str, edits: dict[str, Any], *, wait: bool) -> None:
    """Resume a run here; with `wait`, once its owner is gone.

    Raises:
        RunOwned: another live process drives it, and `wait` is not asked for.
    """
    said = False
    while True:
        try:
            await withdraw_pauses(runtime, run)
            await runtime.resume(run, edits=edits or None, by=user())
        except RunOwned as owned:
            if not wait:
                raise
            if not said:
                out.say(str(owned.args[0]))
            said = True
            await asyncio.sleep(LOOK_SECONDS)
        else:
            return


async def withdraw_pauses(runtime: Runtime, run: str) -> None:
    """Let a pause that nobody took give way: its owner died before it could, and the user wants to go on."""
    record = await runtime.get(run)
    waiting = await runtime.store.find(Commands(run=run))
    is_free = record.owner is None or is_alive(record.owner) is False
    if is_free and any(command.verb == "pause" for command in waiting):
        await runtime.store.post(Command(id=random_id(), run=run, verb="resume", by=user(), at=time.time()))


def signal(run: str, name: str, /, *, value: str = "null", by: str = "", id: str = "", common: Common = COMMON) -> int:
    """Send a signal to a run: one task that waits for it by its name takes it, now or later.

    Args:
        run: the run's id.
        name: what the task calls it.
        value: JSON, else text.
        by: who sends it; else the user.
        id: of this delivery: what was sent under it is not sent again.
    """
    out = Out(as_json=common.json)
    given = parse(value, "--value")

    async def go() -> int:
        async with opened(common) as runtime:
            out.say(f"store {common.url}\nrun   {run}")
            is_new = await runtime.signal(run, name, given, by=by or user(), id=id)
        if not is_new:
            out.give({"type": "signalled", "run": run, "name": name, "duplicate": True})
            out.end(f"not sent: {run} was sent a signal {id!r} before, and has that one")
            return 0
        out.give({"type": "signalled", "run": run, "name": name, "value": given})
        out.end(f"sent; {run} goes on with a worker, or with")
        out.end(f"  {common.paste('runs', 'resume', run)}")
        return 0

    return asyncio.run(go())


def rollback(run: str, to: str, definition: str = "", /, *, common: Driving = DRIVING) -> int:
    """Take a run back to an earlier checkpoint, on a new branch, with the undos of what comes after; it is paused then.

    Args:
        run: the run's id.
        to: a checkpoint's number, NODE or NODE#n for just before that visit, or the name of a savepoint.
        definition: FILE.py:NAME; needed unless a live process drives the run.
    """
    out = Out(as_json=common.json)
    loaded = load([definition]) if definition else []

    async def go() -> int:
        async with opened(common, loaded) as runtime:
            record = await runtime.get(run)
            out.say(f"store {common.url}\nrun   {run}")
            try:
                await patiently(out, runtime, run, runtime.rollback(run, parse_target(to), by=user()))
            except DefinitionUnknown as unknown:
                raise DefinitionUnknown(
                    str(unknown.args[0]), hint=common.paste("runs", "rollback", run, to, named(record))
                ) from unknown
            for row in await runtime.store.find(Rows(run=run, newest_first=True, limit=1)):
                for event in told(row):
                    for word in ("undone", "standing", "in_doubt") if event.type == "run.rolled_back" else ():
                        for effect in event.data.get(word) or ():
                            out.say(f"{word}: {effect}")
            tell_outcome(out, common, await look_up(runtime, run))
        return 0

    return asyncio.run(go())


def fork(
    run: str, definition: str = "", /, *,
    from_: Annotated[str, Parameter(name="--from")] = "",
    with_: Edits = (),
    id: str = "",
    effects: Literal["adopt", "run"] = "adopt",
    wait: bool = False,
    common: Driving = DRIVING,
) -> int:  # fmt: skip
    """Begin a new run from a checkpoint of another, and show it if its definition is given.

    Args:
        run: the id of the run to begin from; it stays as it is.
        definition: FILE.py:NAME; without it the new run is made and waits to be resumed.
        from_: a checkpoint's number, NODE or NODE#n for just before that visit, or a savepoint; else the head.
        id: the new run's id; made up if there is none.
        effects: `adopt` what the run did outside, or `run` it again.
        wait: stay while the new run waits for a due time or an answer.
    """
    out = Out(as_json=common.json)
    loaded = load([definition]) if definition else []
    edits = read_pairs(with_, "--with")
    target = parse_target(from_) if from_ else None

    async def go() -> int:
        async with opened(common, loaded) as runtime:
            record = await runtime.get(run)
            if not loaded:
                require_none(record, target, common, edits=with_)
            name = id or f"{record.definition}-{random_id()[:8]}"
            out.say(f"store {common.url}\nrun   {name}")
            await runtime.fork(run, at=target, edits=edits or None, id=name, effects=effects)
            if not loaded:
                return tell_outcome(out, common, await look_up(runtime, name))
            return await show_until_settled(
                runtime, name, common, after=0, wait=wait, blueprint=loaded[0].compile()
            )  # fmt: skip

    return asyncio.run(go())


def require_none(record: RunRecord, target: Target | None, common: Common, *, edits: tuple[str, ...]) -> None:
    """Refuse a fork that cannot be made without the definition: edits have types, and a pipeline's nodes an order.

    Raises:
        DefinitionUnknown: it is needed.
    """
    structure = msgspec.json.decode(record.structure)
    node = target[0] if isinstance(target, tuple) else target
    if not edits and (structure.get("kind") != "pipeline" or node not in structure["nodes"]):
        return
    at = f"{target[0]}#{target[1]}" if isinstance(target, tuple) else str(target or record.head.n)
    words = ["runs", "fork", record.id, named(record), "--from", at]
    for pair in edits:
        words += ["--with", pair]
    what = "an edit" if edits else f"beginning before {node!r}"
    raise DefinitionUnknown(f"run {record.id}: {what} needs the definition", hint=common.paste(*words))


def named(record: RunRecord) -> str:
    """Say what a run's definition is called on the command line."""
    return record.source or "FILE.py:NAME"


async def read_record(common: Common, run: str) -> RunRecord:
    """Read a run's record.

    Raises:
        RunUnknown: no run has this id.
    """
    async with opened(common) as runtime:
        return await runtime.get(run)


async def patiently(out: Out, runtime: Runtime, run: str, verb: Awaitable[None]) -> None:
    """Wait for a verb; when it takes a while, say whom it waits for."""
    doing = asyncio.ensure_future(verb)
    try:
        await asyncio.wait({doing}, timeout=PATIENT_SECONDS)
        if not doing.done():
            record = await runtime.get(run)
            who = f"pid {record.owner.pid} on {record.owner.host}" if record.owner else "nobody"
            until = f", whose lease ends {clock_time(record.owner_until)}" if record.owner_until else ""
            out.say(f"asked {who}{until}; Ctrl-C leaves the request standing")
        await doing
    finally:
        doing.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await doing


def user() -> str:
    """Name who steers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user id without a name
        return ""
