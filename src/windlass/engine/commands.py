"""Taking commands: what was posted from outside becomes part of the run's log, by the hand of its owner (D1)."""

import msgspec
from msgspec import Raw

from windlass.core import changes, ops, queries
from windlass.core import records as r
from windlass.core.errors import WindlassError
from windlass.core.states import CANCELLED, COMPLETED, FAILED, PAUSED, RUNNING
from windlass.core.types import convert
from windlass.engine.activation import NOTHING, Activation, Outcome
from windlass.engine.dead import is_collected
from windlass.engine.deadlines import passed_on, ring
from windlass.engine.doubts import KINDS, answered, is_doubtful
from windlass.engine.drive import Drive
from windlass.engine.edges import raised
from windlass.engine.entry import freshen
from windlass.engine.execute import keep_writes
from windlass.engine.initiate import edit
from windlass.engine.inputs import split, unpacked
from windlass.engine.kin import heard, is_decided, resume
from windlass.engine.redacting import notice

MOST_LETTERS = 1_000


async def take(drive: Drive) -> None:
    """Consume the commands that wait for the run.

    An answer takes effect at once. Pause, cancel and rollback only say why nothing new is launched; they are consumed
    in the write that ends the drive, so that a crash before it leaves them posted.
    """
    wrote = await ring(drive)
    commands = await drive.services.store.find(queries.Commands(run=drive.run))
    fresh = [command for command in commands if command.id not in drive.seen]
    if not fresh and not wrote and drive.journal.head.status not in (PAUSED, FAILED):
        return
    for command in fresh:
        drive.seen.add(command.id)
        taken = changes.CommandTaken(command.id)
        if command.verb in ENDING:
            drive.journal.at_release.append(taken)
        else:
            drive.journal.change(taken)
        wrote |= await TAKE[command.verb](drive, command)
    if wrote:
        await drive.journal.write("record", status=None if drive.leaving == "stay" else RUNNING)
    for address in drive.answered:  # now that all answers that came together are folded
        if address not in drive.ready and not is_doubtful(drive.position.pending.get(address, NOTHING)):
            drive.ready.append(address)
    drive.answered.clear()
    hear_of_ends(drive)


async def hurry(drive: Drive) -> None:
    """Stop what runs in the drive's own task if a command asks for it; the drive itself takes the command then."""
    for command in await drive.services.store.find(queries.Commands(run=drive.run)):
        if command.id in drive.seen:
            continue
        if command.verb in ("cancel", "rollback") or (command.verb == "pause" and command.arguments.get("immediate")):
            drive.stop_all(command.verb)


async def _answer(drive: Drive, command: r.Command) -> bool:
    found = await drive.services.store.find(queries.Questions(ids=(command.arguments["question"],), statuses=None))
    if not found or found[0].status != "answered":
        return False
    asked, address = found[0], found[0].address
    expired = str(command.arguments.get("expired") or "")
    status = "expired" if expired else "taken"
    kept = drive.blueprint.codec.mask(bytes(asked.answer), "answer")  # who answered may know no definition
    value = Raw(notice(kept))
    drive.journal.change(changes.QuestionPut(msgspec.structs.replace(asked, status=status, answer=value)))
    pending = drive.position.pending.get(address)
    if pending is None or asked.key not in pending.asked:
        return True  # the branch that asked is gone
    context = command.arguments.get("context") or {}
    drive.journal.note(ops.QuestionAnswered(address, asked.key, asked.id, value, asked.by, expired, context))
    if asked.key.startswith(KINDS):
        drive.journal.note(*answered(drive.journal, drive.ledger, pending, asked, await _happening(drive, asked)))
    if asked.key.startswith("escalate|"):
        _take_output(drive, address, bytes(value))
        return True
    if asked.key.startswith("budget|") and asked.key.rpartition("|")[2].startswith("run"):
        await raised(drive, asked.key, asked.id, bytes(value))
        drive.answered.append(address)
        return True
    running = drive.running.get(address)
    if running is None or running.stopping:
        drive.answered.append(address)
        return True
    await drive.journal.write("record", status=RUNNING)
    waiter = running.waits.get(asked.key)
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
    return False


async def _happening(drive: Drive, asked: r.Question) -> list[r.Effect]:
    """Find the run's lines of the effect whose undo is asked about."""
    kind, key = asked.key.split("|")[:2]
    if kind != "undo":
        return []
    lines = await drive.services.store.find(queries.Effects(run=drive.run, address=asked.address))
    return [line for line in lines if line.effect_key == key]


def _take_output(drive: Drive, address: str, value: bytes) -> None:
    """Take a person's answer as the output of an activation that was escalated."""
    activation = Activation(
        drive.services,
        drive.blueprint,
        drive.journal,
        drive.ledger,
        drive.guard,
        drive.position.at(address).waiting[address],
    )
    node = activation.node
    try:
        shape = node.returns if node.output is not None else dict
        finished, known = keep_writes(
            activation, convert(drive.blueprint.codec.decode(value, trusted=True), shape, "answer")
        )
    except WindlassError as error:
        drive.journal.say("policy.clamped", address, proposed="escalate", why=str(error))
        return
    drive.resting.pop(address, None)
    drive.done.append(Outcome(activation, finished, known))


def _is_final(drive: Drive) -> bool:
    """The run ended before the command came: the first durable end wins, and the command falls away."""
    return drive.leaving == "stay" and drive.journal.head.status in (COMPLETED, CANCELLED)


async def _pause(drive: Drive, command: r.Command) -> bool:
    if _is_final(drive):
        return False
    if drive.leaving in ("", "stay"):
        drive.leaving = "pause"
    if command.arguments.get("immediate"):
        drive.stop_all("pause")
    return False


async def _cancel(drive: Drive, command: r.Command) -> bool:
    if _is_final(drive):
        return False
    if command.arguments.get("cascade"):
        drive.journal.farewell = None  # its parent knows
    drive.leaving = "cancel"
    drive.stop_all("cancel")
    return False


async def _rollback(drive: Drive, command: r.Command) -> bool:
    drive.leaving = "rollback"
    drive.rollback = {**command.arguments, "id": command.id}
    drive.stop_all("rollback")
    return False


async def _resume(drive: Drive, command: r.Command) -> bool:
    if _is_final(drive):
        return False
    position = drive.position
    if drive.leaving in ("pause", "stay"):
        drive.leaving = ""
    drive.journal.say("run.resumed", by=command.by)
    if drive.journal.head.status is PAUSED:
        resume(drive.journal)
    if drive.journal.head.status is FAILED:
        await _retried(drive, command.by)
    for address, pending in position.pending.items():
        if position.waits(address) and pending.is_failed:
            drive.journal.note(ops.AttemptsReset(address))
            if is_doubtful(pending):
                drive.resting[address] = "waits"  # a person has yet to say whether its effect happened
                continue
            drive.resting.pop(address, None)
            drive.ready.append(address)
    drive.failure = drive.burial = None
    typed = unpacked(drive.blueprint, command.arguments)
    if typed and (path := split(drive.blueprint, typed)[0]) and not position.is_open(path):
        why = f"{path} is not under way"  # any more
        drive.journal.say("edit.refused", channels=sorted(typed), by=command.by, why="", error=why)
    elif typed:
        step = edit(drive.blueprint, position, typed, drive.journal.blob)
        drive.journal.say("run.edited", channels=sorted(typed), by=command.by)
        await drive.journal.write("step", step=step, status=RUNNING)
        drive.ready.extend(planned.address for planned in step.planned)
    return True


async def _child(drive: Drive, command: r.Command) -> bool:
    """Take the end of a child run. What belongs to a branch that is gone, or was heard before, changes nothing."""
    told = command.arguments
    address, key, status = told["address"], told["key"], told["status"]
    child = drive.position.pending.get(address, NOTHING).children.get(key)
    if child is None or child.id != told["child"]:
        return False
    codec = drive.services.nest.codec_of(child.definition, drive.blueprint)
    end = heard(ops.ChildEnded(address, key, child.id, status), told, codec)
    status = end.op.status
    is_told = (address, key) in drive.ended and status != COMPLETED  # by a command before this one
    is_better = child.is_stale and child.status != COMPLETED and status == COMPLETED  # somebody mended and resumed it
    if is_told or not (child.is_open or is_better):
        return False
    drive.journal.keep(end.blobs)
    drive.journal.note(end.op)
    drive.ended.append((address, key))
    return True


def hear_of_ends(drive: Drive) -> None:
    """Let activations go on that waited for children whose ends are folded by now."""
    ended, drive.ended = drive.ended, []
    for address, key in ended:
        pending = drive.position.pending.get(address)
        if pending is None or not is_decided(pending, key):
            continue
        running = drive.running.get(address)
        if (running is None or running.stopping) and address not in drive.ready and not is_doubtful(pending):
            drive.ready.append(address)
        for what, waiter in running.waits.items() if running is not None else ():
            if what.startswith(("child|", "group|")) and not waiter.done():
                waiter.set_result(None)


async def _retried(drive: Drive, by: str) -> None:
    """Note on the run's open letters that what they tell of is tried again."""
    for letter in await drive.services.store.find(queries.Letters(run=drive.run, limit=MOST_LETTERS)):
        if not is_collected(letter):
            drive.journal.change(changes.LetterPut(msgspec.structs.replace(letter, status="retried", by=by)))


async def _edit(drive: Drive, command: r.Command) -> bool:
    """Set channels as a reviewer asked; what cannot be set here any more is refused, and told."""
    if _is_final(drive):
        return False
    arguments, channels = command.arguments, sorted(command.arguments.get("edits") or ())
    by, why, overwrite = command.by, str(arguments.get("why") or ""), bool(arguments.get("overwrite"))
    try:
        typed = unpacked(drive.blueprint, arguments)
        step = edit(drive.blueprint, drive.position, typed, drive.journal.blob, overwrite=overwrite)
    except WindlassError as error:
        drive.journal.say("edit.refused", channels=channels, by=by, why=why, error=str(error))
        return True
    drive.journal.say("run.edited", channels=channels, by=by, why=why, overwrite=overwrite)
    await drive.journal.write("step", step=step, status=None if drive.leaving == "stay" else RUNNING)
    drive.ready.extend(planned.address for planned in step.planned)
    freshen(drive)
    return False


ENDING = ("pause", "cancel", "rollback")
TAKE = {
    "answer": _answer, "escalate": passed_on, "edit": _edit, "pause": _pause, "cancel": _cancel, "rollback": _rollback,
    "resume": _resume, "child": _child,
}  # fmt: skip
