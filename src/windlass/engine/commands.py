"""Taking commands: what was posted from outside becomes part of the run's log, by the hand of its owner (D1)."""

from collections.abc import Callable
from typing import NamedTuple

import msgspec
from msgspec import Raw

from windlass.core import changes, ops, queries
from windlass.core import records as r
from windlass.core.errors import RunState, WindlassError
from windlass.core.letters import DeadLetter
from windlass.core.states import CANCELLED, COMPLETED, CREATED, FAILED, PAUSED, RUNNING, Status
from windlass.core.types import convert
from windlass.engine.activation import NOTHING, Outcome
from windlass.engine.continued import next_of
from windlass.engine.dead import is_collected
from windlass.engine.deadlines import passed_on, ring
from windlass.engine.doubts import KINDS, answered, is_doubtful
from windlass.engine.drive import Drive
from windlass.engine.edges import is_of_budget, raised, raising
from windlass.engine.entry import freshen
from windlass.engine.execute import keep_writes
from windlass.engine.initiate import edit
from windlass.engine.inputs import unpacked
from windlass.engine.kin import heard, is_decided, resume
from windlass.engine.reconcile import Step
from windlass.engine.redacting import notice
from windlass.engine.signals import give

MOST_LETTERS = 1_000


class Found(NamedTuple):
    """What the store says about a command, asked before anything of it is put into a write."""

    asked: r.Question | None = None
    happening: tuple[r.Effect, ...] = ()  # the run's lines of the effect whose undo is asked about
    raising: tuple[int, changes.Adjust | None] = (0, None)  # of a budget that a person has let have more
    letters: tuple[DeadLetter, ...] = ()  # what is tried again
    continued: str = ""  # the run that a completed one goes on as


NOTHING_FOUND = Found()


async def take(drive: Drive) -> None:
    """Consume the commands that wait for the run.

    An answer takes effect at once. Pause, cancel and rollback only say why nothing new is launched; they are consumed
    in the write that ends the drive, so that a crash before it leaves them posted. Of every other command the mark that
    it was taken and all that follows from it are put aside together, with nothing awaited in between: whatever write
    goes out next carries both, or neither.
    """
    wrote = await ring(drive)
    commands = await drive.services.store.find(queries.Commands(run=drive.run))
    fresh = [command for command in commands if command.id not in drive.seen]
    if not fresh and not wrote and drive.journal.head.status not in (PAUSED, FAILED):
        hear_of_answers(drive)  # of what was given back
        return
    for command in fresh:
        drive.seen.add(command.id)
        found = await LOOK[command.verb](drive, command) if command.verb in LOOK else NOTHING_FOUND
        taken = changes.CommandTaken(command.id)
        if command.verb in ENDING:
            drive.journal.at_release.append(taken)
        else:
            drive.journal.change(taken)
        came = TAKE[command.verb](drive, command, found)
        if isinstance(came, Step):
            await drive.journal.write("step", step=came, status=_status(drive))
            drive.ready.extend(planned.address for planned in came.planned)
            freshen(drive)
        else:
            wrote |= came
    if wrote:
        await drive.journal.write("record", status=_status(drive))
    hear_of_answers(drive)
    hear_of_ends(drive)


def _status(drive: Drive) -> Status | None:
    is_final = drive.journal.head.status in (COMPLETED, CANCELLED)  # only the write that rolls it back leads out of it
    going = RUNNING if drive.position.n else CREATED  # or it is a turn that has not begun
    return None if drive.leaving or is_final else going  # as it leaves, it does not go on


async def hurry(drive: Drive) -> None:
    """Stop what runs in the drive's own task if a command asks for it; the drive itself takes the command then."""
    for command in await drive.services.store.find(queries.Commands(run=drive.run)):
        if command.id in drive.seen:
            continue
        if command.verb in ("cancel", "rollback") or (command.verb == "pause" and command.arguments.get("immediate")):
            drive.stop_all(command.verb)


async def _look_at_answer(drive: Drive, command: r.Command) -> Found:
    """Find the question that was answered, and what its answer changes beside it."""
    found = await drive.services.store.find(queries.Questions(ids=(command.arguments["question"],), statuses=None))
    if not found or found[0].status != "answered":
        return NOTHING_FOUND
    asked = found[0]
    if asked.key.startswith("undo|"):
        lines = await drive.services.store.find(queries.Effects(run=drive.run, address=asked.address))
        key = asked.key.split("|")[1]
        return Found(asked, happening=tuple(line for line in lines if line.effect_key == key))
    if is_of_budget(asked.key):
        return Found(asked, raising=await raising(drive, asked.key, asked.id, bytes(_kept(drive, asked))))
    return Found(asked)


def _kept(drive: Drive, asked: r.Question) -> Raw:
    """Mask an answer: who gave it may know no definition."""
    return Raw(notice(drive.blueprint.codec.mask(bytes(asked.answer), "answer")))


def _answer(drive: Drive, command: r.Command, found: Found) -> bool:
    asked = found.asked
    if asked is None:
        return False
    address = asked.address
    expired = str(command.arguments.get("expired") or "")
    status = "expired" if expired else "taken"
    value = _kept(drive, asked)
    drive.journal.change(changes.QuestionPut(msgspec.structs.replace(asked, status=status, answer=value)))
    pending = drive.position.pending.get(address)
    if pending is None or asked.key not in pending.asked:
        return True  # the branch that asked is gone
    context = command.arguments.get("context") or {}
    drive.journal.note(ops.QuestionAnswered(address, asked.key, asked.id, value, asked.by, expired, context))
    if asked.key.startswith(KINDS):
        drive.journal.note(*answered(drive.journal, drive.ledger, pending, asked, list(found.happening)))
    if asked.key.startswith("escalate|"):
        _take_output(drive, address, bytes(value))
        return True
    if is_of_budget(asked.key):
        raised(drive, asked.key, found.raising)
    drive.answered.append((address, asked.key))
    return True


def hear_of_answers(drive: Drive) -> None:
    """Let activations go on whose answers are folded by now: all that came together."""
    answers, drive.answered = drive.answered, []
    for address, key in answers:
        drive.go_on(address, key)


def _take_output(drive: Drive, address: str, value: bytes) -> None:
    """Take a person's answer as the output of an activation that was escalated."""
    activation = drive.activation(address)
    node = activation.node
    try:
        shape = node.returns if node.output is not None else dict
        finished, known = keep_writes(
            activation, convert(drive.blueprint.codec.decode(value, trusted=True), shape, "answer")
        )
    except WindlassError as error:
        drive.journal.say("policy.clamped", address, proposed="escalate", why=str(error))
        failure = activation.pending.failure
        drive.failure = drive.failure or (None if failure is None else (address, failure))  # nobody is asked any more
        return
    drive.resting.pop(address, None)
    drive.done.append(Outcome(activation, finished, known))


def _is_final(drive: Drive) -> bool:
    """The run ended before the command came: the first durable end wins, and the command falls away."""
    return drive.leaving == "stay" and drive.journal.head.status in (COMPLETED, CANCELLED)


def _pause(drive: Drive, command: r.Command, _: Found) -> bool:
    if _is_final(drive):
        return False
    if drive.leaving in ("", "stay"):
        drive.leaving = "pause"
    if command.arguments.get("immediate"):
        drive.stop_all("pause")
    return False


def _cancel(drive: Drive, command: r.Command, _: Found) -> bool:
    if _is_final(drive):
        return False
    if command.arguments.get("cascade"):
        drive.journal.farewell = None  # its parent knows
    drive.leaving = "cancel"
    drive.stop_all("cancel")
    return False


async def _look_at_next(drive: Drive, _: r.Command) -> Found:
    if drive.journal.head.status is not COMPLETED:
        return NOTHING_FOUND
    return Found(continued=await next_of(drive.services.store, drive.journal.record))


def _rollback(drive: Drive, command: r.Command, found: Found) -> bool:
    if _is_final(drive) and (command.arguments.get("over") or found.continued):
        return False
    drive.leaving = "rollback" if drive.position.n else "cancel"
    drive.rollback = {**command.arguments, "id": command.id}
    drive.stop_all("rollback")
    return False


async def _look_at_letters(drive: Drive, _: r.Command) -> Found:
    if drive.journal.head.status is not FAILED:
        return NOTHING_FOUND
    return Found(letters=tuple(await drive.services.store.find(queries.Letters(run=drive.run, limit=MOST_LETTERS))))


def _signal(drive: Drive, command: r.Command, _: Found) -> bool:
    """Take a signal into the log, whatever the run's state, and give it to whoever waits for its name."""
    name, data = str(command.arguments["name"]), msgspec.json.encode(command.arguments.get("value"))
    value = Raw(notice(drive.blueprint.codec.mask(data, "signal")))
    signal = ops.SignalReceived(command.id, name, value, command.by)
    drive.journal.note(signal)
    give(drive, signal)
    return True


def _resume(drive: Drive, command: r.Command, found: Found) -> bool | Step:
    if _is_final(drive):
        return False
    position = drive.position
    if drive.leaving in ("pause", "stay"):
        drive.leaving = ""
    drive.journal.say("run.resumed", by=command.by)
    if drive.journal.head.status is PAUSED:
        resume(drive.journal)
    for letter in found.letters:
        if not is_collected(letter):
            again = msgspec.structs.replace(letter, status="retried", by=command.by)
            drive.journal.change(changes.LetterPut(again))
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
    if not typed or not position.n:
        return True
    if (path := drive.blueprint.of_edits(typed)[0]) and not position.is_open(path):
        why = f"{path} is not under way"  # any more
        drive.journal.say("edit.refused", channels=sorted(typed), by=command.by, why="", error=why)
        return True
    drive.journal.say("run.edited", channels=sorted(typed), by=command.by)
    return edit(drive.blueprint, position, typed, drive.journal.blob)


def _child(drive: Drive, command: r.Command, _: Found) -> bool:
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
        if pending is not None and is_decided(pending, key):
            drive.go_on(address, "child|", "group|")


def _edit(drive: Drive, command: r.Command, _: Found) -> bool | Step:
    """Set channels as a reviewer asked; what cannot be set here any more is refused, and told."""
    if _is_final(drive):
        return False
    arguments, channels = command.arguments, sorted(command.arguments.get("edits") or ())
    by, why, overwrite = command.by, str(arguments.get("why") or ""), bool(arguments.get("overwrite"))
    try:
        typed = unpacked(drive.blueprint, arguments)
        if not drive.position.n:
            raise RunState(f"run {drive.run} has not begun")
        step = edit(drive.blueprint, drive.position, typed, drive.journal.blob, overwrite=overwrite)
    except WindlassError as error:
        drive.journal.say("edit.refused", channels=channels, by=by, why=why, error=str(error))
        return True
    drive.journal.say("run.edited", channels=channels, by=by, why=why, overwrite=overwrite)
    return step


ENDING = ("pause", "cancel", "rollback")
LOOK = {"answer": _look_at_answer, "resume": _look_at_letters, "rollback": _look_at_next}
TAKE: dict[str, Callable[[Drive, r.Command, Found], bool | Step]] = {
    "answer": _answer, "escalate": lambda drive, command, _: passed_on(drive, command), "edit": _edit,
    "pause": _pause, "cancel": _cancel, "rollback": _rollback, "resume": _resume, "child": _child,
    "signal": _signal,
}  # fmt: skip
