"""`windlass runs list|show|watch|events|diff|replay`: looking at runs, from any process, without their definitions."""

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from windlass.cli.board import Board
from windlass.cli.follow import followed
from windlass.cli.foreground import catch_up
from windlass.cli.loader import load
from windlass.cli.opening import opened
from windlass.cli.options import COMMON, Common, Limit
from windlass.cli.outcome import Outcome, is_driven, look_up, tell_outcome
from windlass.cli.output import Out, clock_time, duration, iso, short, table
from windlass.cli.telling import as_line, as_object
from windlass.cli.values import read_tags
from windlass.cli.view import Lines, nodes_of, open_view
from windlass.core.records import RunRecord
from windlass.core.states import Status
from windlass.engine.reads import Checkpoint
from windlass.engine.runtime import Runtime
from windlass.engine.tree import parse_target

Many = tuple[str, ...]
MOST_CHILDREN = 1_000  # shown of a run


def list_runs(
    *,
    status: tuple[Status, ...] = (),
    definition: Many = (),
    tag: Many = (),
    parent: str = "",
    thread: str = "",
    limit: Limit = 50,
    after: str = "",
    common: Common = COMMON,
) -> int:
    """List runs, newest first.

    Args:
        status: only runs in this state; as often as needed.
        definition: only runs of the definition of this name; as often as needed.
        tag: NAME=VALUE, only runs with it; as often as needed.
        parent: only child runs that this run started.
        thread: only turns of threads of this name.
        limit: most runs to list.
        after: the last run of the page before.
    """
    out = Out(as_json=common.json)

    async def go() -> int:
        async with opened(common) as runtime:
            for named in filter(None, (parent, after)):  # of a run that is not there, nothing would be listed
                await runtime.get(named)
            found = await runtime.runs(
                statuses=status or None, definitions=definition or None, tags=read_tags(tag), limit=limit,
                after=after or None, parent=parent or None, thread=thread or None,
            )  # fmt: skip
        for record in found:
            out.give(as_row(record))
        if not found:
            out.line("no runs")
            return 0
        rows = [
            (
                record.id, record.definition, "quarantined" if record.quarantined else record.head.status.value,
                str(record.head.n), when(record),
                duration(time.time() - record.created_at), " ".join(f"{k}={v}" for k, v in record.tags.items()),
            )
            for record in found
        ]  # fmt: skip
        out.lines(table(("RUN", "DEFINITION", "STATE", "CHECKPOINT", "", "AGE", "TAGS"), rows))
        return 0

    return asyncio.run(go())


def as_row(record: RunRecord) -> dict[str, Any]:
    """Spell a run's record out for programs."""
    owner = record.owner
    return {
        "run": record.id, "definition": record.definition, "fingerprint": record.fingerprint,
        "status": record.head.status.value, "checkpoint": record.head.n, "branch": record.head.branch,
        "seq": record.head.seq, "due_at": record.head.due_at, "owner": None if owner is None else owner.id,
        "tags": record.tags, "source": record.source, "created_at": iso(record.created_at),
        "updated_at": iso(record.updated_at),
        "parent": None if record.parent is None else msgspec.to_builtins(record.parent),
        "thread": record.thread or None, "turn": record.turn or None, "part": record.part,
        "continues": record.continues or None,
        "quarantined": record.quarantined or None,
        "origin": None if record.origin is None else {
            "run": record.origin.run, "address": record.origin.address, "path": record.origin.path,
            "detached": record.origin.detached,
        },
    }  # fmt: skip


def when(record: RunRecord) -> str:
    """Say who drives a run, or when it goes on."""
    if record.owner is not None and is_driven(record):
        return f"pid {record.owner.pid} on {record.owner.host}"
    if record.head.status is Status.WAITING:
        return f"until {clock_time(record.head.due_at)}" if record.head.due_at else "for an answer or a child"
    return "interrupted" if record.head.status is Status.RUNNING else ""


def show(run: str, definition: str = "", /, *, history: bool = False, common: Common = COMMON) -> int:
    """Show how a run stands: its nodes, its last checkpoint, its output, or what failed it.

    Args:
        run: the run's id.
        definition: FILE.py:NAME, to read values of its own types and to know how many attempts there may be.
        history: list the checkpoints instead.
    """
    out = Out(as_json=common.json)
    loaded = load([definition]) if definition else []

    async def go() -> int:
        async with opened(common, loaded) as runtime:
            record = await runtime.get(run)
            if history:
                return _tell_history(out, await runtime.history(run))
            board = Board(nodes_of(record))
            await catch_up(runtime, run, Lines(out, board), record.head.seq)
            outcome = await look_up(runtime, run, loaded[0].compile() if loaded else None)
            children = await runtime.runs(parent=run, limit=MOST_CHILDREN)
            _tell_run(out, common, outcome, board, children[::-1])
        return 0

    return asyncio.run(go())


def _tell_history(out: Out, checkpoints: list[Checkpoint]) -> int:
    for point in checkpoints:
        out.give({**msgspec.structs.asdict(point), "at": iso(point.at)})
    rows = [
        (
            str(point.n), str(point.branch), clock_time(point.at), short(", ".join(point.finished))[1:-1],
            short(", ".join(point.planned))[1:-1], " ".join(point.savepoints), point.digest[:12],
        )
        for point in checkpoints
    ]  # fmt: skip
    out.lines(table(("CHECKPOINT", "BRANCH", "AT", "FINISHED", "NEXT", "SAVEPOINT", "DIGEST"), rows))
    return 0


def _tell_run(out: Out, common: Common, outcome: Outcome, board: Board, children: Sequence[RunRecord]) -> None:
    record = outcome.record
    nodes = [
        {
            "node": line.id, "state": line.state(outcome.status), "done": len(line.done), "left": len(line.planned),
            "failed": len(line.failed), "attempt": line.attempt if line.attempts else 0,
        }
        for line in board.nodes.values()
    ]  # fmt: skip
    if out.as_json:
        out.give(
            {
                **as_row(record),
                **outcome.as_object(),
                "type": "run",
                "nodes": nodes,
                "children": [as_row(one) for one in children],
            }
        )
        return
    out.line(f"run         {record.id}")
    out.line(f"definition  {record.definition} {record.fingerprint}" + (f"  {record.source}" if record.source else ""))
    out.line(f"state       {record.head.status.value}  {when(record)}".rstrip())
    out.line(f"checkpoint  {record.head.n}" + (f" of branch {record.head.branch}" if record.head.branch else ""))
    if record.parent is not None:
        out.line(f"forked      from {record.parent.run} at checkpoint {record.parent.n}")
    if record.turn:
        part = f", part {record.part}" if record.part else ""
        out.line(f"thread      {record.thread}, turn {record.turn}{part}")
    if record.origin is not None:
        apart = ", detached" if record.origin.detached else ""
        out.line(f"child       of {record.origin.run} at {record.origin.address}{apart}")
    out.line()
    rows = [
        (line.id, line.state(outcome.status), line.progress, str(line.attempt) if line.attempts else "")
        for line in board.nodes.values()
    ]
    out.lines(table(("NODE", "STATE", "DONE", "ATTEMPT"), rows))
    out.line()
    if children:
        shown = [
            (one.id, one.definition, one.head.status.value, one.origin.path if one.origin else "", when(one))
            for one in children
        ]
        out.lines(table(("CHILD", "DEFINITION", "STATE", "PATH", ""), shown))
        out.line()
    tell_outcome(out, common, outcome)


def watch(run: str, /, *, forever: bool = False, children: bool = False, common: Common = COMMON) -> int:
    """Follow a run, whoever drives it, until it ends, is paused or waits.

    Args:
        run: the run's id.
        forever: go on following when it settles.
        children: show the events of its child runs as well, and of theirs, each with its path; from the start.
    """
    out = Out(as_json=common.json)

    async def go() -> int:
        async with opened(common) as runtime:
            record = await runtime.get(run)
            if children:
                return await _watch_tree(out, common, runtime, run)
            view = open_view(out, record)
            try:
                await catch_up(runtime, run, view, record.head.seq)
                async for event in followed(runtime, run, record.head.seq, forever=forever, tick=view.tick):
                    view.show(event)
            finally:
                view.close()
            return tell_outcome(out, common, await look_up(runtime, run))

    return asyncio.run(go())


async def _watch_tree(out: Out, common: Common, runtime: Runtime, run: str) -> int:
    async for event in runtime.events(run, follow=True, children=True):
        if event.type != "item":
            out.give(as_object(event))
            out.line(f"{event.path + '  ' if event.path else ''}{as_line(event)}")
    return tell_outcome(out, common, await look_up(runtime, run))


def events(
    run: str, /, *, after: int = 0, type_: Annotated[Many, Parameter(name="--type")] = (), follow: bool = False,
    common: Common = COMMON,
) -> int:  # fmt: skip
    """Print the events of a run.

    Args:
        run: the run's id.
        after: only events after this number.
        type_: only events whose type begins so, as `effect`; as often as needed.
        follow: wait for more until the run settles.
    """
    out = Out(as_json=common.json)

    async def go() -> int:
        async with opened(common) as runtime:
            await runtime.get(run)
            source = followed(runtime, run, after) if follow else runtime.events(run, after=after)
            async for event in source:
                if not type_ or event.type.startswith(type_):
                    out.give(as_object(event))
                    out.line(f"{event.seq or '':>6}  {as_line(event)}")
        return 0

    return asyncio.run(go())


def diff(run: str, a: str, b: str, definition: str = "", /, *, common: Common = COMMON) -> int:
    """Show which channels differ between two checkpoints.

    Args:
        run: the run's id.
        a: a checkpoint's number, NODE, NODE#n or the name of a savepoint.
        b: the same.
        definition: FILE.py:NAME, to read values of its own types.
    """
    out = Out(as_json=common.json)
    loaded = load([definition]) if definition else []

    async def go() -> int:
        async with opened(common, loaded) as runtime:
            found = await runtime.diff(run, parse_target(a), parse_target(b))
        out.give({name: {"a": before, "b": after} for name, (before, after) in found.items()})
        if not found:
            out.line("no channel differs")
        for name, (before, after) in found.items():
            out.lines((name, f"  - {short(before, 160)}", f"  + {short(after, 160)}"))
        return 0

    return asyncio.run(go())


def replay(run: str, definition: str = "", /, *, common: Common = COMMON) -> int:
    """Apply a run's log again, without running a node, and compare the state's digest at every checkpoint.

    Args:
        run: the run's id.
        definition: FILE.py:NAME, to read values of its own types.
    """
    out = Out(as_json=common.json)
    loaded = load([definition]) if definition else []

    async def go() -> int:
        async with opened(common, loaded) as runtime:
            found = await runtime.replay(run)
        out.give(msgspec.structs.asdict(found))
        differing = ", ".join(map(str, found.differing))
        out.line(
            f"{found.checkpoints} checkpoints" + (f"; these differ: {differing}" if differing else ", all the same")
        )
        out.lines(f"  {name} = {short(value)}" for name, value in found.state.items())
        return 1 if found.differing else 0

    return asyncio.run(go())
