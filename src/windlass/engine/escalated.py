"""Escalated activations: no attempt is left, and somebody is asked for the output instead.

While that question is open the activation waits, whatever else comes for the run; a resume leaves it waiting, too. The
answer is part of the log before anything follows from it. So it becomes the output even if a process died in between,
and of a run that is paused or has failed only once that is resumed.
"""

from typing import Any

import msgspec

from windlass.core import ops
from windlass.core import records as r
from windlass.core.asked import asked_schema
from windlass.core.errors import InputError, WindlassError
from windlass.core.pending import Pending
from windlass.core.types import convert
from windlass.engine.activation import NOTHING, Activation, Outcome
from windlass.engine.drive import Drive
from windlass.engine.execute import keep_writes
from windlass.engine.questions import question
from windlass.engine.terms import again, target

BEGINS = "escalate|"  # how the keys of these questions begin
REFUSED = "\n(the last answer was refused"


def put(drive: Drive, activation: Activation, failure: ops.Failure, to: str) -> None:
    """Ask for the output of an activation that failed; it waits from then on."""
    address, pending = activation.address, activation.pending
    key = _next(pending, f"{BEGINS}{activation.attempt}|{pending.resets}.")
    prompt = f"{address} failed: {failure.message}. What is its output?"
    terms, about = _put_to(drive, address, to), {"failure": msgspec.to_builtins(failure)}
    asked = question(drive.journal, address, key, prompt, _shape(activation.node), about, terms)
    drive.journal.note(asked)
    if terms.to.startswith("definition:"):
        drive.escalated.append(asked.id)
    drive.resting[address] = "waits"


def _next(pending: Pending, start: str) -> str:
    """Name a question: another for each attempt, each resume, and each answer that was refused."""
    return f"{start}{sum(key.startswith(start) for key in pending.asked)}"


def _put_to(drive: Drive, address: str, to: str) -> ops.Terms:
    """Read who is asked; a name that is nobody's leaves the question to anybody."""
    try:
        return ops.Terms(to=target(to)) if to else ops.NO_TERMS
    except InputError as error:
        drive.journal.say("policy.clamped", address, proposed="escalate", why=str(error))
        return ops.NO_TERMS


def _shape(node: Any) -> Any:
    return asked_schema(node.returns) if node.output is not None else {"type": "object"}


def is_open(pending: Pending) -> bool:
    """Say whether an activation that failed waits for what it is to be instead."""
    return pending.is_failed and any(key.startswith(BEGINS) for key in pending.asked if key not in pending.answers)


def standing(pending: Pending) -> str:
    """Name the answer that an activation has got for its output; empty if it has none, or is asked again."""
    if not pending.is_failed or is_open(pending):
        return ""
    round_ = f"{BEGINS}{pending.attempts}"  # all of the key, as older code has named it
    found = [key for key in pending.answers if key == round_ or key.startswith(f"{round_}|{pending.resets}.")]
    return found[-1] if found else ""


def stand_in(drive: Drive, address: str) -> bool:
    """Take the answer that an activation has got as its output; False if it has none that can be."""
    pending = drive.position.pending.get(address, NOTHING)
    key = standing(pending)
    if not key or any(outcome.activation.address == address for outcome in drive.done):
        return bool(key)
    try:
        outcome = _outcome(drive, address, bytes(pending.answers[key]))
    except WindlassError as error:
        drive.journal.say("policy.clamped", address, proposed="escalate", why=str(error))
        return False
    drive.resting.pop(address, None)
    drive.done.append(outcome)
    return True


def _outcome(drive: Drive, address: str, value: bytes) -> Outcome:
    activation = drive.activation(address)
    shape = activation.node.returns if activation.node.output is not None else dict
    answer = convert(activation.blueprint.codec.decode(value, trusted=True), shape, "answer")
    return Outcome(activation, *keep_writes(activation, answer))


def ask_again(drive: Drive, asked: r.Question, value: bytes) -> None:
    """Ask again, in the write that takes an answer, if that cannot be the output: a definition is not asked twice."""
    address = asked.address
    pending = drive.position.pending.get(address, NOTHING)
    if not pending.is_failed:
        return
    try:
        _outcome(drive, address, value)
    except WindlassError as error:
        terms = again(asked.terms, drive.clock.now())
        prompt = f"{asked.prompt.partition(REFUSED)[0]}{REFUSED}: {error})"
        key = _next(pending, f"{BEGINS}{pending.attempts}|{pending.resets}.")
        schema = msgspec.json.decode(asked.schema)
        drive.journal.note(question(drive.journal, address, key, prompt, schema, asked.about, terms))


def go_on(drive: Drive, address: str) -> None:
    """Let an activation go on whose answer is folded by now, unless the drive leaves: whoever resumes the run does."""
    if not drive.leaving and not stand_in(drive, address):
        pending = drive.position.pending.get(address, NOTHING)
        if pending.failure is not None and pending.is_failed and not is_open(pending):
            drive.failure = drive.failure or (address, pending.failure)
