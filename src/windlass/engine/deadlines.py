"""The clocks of questions: reminders, and deadlines with what was declared for them.

A deadline is an answer that the clock gives. The run's owner posts it as people post theirs, so the store lets in the
first of the two, and it becomes part of the log in the write that takes it. A process that dies in between leaves the
command behind, and the next owner takes it.
"""

from contextlib import suppress
from typing import Any

import msgspec

from windlass.core import changes, queries
from windlass.core import records as r
from windlass.core.errors import AlreadyAnswered, QuestionUnknown
from windlass.core.ops import NULL, Terms
from windlass.core.pending import Pending
from windlass.engine.activation import Activation
from windlass.engine.drive import Drive
from windlass.engine.signals import unheard

BESIDE = ("doubt|", "stand|", "undo|", "budget|", "escalate|")  # keys of questions that no attempt has to reach
DEADLINE = "deadline"  # who answered, where it was the clock


async def ring(drive: Drive) -> bool:
    """Tell of reminders whose time has come, and answer in the clock's name; returns whether anything was told."""
    now, told = drive.clock.now(), False
    for address, pending in list(drive.position.pending.items()):
        for key, terms in list(pending.terms.items()):
            id_ = pending.asked.get(key, "")
            for due_at in [at for at in terms.remind if at <= now]:
                drive.journal.say("question.reminded", address, id=id_, due_at=due_at, to=terms.to)
                pending.terms[key] = msgspec.structs.replace(
                    pending.terms[key], remind=tuple(at for at in pending.terms[key].remind if at != due_at)
                )
                told = True
            if terms.due_at is not None and terms.due_at <= now and lapse_of(id_) not in drive.late:
                await _lapse(drive, pending, key, terms)
    return told


def lapse_of(id_: str) -> str:
    """Name the command by which a question's deadline is applied: there is one, whoever posts it."""
    return f"{id_}|{DEADLINE}"


async def _lapse(drive: Drive, pending: Pending, key: str, terms: Terms) -> None:
    id_ = pending.asked[key]
    arguments: dict[str, Any] = {"question": id_, "expired": terms.otherwise}
    if terms.otherwise == "escalate":
        verb, arguments["to"] = "escalate", terms.onward
    else:
        verb, arguments["value"] = "answer", terms.value if terms.otherwise == "value" else NULL
    command = r.Command(
        id=lapse_of(id_), run=drive.run, verb=verb, arguments=arguments, by=DEADLINE, at=drive.clock.now()
    )
    drive.late.add(command.id)
    with suppress(AlreadyAnswered, QuestionUnknown):  # somebody was first: that answer waits to be taken
        await drive.services.store.post(command)


def passed_on(drive: Drive, command: r.Command) -> bool:
    """Take the command that put a question to somebody else; the store has changed its row already."""
    arguments = command.arguments
    id_, to = str(arguments["question"]), str(arguments["to"])
    for address, pending in drive.position.pending.items():
        key = next((key for key, asked in pending.asked.items() if asked == id_), None)
        if key is None or key in pending.answers:
            continue
        why, expired = str(arguments.get("why") or ""), bool(arguments.get("expired"))
        drive.journal.say("question.escalated", address, id=id_, to=to, by=command.by, why=why, expired=expired)
        if to.startswith("definition:"):
            drive.escalated.append(id_)
        return True
    return False


async def leave_unasked(drive: Drive, activation: Activation, *, waits: bool) -> None:
    """Withdraw what an activation asked and does not listen for any more: it has finished, or asks something else.

    Args:
        waits: the attempt waits. What it did not come by it may ask yet, unless that was asked of another state or by
            other code, and this attempt did not ask it again.
    """
    pending = activation.pending
    pending.stale -= activation.reached
    unheard(drive, activation, waits=waits)
    ids = [
        id_ for key, id_ in pending.asked.items()
        if key not in pending.answers and (not waits or (key in pending.stale and not key.startswith(BESIDE)))
    ]  # fmt: skip
    for asked in await drive.services.store.find(queries.Questions(ids=tuple(ids))) if ids else ():
        drive.journal.change(changes.QuestionPut(msgspec.structs.replace(asked, status="withdrawn")))
        drive.journal.say("question.withdrawn", activation.address, id=asked.id)
