"""Taking a run over: what its last owner left, who died, what is in doubt, and what may run."""

from windlass.core import queries
from windlass.core.ops import Failure
from windlass.core.pending import Pending
from windlass.core.position import place
from windlass.core.states import ENDED, FAILED, PAUSED, RUNNING, WAITING
from windlass.engine import escalated
from windlass.engine.activation import NOTHING
from windlass.engine.dead import bury
from windlass.engine.doubts import doubts, is_doubtful
from windlass.engine.drive import Drive
from windlass.engine.failures import proposed

MOST_CRASHES = 3  # owners that died in a row without a step between: the run is poison (D6)


async def enter(drive: Drive) -> None:
    """Take the run over: count crashes, put effects in doubt to a person, make what may run ready."""
    record, position = drive.journal.record, drive.position
    if drive.has_streams:
        items = await drive.services.store.find(queries.Items(run=drive.run))
        drive.items.load(items, dict.fromkeys(position.open(), 1))
    if record.owner is not None:
        crashes = drive.journal.head.crashes + 1
        drive.journal.count_crash(crashes)
        drive.journal.say("lease.taken_over", owner=record.owner.id, crashes=crashes)
        if crashes >= MOST_CRASHES and record.head.status not in ENDED:  # or it is being rolled back
            said = f"{crashes} owners died in a row at {', '.join(position.open())}"
            bury(drive, "", Failure("Poison", said, "run.poison"), "poison")
            await drive.end(FAILED, "run.failed", failure={"kind": "Poison", "message": said, "code": "run.poison"})
            return
    changed = [
        name for name, digest in record.sources.items()
        if (node := drive.blueprint.node(name)) is not None and node.source_digest != digest
    ]  # fmt: skip
    if changed and (record.owner is not None or drive.leaving):
        drive.journal.say("definition.code_changed", nodes=changed)
    _age(drive, changed)
    clean = record.head.status in (WAITING, PAUSED, FAILED)
    asked = [op for pending in position.pending.values() for op in doubts(drive.journal, pending)]
    drive.journal.note(*asked)
    doubtful = {op.address for op in asked}
    _look_at_failures(drive)
    drive.whole += [path for path, frame in position.frames.items() if frame.is_whole and position.waits(path)]
    for address in position.open():
        pending = position.pending.get(address, NOTHING)
        rests = address in doubtful or is_doubtful(pending) or pending.is_failed
        if rests or (clean and _is_blocked(drive, pending)):
            drive.resting[address] = "retry" if (pending.due_at or 0) > drive.clock.now() else "waits"
        else:
            drive.ready.append(address)
            drive.tell_fired(address)
    if record.owner is not None or asked:
        stays = drive.leaving or not position.n  # or it is a turn that has not begun
        await drive.journal.write("record", status=drive.journal.head.status if stays else RUNNING)


def _look_at_failures(drive: Drive) -> None:
    """Let the run fail, or do what `recover` proposed, for what has no attempt left and no answer stands in for."""
    for address, pending in drive.position.pending.items():
        if pending.failure is None or not (pending.is_failed and drive.position.waits(address)):
            continue
        if pending.rollback and not drive.leaving:
            drive.leaving, drive.rollback = "rollback", proposed(address, pending.attempts, pending.rollback)
        if key := escalated.standing(pending):
            drive.answered.append((address, key))
        elif not escalated.is_open(pending):
            drive.failure = drive.failure or (address, pending.failure)


def _age(drive: Drive, changed: list[str]) -> None:
    """Note on open questions that they were asked by other code: what asks no longer, they are withdrawn."""
    for address, pending in drive.position.pending.items():
        if place(address) in changed:
            pending.age()


def freshen(drive: Drive) -> None:
    """Make ready what waits for people and began before the state was edited: it may ask something else now."""
    for address, pending in drive.position.pending.items():
        waits = drive.resting.get(address) == "waits" or (address in drive.running and drive.running[address].stopping)
        if waits and pending.stale and not (pending.is_failed or is_doubtful(pending)):
            drive.ready.append(address)


def _is_blocked(drive: Drive, pending: Pending) -> bool:
    """It can do nothing new: it failed, its retry or timer is not due, or what it waits for is open."""
    now = drive.clock.now()
    if pending.is_failed or (pending.due_at or 0) > now:
        return True
    if _has_yet_to_begin(drive, pending):
        return False  # whatever its last attempt had open
    late = any(due > now and due not in pending.fired for due in pending.timers.values())
    waits = bool(pending.open_questions or pending.open_children or pending.open_signals)
    return late or (waits and not pending.stale)


def _has_yet_to_begin(drive: Drive, pending: Pending) -> bool:
    """Say whether a retry that is due rested when the run was left: one that had begun was due before it parked."""
    head = drive.journal.head
    if pending.due_at is None or head.status is not WAITING:
        return pending.due_at is not None
    return head.due_at is not None and pending.due_at >= head.due_at
