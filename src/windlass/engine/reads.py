"""Looking at runs without touching them: state at any checkpoint, history, differences, replay, events."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from msgspec import Struct, json

from windlass.core import queries
from windlass.core import records as r
from windlass.core.blueprint import EVERY_STEP, Blueprint
from windlass.core.codec import Codec
from windlass.core.errors import InputError, RunUnknown, StoreCorrupt
from windlass.core.events import Event, from_item, told
from windlass.core.position import Position, load
from windlass.core.records import BODY
from windlass.core.states import ENDED, PAUSED, WAITING, Status
from windlass.core.words import Result
from windlass.engine.family import questions
from windlass.engine.inputs import keywords, written
from windlass.engine.notifier import Ear, Notifier
from windlass.engine.outputs import output, show
from windlass.engine.tree import Target, position_at, resolve, steps
from windlass.stores.base import Store

LENIENT = Codec(lenient=True)  # shows values whose types are not known here
PAGE = 1_000
SETTLED = frozenset({*ENDED, PAUSED, WAITING})


class Checkpoint(Struct, frozen=True):
    """One step of a run's history.

    Attributes:
        n: its number on its branch, from 1.
        seq: the last event of its row.
        digest: of the state after it.
        frame: the address of the sub-graph that took the step; empty for the run's own definition.
    """

    n: int
    branch: int
    seq: int
    at: float
    finished: tuple[str, ...]
    planned: tuple[str, ...]
    digest: str
    savepoints: tuple[str, ...] = ()
    frame: str = ""


class Replay(Struct, frozen=True):
    """What a replay found: how many checkpoints it went through, and which digests differ: none, if all is well."""

    run: str
    checkpoints: int
    differing: tuple[int, ...]
    state: dict[str, Any]


async def get(store: Store, run: str) -> r.RunRecord:
    """Return a run's record.

    Raises:
        RunUnknown: no run has this id.
        InputError: it is no text.
    """
    found = await store.find(queries.Runs(ids=(written(run, "run"),)))
    if not found:
        raise RunUnknown(run, store.url)
    return found[0]


async def with_blobs(store: Store, position: Position) -> dict[str, bytes]:
    """Fetch the blobs that a position refers to."""
    needed = position.references()
    found = await store.find(queries.Blobs(digests=tuple(sorted(needed)))) if needed else []
    return {blob.digest: blob.content for blob in found}


async def state(
    store: Store, run: str, at: Target | None, blueprint: Blueprint | None, frame: str = ""
) -> dict[str, Any]:
    """Return the channels after a checkpoint; at the head if `at` is None.

    Args:
        frame: those of the sub-graph at this address instead of the run's own.

    Raises:
        RunUnknown, CheckpointUnknown: there is no such run or checkpoint, or it was not kept.
        InputError: no such sub-graph is under way there.
    """
    record = await get(store, run)
    if at is None:
        position = load(await store.load(run))
    else:
        checkpoints = blueprint.checkpoints if blueprint is not None else EVERY_STEP
        row = await resolve(store, record, at, checkpoints)
        position = await position_at(store, record, row.last)
    if frame and frame not in position.frames:
        hint = f"there are: {', '.join(position.frames) or 'none'}"
        raise InputError("frame", f"{frame!r} is no sub-graph of {run} that is under way", hint=hint)
    codec = blueprint.codec if blueprint is not None else LENIENT
    return show(position.frame(frame), await with_blobs(store, position), codec)


async def history(store: Store, run: str) -> list[Checkpoint]:
    """Return every checkpoint of a run, all branches, oldest first."""
    await get(store, run)
    found = []
    for row in await steps(store, run):
        body = BODY.decode(row.body)
        named = tuple(said.details["name"] for said in body.said if said.type == "savepoint.made")
        found.append(
            Checkpoint(
                row.n, row.branch, row.last, row.at, r.addresses(body),
                tuple(planned.address for planned in body.planned), body.digest, named, body.frame,
            )
        )  # fmt: skip
    return found


async def thread(
    store: Store, thread: str, *, definition: str | None = None, tenant: str | None = None, limit: int = PAGE
) -> list[r.RunRecord]:
    """Return the turns of a thread, the first first; of many, the last ones. Definitions have threads of their own."""
    definitions = None if definition is None else (definition,)
    asked = {"thread": thread, "definitions": definitions, "tenant": tenant, "limit": limit}
    found = await store.find(keywords(queries.Runs, asked))
    return sorted(found, key=lambda one: (one.tenant, one.definition, one.turn, one.part))


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the channels that differ: name → (before, after); a channel that is missing shows as None."""
    names = [*before, *(name for name in after if name not in before)]
    pairs = {name: (before.get(name), after.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


async def replay(store: Store, run: str, blueprint: Blueprint | None) -> Replay:
    """Apply a run's log again from its beginning and compare the state digest at every checkpoint. Runs no node.

    What was pruned is passed over: the row behind it brings its snapshot.
    """
    record = await get(store, run)
    position: Position | None = None
    differing: list[int] = []
    number = after = 0
    while page := await store.find(queries.Rows(run=run, after=after)):
        for row in page:
            if row.kind == "pruned":
                position = None
                continue
            body = BODY.decode(row.body)
            if position is None or row.branch != position.branch:
                position = await _start(store, record, row)
            elif any(said.type == "run.begun" for said in body.said):
                position = await _begun(store, record, row, position)
            else:
                position.fold(row.kind, body)
            position.held.update(body.blobs)
            if row.kind == "step":
                number += 1
                if position.digest() != body.digest:
                    differing.append(row.n)
            position.seq, position.branch = row.last, row.branch
        after = page[-1].last
    if position is None:
        raise StoreCorrupt(f"run {run} has no rows")
    codec = blueprint.codec if blueprint is not None else LENIENT
    return Replay(run, number, tuple(differing), show(position, await with_blobs(store, position), codec))


async def _start(store: Store, record: r.RunRecord, row: r.Row) -> Position:
    """Begin a branch: from its snapshot, or at the run's first row from nothing."""
    is_first = row.first == 1 and record.parent is None and not record.continues  # whose first rows bring snapshots
    manifests = [] if is_first else await store.find(queries.Manifests(run=record.id, until=row.last))
    if manifests and manifests[0].seq == row.last:
        return load(r.Loaded(record, manifests[0], ()))
    position = Position(record.id, record.channels)
    position.fold(row.kind, BODY.decode(row.body))
    return position


async def _begun(store: Store, record: r.RunRecord, row: r.Row, position: Position) -> Position:
    """Begin a turn: with the snapshot that its row brings, or where the run stands."""
    manifests = await store.find(queries.Manifests(run=record.id, until=row.last))
    if manifests and manifests[0].seq == row.last:
        return load(r.Loaded(record, manifests[0], ()))
    position.fold(row.kind, BODY.decode(row.body))
    return position


async def events(
    store: Store, notifier: Notifier, run: str, after: int, recent: Any, until_settled: Any
) -> AsyncIterator[Event]:
    """Yield a run's events after number `after`, then follow it; with stream items where they are at hand.

    Args:
        recent: returns the item log of a drive in this process, or None.
        until_settled: returns True when following may end once all is told; None: do not follow.
    """
    seen, log = -1, None
    with Ear(notifier, run) as ear:
        while True:
            log = recent() or log
            rows = await store.find(queries.Rows(run=run, after=after, limit=PAGE))
            batch = [event for row in rows for event in told(row) if event.seq > after]
            if until_settled is not None:
                fresh = await _items(store, run, seen) if log is None else log.since(seen)
                seen = max([seen, *(arrival for arrival, _ in fresh)])
                batch = _merged(batch, [event for _, event in fresh])
            for event in batch:
                yield event
            after = rows[-1].last if rows else after
            if rows:
                continue
            record = await get(store, run)
            if until_settled is None or (record.head.seq <= after and await until_settled(record)):
                return
            await ear.changed()


def _merged(told: list[Event], items: list[Event]) -> list[Event]:
    """Put items between events by their times; each keep their own order, though the time of day may go back."""
    merged, place = [], 0
    for event in told:
        while place < len(items) and items[place].at < event.at:
            merged.append(items[place])
            place += 1
        merged.append(event)
    return [*merged, *items[place:]]


async def _items(store: Store, run: str, after: int) -> list[tuple[int, Event]]:
    """Stream items that another process has let into the store, with their arrival numbers."""
    items = await store.find(queries.Items(run=run, after=after))
    return [(item.arrival, from_item(item, json.decode(item.value))) for item in items]


async def result(store: Store, run: str, blueprint: Blueprint | None) -> Result:
    """Say how a run stands, with its output if it is completed."""
    loaded = await store.load(run)
    record = loaded.record
    head = record.head
    if head.status is not Status.COMPLETED:
        asked = await questions(store, run)
        return Result(run, head.status.value, None, tuple(question.id for question in asked), head.due_at)
    position = load(loaded)
    codec = blueprint.codec if blueprint is not None else LENIENT
    shown = show(position, await with_blobs(store, position), codec)
    return Result(run, head.status.value, output(shown, blueprint))


async def last_failure(store: Store, run: str) -> dict[str, Any] | None:
    """Return what failed a run, as its last run.failed event tells it."""
    rows = await store.find(queries.Rows(run=run, newest_first=True, limit=20))
    for row in rows:
        for event in reversed(told(row)):
            if event.type == "run.failed":
                return {"address": event.address, **event.data}
    return None
