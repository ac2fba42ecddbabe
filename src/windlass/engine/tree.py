"""Branches: going back to an earlier checkpoint of a run, and beginning a new run from one (D23).

A branch begins with a snapshot of the position that it starts from; values that stand out of line are shared, so it
copies little. The rows of the branch that was left stay in the log.
"""

from collections.abc import AsyncIterator

import msgspec
from msgspec import Raw

from windlass.core import queries
from windlass.core import records as r
from windlass.core.blueprint import Blueprint, Checkpoints
from windlass.core.crashpoint import crashpoint
from windlass.core.errors import CheckpointUnknown
from windlass.core.frames import fits
from windlass.core.position import Position, load, parse, place
from windlass.core.records import BODY, Body
from windlass.core.states import CANCELLED, ENDED, PAUSED, RUNNING
from windlass.core.thread import has_begun, names_of, place_of
from windlass.engine.drive import Drive
from windlass.engine.failures import withdraw
from windlass.engine.kin import cascade, post
from windlass.engine.regained import carry, regain
from windlass.engine.undo import ask_about, is_after, undo_after
from windlass.stores.base import Store

PAGE = 1_000
MOST_CHILDREN = 100_000
Target = int | str | tuple[str, int]  # a checkpoint, a savepoint or node by name, or (node, visit)


async def position_at(store: Store, record: r.RunRecord, seq: int) -> Position:
    """Fold the run's log up to event `seq`: from the last snapshot before it, whatever branch it lies on.

    Raises:
        CheckpointUnknown: what leads there was pruned.
        StoreCorrupt: a row or snapshot on the way is damaged.
    """
    manifests = await store.find(queries.Manifests(run=record.id, until=seq))
    manifest = manifests[0] if manifests else None
    rows: list[r.Row] = []
    after = manifest.seq if manifest else 0
    while True:
        page = await store.find(queries.Rows(run=record.id, after=after, until=seq))
        rows += page
        if not page or page[-1].last >= seq:
            break
        after = page[-1].last
    if any(row.kind == "pruned" for row in rows) or (rows[-1].last if rows else after) != seq:
        raise CheckpointUnknown(f"run {record.id}: the checkpoint at event {seq} was pruned")
    return load(r.Loaded(record, manifest, tuple(rows)))


async def steps(store: Store, run: str, until: int | None = None) -> list[r.Row]:
    """Return the step rows of a run, oldest first, all branches."""
    found: list[r.Row] = []
    after = 0
    while page := await store.find(queries.Rows(run=run, after=after, until=until, kind="step")):
        found += page
        after = page[-1].last
    return found


async def _steps_back(store: Store, run: str) -> AsyncIterator[r.Row]:
    """Walk the step rows of a run from its end, a page at a time: what is looked for is mostly near."""
    size, until = PAGE // 10, None
    while page := await store.find(queries.Rows(run=run, until=until, kind="step", newest_first=True, limit=size)):
        for row in page:
            yield row
        size, until = PAGE, page[-1].last - 1


def is_kept(checkpoints: Checkpoints, row: r.Row, *, is_last: bool) -> bool:
    """Say whether the strategy keeps this step addressable. The head and the beginning always are."""
    body = BODY.decode(row.body)
    if checkpoints.keep == "every" or is_last or row.first == 1:
        return True
    if checkpoints.keep == "nodes":
        return any(place(address) in checkpoints.nodes for address in r.addresses(body))
    return checkpoints.keep == "savepoints" and any(said.type == "savepoint.made" for said in body.said)


async def resolve(store: Store, record: r.RunRecord, target: Target, checkpoints: Checkpoints) -> r.Row:
    """Find the checkpoint that a target names, on the current branch first, then on the others, latest first.

    Raises:
        CheckpointUnknown: there is none, or the strategy did not keep it.
    """
    latest = found = None
    async for row in _steps_back(store, record.id):
        is_current = row.branch == record.head.branch
        if latest is None or (is_current and latest.branch != row.branch):
            latest = row
        if (is_current or found is None) and _matches(row, target):
            found = row
            if is_current:
                break
    if found is not None:
        if not is_kept(checkpoints, found, is_last=found is latest):
            said = f"run {record.id}: checkpoint {found.n} was not kept; the strategy is {checkpoints.keep!r}"
            raise CheckpointUnknown(said)
        return found
    dropped = await store.find(queries.Rows(run=record.id, kind="pruned", newest_first=True, limit=1))
    gone = f"; what came before event {dropped[0].last + 1} was pruned, but for savepoints" if dropped else ""
    raise CheckpointUnknown(f"run {record.id} has no checkpoint {target!r}{gone}")


def _matches(row: r.Row, target: Target) -> bool:
    if isinstance(target, int):
        return row.n == target
    body = BODY.decode(row.body)
    if isinstance(target, str):
        if any(said.type == "savepoint.made" and said.details.get("name") == target for said in body.said):
            return True
        return any(fits(planned.address, target) for planned in body.planned)
    node, visit = target
    return any(fits(one.address, node) and parse(one.address)[1] == visit for one in body.planned)


def parse_target(text: str) -> Target:
    """Read a target as the command line writes it: `12`, `review`, `review#2` or a savepoint's name.

    In a sub-graph it is `team/write`, `team/write#2`, or `team#1/write#2` where the visit counts.
    """
    if text.isdigit():
        return int(text)
    node, mark, visit = text.partition("#")
    return (node, int(visit)) if mark and visit.isdigit() else text


async def target_position(
    store: Store, record: r.RunRecord, blueprint: Blueprint | None, target: Target, checkpoints: Checkpoints
) -> Position:
    """Work out the position that a rollback or fork starts from.

    A checkpoint is taken literally. `(node, n)` means just before that visit: in a graph the checkpoint that planned
    it; in a pipeline the current state without the node and what depends on it, whatever the order of the log.

    Raises:
        CheckpointUnknown: see `resolve`.
    """
    named = target[0] if isinstance(target, tuple) else target
    if blueprint is not None and blueprint.kind == "pipeline" and named in blueprint.nodes:
        position = await position_at(store, record, record.head.seq)
        if not position.visits.get(str(named)):
            raise CheckpointUnknown(f"run {record.id} has not come to {named} yet")
        without(position, blueprint, str(named))
        await regain(store, record.id, position)
        return position
    row = await resolve(store, record, target, checkpoints)
    return await position_at(store, record, row.last)


def without(position: Position, blueprint: Blueprint, node: str) -> None:
    """Take a pipeline's node and all that depends on it out of a position, and plan the node again.

    What has finished beside it, of a step that failed, is settled with the next.
    """
    gone, queue = {node}, [node]
    for name in queue:
        spec = blueprint.nodes[name]
        fresh = [feed for feed in (*spec.feeds, *spec.streams_to) if feed not in gone]
        gone.update(fresh)
        queue += fresh
    addresses = [address for address in position.waiting if parse(address)[0] in gone]
    for address in addresses:
        position.settled.pop(address, None)
    position.fold("step", Body(at=0.0, dropped=tuple(addresses), edited=True), {})
    position.forget(gone)
    spec = blueprint.nodes[node]
    if spec.mapped is None:
        planned: tuple[r.Planned, ...] = (r.Planned(f"{node}#1"),)
    else:
        size = len(position.channels[spec.mapped].decode(blueprint.codec, _no_blob))
        planned = tuple(r.Planned(f"{node}#1[{place}]") for place in range(size))
    position.fold("step", Body(at=0.0, planned=planned, edited=True), {})
    position.n -= 2


def _no_blob(digest: str) -> bytes:
    raise KeyError(digest)


async def roll_back(drive: Drive) -> None:
    """Move the run to an earlier position, on a new branch, once nothing of it executes.

    Effects after the target that declare an undo are undone first, the latest first, each kept as it is done: a crash
    in between leaves the command posted and the next owner goes on. The rest of the effects is reported.
    """
    journal, arguments = drive.journal, drive.rollback
    record = msgspec.structs.replace(journal.record, head=journal.head)
    target = arguments["to"]
    target = tuple(target) if isinstance(target, list) else target
    store = drive.services.store
    await journal.drain()
    if journal.has_notes:
        await journal.write("record", status=RUNNING)
        record = msgspec.structs.replace(record, head=journal.head)
    is_over = bool(arguments.get("over"))  # a second input to its thread takes its place
    try:
        if is_over:
            position = await start_of(store, record)
        else:
            position = await target_position(store, record, drive.blueprint, target, drive.blueprint.checkpoints)
    except CheckpointUnknown as error:
        if is_over:
            await withdraw(drive)
            await drive.end(CANCELLED, "run.cancelled", error=str(error))
            return
        await drive.end(PAUSED, "run.paused", error=str(error))
        return
    await carry(store, drive.run, position)
    report = await undo_after(drive, position)
    cancelled, standing = await leave_children(drive, position)
    await withdraw(drive)
    begin_anew(position)
    crashpoint("branch.before")
    branch = 1 + record.head.branch  # the newest branch is always the head's
    journal.branch(position, branch)
    journal.say(
        "run.rolled_back",
        to=target,
        n=position.n,
        branch=branch,
        undone=report.undone,
        standing=report.standing,
        in_doubt=report.in_doubt,
        children_cancelled=cancelled,
        children_standing=standing,
        by=arguments.get("by", ""),
    )
    goes_on = bool(arguments.get("go_on"))
    status = CANCELLED if is_over else RUNNING if goes_on else PAUSED
    if is_over:
        journal.say("run.cancelled", in_doubt=report.in_doubt)
    else:
        ask_about(drive, position, report.asked)
    if not goes_on:
        cascade(journal, status)
    drive.over = True
    await journal.write("record", status=status, release=True)


async def before(store: Store, record: r.RunRecord) -> list[r.RunRecord]:
    """List the turns before one, from the nearest back to the one whose state it begins with: that has made a step."""
    found: list[r.RunRecord] = []
    below, size = place_of(record), 1  # the nearest is mostly the one
    while page := await store.find(queries.Turns(**names_of(record), below=below, limit=size)):
        for one in page:
            found.append(one)
            if has_begun(one):
                return found
        below, size = place_of(page[-1]), 100
    return found


async def input_of(store: Store, run: str) -> dict[str, Raw]:
    """Read what a turn was given that has yet to begin: its first row keeps that."""
    (first, *_) = await store.find(queries.Rows(run=run, limit=1))
    return BODY.decode(first.body).results


def turn_position(position: Position, run: str) -> Position:
    """Make the position that a later turn begins with: what still waited is dropped, and steps are counted anew."""
    fork_position(position, run)
    for frame in position.whole():
        frame.settled.clear()  # of a step that never came about
    position.fold("step", Body(at=0.0, dropped=tuple(position.waiting)), {})
    position.pending.clear()
    position.signals.clear()
    position.n = position.inner = 0
    return position


async def start_of(store: Store, record: r.RunRecord) -> Position:
    """Work out the position that a run began with, before its input.

    Raises:
        CheckpointUnknown: it was pruned.
    """
    first = await store.find(queries.Rows(run=record.id, kind="step", limit=1))
    found = await store.find(queries.Manifests(run=record.id, until=first[0].first - 1)) if first else []
    rows = await store.find(queries.Rows(run=record.id, until=first[0].first - 1, limit=PAGE)) if first else []
    if any(row.kind == "pruned" or row.n for row in rows):
        raise CheckpointUnknown(f"run {record.id}: what it began with was pruned")
    if found:
        return load(r.Loaded(record, found[0], ()))
    return Position(record.id, record.channels)


async def leave_children(drive: Drive, target: Position) -> tuple[list[str], list[str]]:
    """Cancel the children that were started after the target and have not ended; the others stand, with their effects.

    A child that goes on in the target's plan goes on. What is started anew adopts what the one before did outside.
    """
    kept = {child.id for pending in target.pending.values() for child in pending.children.values()}
    cancelled, standing = [], []
    for one in await drive.services.store.find(queries.Runs(parent=drive.run, limit=MOST_CHILDREN)):
        origin = one.origin
        if origin is None or one.id in kept or not is_after(origin.address, target):
            continue
        if one.head.status in ENDED or origin.detached:
            standing.append(one.id)
        else:
            cancelled.append(one.id)
            post(drive.journal, one.id, "cancel")
    return cancelled, standing


def begin_anew(position: Position) -> None:
    """Take out of a position what is its branch's own: open questions, and effects, which the ledger knows."""
    for pending in position.pending.values():
        for key in pending.lapsed:
            pending.answers.pop(key, None)
            pending.signals.pop(key, None)
        pending.awaited = {}
        pending.asked = {key: id_ for key, id_ in pending.asked.items() if key in pending.answers}
        pending.terms, pending.lapsed, pending.stale = {}, {}, set()
        pending.intents, pending.outcomes, pending.cleared = {}, {}, set()


def fork_position(position: Position, run: str) -> Position:
    """Make the position of another run out of one's own."""
    position.run = run
    position.branch = 0
    position.seq = 0
    begin_anew(position)
    for pending in position.pending.values():  # what the other run waits for tells that one of its end
        pending.children = {key: child for key, child in pending.children.items() if not child.is_open}
    return position
