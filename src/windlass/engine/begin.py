"""How a turn begins: with the state of the turn before it, its input upon that, and the nodes that run first.

The first step stands in one write with the snapshot that it begins from, and the store refuses that write unless the
turn's time has come. So whoever claims it may die at any moment, and the next one begins it anew or finds it begun.
"""

from windlass.core import queries
from windlass.core import records as r
from windlass.core.changes import TurnBegun
from windlass.core.channels import Channel
from windlass.core.crashpoint import crashpoint
from windlass.core.errors import DefinitionChanged, StoreError, WindlassError
from windlass.core.frames import by_place
from windlass.core.position import Position, load
from windlass.core.states import CREATED, RUNNING
from windlass.core.thread import has_begun, is_queued, is_reopening, names_of, place_of
from windlass.core.thread_errors import OutOfTurn
from windlass.engine import failures, reads
from windlass.engine.dead import fail
from windlass.engine.drive import Drive
from windlass.engine.edges import check_begin
from windlass.engine.initiate import go_on, initiate
from windlass.engine.ledger import bring
from windlass.engine.reconcile import Step
from windlass.engine.threads import MOST_LIVE, STOPS
from windlass.engine.tree import before, input_of, turn_position
from windlass.policies.chain import reason
from windlass.stores.base import Store


async def begin(drive: Drive) -> bool:
    """Make the first step of a turn that has its time; returns False if it has not, and the run was given up."""
    record, store = drive.journal.record, drive.services.store
    if drive.leaving or not record.turn:
        return True
    names, place = names_of(record), place_of(record)
    if record.continues:  # whoever wants all turns in front to stop may not have seen this one
        later = await store.find(queries.Turns(**names, above=place, live=True, limit=MOST_LIVE))
        if any(one.on_busy in STOPS for one in later):
            drive.leaving = "cancel"
            return True
    if await held_up(store, record):
        return await _give_up(drive)
    if await store.find(queries.Turns(**names, below=place, live=True, limit=1)):
        return await _give_up(drive)
    base = await _base(store, record)
    try:
        step, position = await _first_step(drive, base)
    except StoreError:
        raise
    except WindlassError as error:
        fail(drive, "", failures.describe(error), reason(error))
        return True
    crashpoint("thread.begin")
    return await _write(drive, base, position, step)


async def _first_step(drive: Drive, base: r.RunRecord | None) -> tuple[Step, Position]:
    """Work out a turn's first step, and the position that it is made upon."""
    journal, blueprint, store = drive.journal, drive.blueprint, drive.services.store
    kept = await input_of(store, drive.run)
    await bring(journal, *kept.values())
    codec = blueprint.codec
    writes = {name: codec.decode(bytes(raw), journal.blob, trusted=True) for name, raw in kept.items()}
    position = drive.position
    if base is not None and not journal.record.continues and blueprint.kind == "graph":
        position = load(await store.load(base.id))
        journal.blobs.update(await reads.with_blobs(store, position))
        position = fitted(turn_position(position, drive.run), journal.record)
    has_state = any(channel.version for channel in position.channels.values())
    make = go_on if has_state else initiate
    return make(blueprint, position, writes, journal.blob), position


def fitted(position: Position, record: r.RunRecord) -> Position:
    """Let a state that another version of the definition has left fit this one: channels come and go.

    Raises:
        DefinitionChanged: a channel is kept in another way now.
    """
    was = {name: channel.kind for name, channel in position.channels.items()}
    position.kinds = by_place(record.channels)
    own = position.kinds[""]  # a turn begins without a sub-graph under way
    for name, kind in was.items():
        if own.get(name, kind) != kind:
            said = f"channel {name} was kept as {kind} by the turn before, and is {own[name]} now"
            raise DefinitionChanged(f"run {record.id}: {said}", hint="name the channel anew, or begin another thread")
    for name in was.keys() - own.keys():
        position.total = (position.total - position.channels.pop(name).mark) % (1 << 256)
    for name in own.keys() - was.keys():
        position.channels[name] = Channel(name, own[name])
    position.ephemeral = tuple(name for name, kind in own.items() if kind == "ephemeral")
    return position


async def _write(drive: Drive, base: r.RunRecord | None, position: Position, step: Step) -> bool:
    journal, record = drive.journal, drive.journal.record
    after = base.id if base is not None else record.continues
    journal.say("run.begun", turn=record.turn, part=record.part, after=after)
    first, seq = [], 0
    if position is not drive.position:  # it is made from what the base left: that must still be so
        journal.branch(position, position.branch)
        drive.position = position
        first = [journal.compose("record", None, (), (), CREATED, None, release=False)]
        seq = base.head.seq if base is not None else 0
    journal.change(TurnBegun(after, seq))
    write = journal.compose("step", step, (), (), RUNNING, None, release=False)
    try:
        await journal.send((*first, write))
    except OutOfTurn:
        return await _give_up(drive)
    crashpoint("thread.begun")
    drive.ready.extend(planned.address for planned in step.planned)
    check_begin(drive)
    return True


async def _give_up(drive: Drive) -> bool:
    """Release a turn that has to wait."""
    drive.over = True
    await drive.services.store.release(drive.run, drive.journal.record.epoch)
    return False


async def _base(store: Store, record: r.RunRecord) -> r.RunRecord | None:
    """Return the run whose state a turn begins with, if there is one."""
    earlier = await before(store, record)
    return earlier[-1] if earlier and has_begun(earlier[-1]) else None


async def held_up(store: Store, record: r.RunRecord) -> str:
    """Name a run before a turn that is over and was asked to go on; empty if there is none.

    Nobody else may come by to see to it: a run that has ended has no work.
    """
    ids = [one.id for one in await before(store, record)] + [record.continues] * bool(record.continues)
    for run in ids:
        asked = await store.find(queries.Commands(run=run))
        if any(map(is_reopening, asked)):
            return run
    return ""


async def is_due(store: Store, record: r.RunRecord) -> bool:
    """Say whether there is a reason to claim a turn that has not begun; of one that is owned, its owner says so."""
    if record.owner is not None:
        return True
    if not await store.find(queries.Runs(ids=(record.id,), claimable=True)):
        return False
    return bool(await store.find(queries.Commands(run=record.id))) or not await held_up(store, record)


async def front(store: Store, record: r.RunRecord) -> r.RunRecord:
    """Return the turn that a run waits for: the first live one of its thread; itself if it waits for none."""
    if not is_queued(record):
        return record
    live = await store.find(queries.Turns(**names_of(record), below=place_of(record), live=True, limit=1))
    return live[0] if live else record
