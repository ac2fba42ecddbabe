"""Dead letters: what ran out of attempts, budget or time, written with the row that says so.

A letter has all that is needed to look at the failure without its process, and to try again: which activation, what
it was given, how it failed, and what each policy decided.
"""

import re
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Raw

from windlass.core import ops
from windlass.core.changes import LetterPut
from windlass.core.errors import WindlassError
from windlass.core.letters import DeadLetter
from windlass.core.ops import NULL
from windlass.core.position import place
from windlass.engine.activation import NOTHING, Activation
from windlass.engine.drive import Drive
from windlass.engine.execute import gather_inputs
from windlass.policies.chain import Reason

MOST_INPUT = 64 << 10  # bytes of the input that a letter shows
COLLECTED = "collected: the run went on without it"
TAG = "dead_letter"  # of a run that was started on a letter: the letter's id
VARYING = re.compile(r"'[^']*'|\"[^\"]*\"|0x[0-9a-fA-F]+|\d+")


def bury(
    drive: Drive, address: str, failure: ops.Failure, reason: Reason, trail: Sequence[str] = (), *,
    activation: Activation | None = None, handler: str = "", note: str = "",
) -> None:  # fmt: skip
    """Put a dead letter into the run's next write."""
    record, position = drive.journal.record, drive.position
    pending = position.pending.get(address, NOTHING)
    attempts = activation.attempt if activation is not None else pending.attempts
    identity = f"{record.id}|{position.branch}|{address}|{attempts}|{failure.kind}|{position.seq}"
    handler = handler or drive.guard.rules.bounds.handler
    if record.id == run_of(record.tags.get(TAG, "")):
        handler = ""  # it handles a letter itself: two that fail on each other's letters would go on for ever
    letter = DeadLetter(
        id=sha256(identity.encode()).hexdigest()[:16], run=record.id, tenant=record.tenant,
        definition=record.definition, fingerprint=record.fingerprint, address=address,
        node=place(address), reason=reason, attempts=attempts, failure=failure,
        pattern=pattern(failure), input=_input(activation), branch=position.branch, n=position.n,
        trail=(*pending.trail, *trail), at=drive.clock.now(), tags=record.tags, note=note, handler=handler,
    )  # fmt: skip
    drive.journal.change(LetterPut(letter))
    if handler:
        drive.buried.append(letter.id)
    drive.journal.say("dead_letter.made", address, id=letter.id, reason=reason, pattern=letter.pattern, handler=handler)


def fail(
    drive: Drive, address: str, failure: ops.Failure, reason: Reason, trail: Sequence[str] = (), *,
    activation: Activation | None = None, handler: str = "",
) -> None:  # fmt: skip
    """Let the run fail once nothing executes any more, for this reason if there is no earlier one."""
    letter = partial(bury, drive, address, failure, reason, trail, activation=activation, handler=handler)
    if address:
        letter()
    else:  # nothing else is written of it before the row that ends the run: a crash until then leaves no trace
        drive.burial = drive.burial or letter
    drive.failure = drive.failure or (address, failure)
    drive.leaving = drive.leaving or "fail"


def run_of(letter: str) -> str:
    """Name the run that is started on a letter."""
    return f"dead-{letter}"


def is_collected(letter: DeadLetter) -> bool:
    """Say whether the run went on without what failed, so that resuming it does not try that again."""
    return letter.note.startswith(COLLECTED)


def pattern(failure: ops.Failure) -> str:
    """Digest what failures of one cause have in common: 16 hex digits.

    The kind, the innermost frame of the user's without its line, and the message without numbers and quoted parts.
    """
    frame = failure.frames[-1] if failure.frames else ""
    place = re.sub(r":\d+ in ", " in ", frame).rpartition("/")[2]
    said = f"{failure.kind}|{place}|{VARYING.sub('…', failure.message)}"
    return sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _input(activation: Activation | None) -> Raw:
    """Encode what the activation was given, as far as a person can be shown it."""
    if activation is None:
        return NULL
    try:
        values = gather_inputs(activation)
        given: dict[str, Any] = {
            param.name: value for param, value in zip(activation.node.params, values, strict=True)
            if param.kind not in ("context", "stream")
        }  # fmt: skip
        encoded = activation.blueprint.codec.encode(given, "input")
    except WindlassError as error:
        return Raw(msgspec.json.encode({"unreadable": str(error)}))
    if encoded.blobs or len(encoded.data) > MOST_INPUT:
        return Raw(msgspec.json.encode({"too large to show": len(encoded.data)}))
    return Raw(bytes(encoded.data))
