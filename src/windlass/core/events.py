"""What a run tells: every event, and how the rows of its log tell it.

An event is never written by itself: it is a pure reading of a row, so it exists exactly when its write is durable.
Stream items (progress, tokens, `activation.started`) are told at once and fall away; they have no `seq`.
docs/events.md describes each; a test compares it with `EVENTS`.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from windlass.core.ops import (
    AttemptFailed,
    AttemptsReset,
    CallRecorded,
    EffectCompleted,
    EffectInDoubt,
    EffectIntended,
    EffectLeft,
    EffectUndone,
    Op,
    QuestionAnswered,
    QuestionAsked,
    TimerSet,
    UndoIntended,
)
from windlass.core.records import BODY, Body, Item, Row, RowKind, addresses

EVENTS = {
    "run.created": "the run exists, with its input",
    "run.parked": "nothing executes; open questions or timers are left, no process is needed",
    "run.resumed": "a paused, failed or interrupted run goes on",
    "run.paused": "the run stopped at a boundary because someone asked",
    "run.completed": "nothing is left to do; the output stands in the channels",
    "run.failed": "an activation failed for good; the run can be resumed",
    "run.cancelled": "the run was ended from outside",
    "run.rolled_back": "the run went back to an earlier checkpoint, on a new branch",
    "run.forked": "the run began as a copy of another's checkpoint",
    "run.edited": "channels were set from outside",
    "edit.refused": "channels could not be set any more as they were asked to be",
    "step.committed": "finished activations were settled into the channels: a checkpoint",
    "activation.completed": "an activation finished and its writes are durable",
    "activation.failed": "an activation has no attempt left",
    "activation.skipped": "recover left an activation out",
    "attempt.failed": "an attempt raised, timed out or was refused by validate",
    "attempt.retrying": "another attempt follows at the time told",
    "attempt.abandoned": "an attempt ignored its cancellation; it can no longer write",
    "attempt.held": "an attempt may not begin yet: which limit or open breaker holds it, and until when",
    "call.recorded": "a call returned; a re-run takes the recorded value",
    "call.failed": "a call of a model or a tool, or a request, came to nothing, or to a part of an answer",
    "output.judged": "an output was taken, or refused: each layer, what was wrong, and how sure it is",
    "effect.intended": "an effect is about to happen",
    "effect.completed": "an effect happened; it is never called again",
    "effect.in_doubt": "an effect may or may not have happened: why, or how that was settled",
    "effect.adopted": "an effect was done on another branch with the same arguments; its outcome was taken",
    "effect.diverged": "an effect was asked for again with other arguments",
    "effect.undoing": "a rollback is about to run an effect's undo",
    "effect.undone": "an effect was undone",
    "effect.standing": "an effect that a rollback went back behind was not undone",
    "timer.set": "a sleep was reached",
    "timer.fired": "a sleep is over",
    "question.asked": "a node waits for an answer",
    "question.answered": "an answer reached its question",
    "question.expired": "a question's deadline passed",
    "question.reminded": "whoever is asked was to be reminded",
    "question.escalated": "somebody else is asked, or a run of another definition",
    "approval.void": "what was approved is not what was about to happen: it is asked again",
    "approval.denied": "a person was not asked: the run has asked for too many approvals",
    "question.withdrawn": "a question fell away with the branch that asked it",
    "savepoint.made": "a named checkpoint that pruning keeps",
    "lease.taken_over": "the run's owner was found dead and another process took the run",
    "policy.clamped": "a proposal of recover was above the limits and was cut",
    "model.fell_back": "a model of a fallback failed, and the next is asked the same",
    "permission.decided": "a rule, or the lack of one, let an action through, refused it, or asked a person",
    "breaker.opened": "enough failures within its window: nobody passes until the time told",
    "breaker.closed": "a probe came through: whoever waited may go on",
    "budget.estimated": "a call counted at its estimate, because its result does not say what it used",
    "budget.exceeded": "a budget is used up, and what its declaration says follows",
    "budget.raised": "a person let a budget have more",
    "dead_letter.made": "what ran out of attempts, budget or time was put aside to be looked at",
    "definition.code_changed": "nodes have other source code than when the run was made",
    "value.redacted": "a value or text of this write was masked before it was kept: where, by which rule, how often",
    "log.pruned": "the events up to this one were dropped by retention",
}
OPENING = frozenset({"run.created", "run.forked", "run.resumed", "run.edited", "lease.taken_over", "timer.fired"})
ITEMS = {
    "activation.started": "an attempt began",
    "activation.stalled": "an attempt gave no sign of life for 60 seconds",
    "activation.blocking": "an attempt kept the event loop from turning, and everything else with it",
    "item": "a task yielded or emitted a value",
}


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened in a run.

    Attributes:
        seq: the event's number in its run, from 1, without a gap; 0 for stream items.
        at: seconds since the epoch.
        address: the activation, `node#visit[index]`; empty for the run itself.
        data: details, as docs/events.md lists them; the value of an item is under `value`.
    """

    run: str
    type: str
    seq: int = 0
    at: float = 0.0
    address: str = ""
    data: dict[str, Any] = {}

    @property
    def node(self) -> str:
        """The node's id; empty for the run itself."""
        return self.address.rpartition("/")[2].partition("#")[0]


def count(kind: RowKind, body: Body) -> int:
    """Count the events that a row with this body tells; the same number that `told` yields."""
    number = len(body.finished) + len(body.said) + (kind == "step")
    for op in body.ops:
        if isinstance(op, AttemptFailed):
            number += 1 + (op.due_at is not None)
        elif not isinstance(op, AttemptsReset):
            number += 1
    return number


def told(row: Row) -> list[Event]:
    """Read a row's events, in order."""
    if row.kind == "pruned":
        dropped = {"first": row.first, "last": row.last}
        return [Event(run=row.run, type="log.pruned", seq=row.last, at=row.at, data=dropped)]
    body = BODY.decode(row.body)
    parts = list(_parts(row, body))
    return [
        Event(run=row.run, type=kind, seq=row.first + place, at=row.at, address=address, data=details)
        for place, (kind, address, details) in enumerate(parts)
    ]


def from_item(item: Item, value: Any) -> Event:
    """Show a stream item as an event."""
    data = {"value": value, "attempt": item.attempt, "ordinal": item.ordinal}
    return Event(run=item.run, type="item", at=item.at, address=item.address, data=data)


def _parts(row: Row, body: Body) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for said in body.said:
        if said.type in OPENING:
            yield said.type, said.address, said.details
    for op in body.ops:
        yield from _of_op(op)
    for done in body.finished:
        kind = "activation.skipped" if done.skipped else "activation.completed"
        writes = {name: plain(raw) for name, raw in done.writes.items()}
        yield kind, done.address, {"attempt": done.attempt, "writes": writes}
    if row.kind == "step":
        yield "step.committed", "", {"n": row.n, "branch": row.branch, **_step(body)}
    for said in body.said:
        if said.type not in OPENING:
            yield said.type, said.address, said.details


def _step(body: Body) -> dict[str, Any]:
    return {
        "finished": list(addresses(body)),
        "planned": [planned.address for planned in body.planned],
        "results": {name: plain(raw) for name, raw in body.results.items()},
        "digest": body.digest,
    }


def _of_op(op: "Op") -> Iterator[tuple[str, str, dict[str, Any]]]:
    match op:
        case CallRecorded():
            details = {"name": op.name, "kind": op.kind, "attempt": op.attempt, "value": plain(op.value)}
            yield "call.recorded", op.address, {**details, "usage": op.usage}
        case TimerSet():
            yield "timer.set", op.address, {"due_at": op.due_at}
        case QuestionAsked():
            details = {"id": op.id, "prompt": op.prompt, "schema": plain(op.schema), "about": op.about}
            yield "question.asked", op.address, {**details, "terms": op.terms.plain()}
        case QuestionAnswered():
            details = {"id": op.id, "value": plain(op.value), "by": op.by}
            more = {"otherwise": op.expired} if op.expired else {"context": op.context}
            yield f"question.{'expired' if op.expired else 'answered'}", op.address, details | more
        case AttemptFailed():
            kind = "attempt.abandoned" if op.abandoned else "attempt.failed"
            failure = msgspec.to_builtins(op.failure)
            yield kind, op.address, {"attempt": op.attempt, "failure": failure, "said": op.said}
            if op.due_at is not None:
                yield "attempt.retrying", op.address, {"attempt": op.attempt + 1, "due_at": op.due_at}
        case _:
            yield from _of_effect(op)


def _of_effect(op: "Op") -> Iterator[tuple[str, str, dict[str, Any]]]:
    match op:
        case EffectIntended():
            details = {"name": op.name, "key": op.effect_key, "arguments": plain(op.arguments), "attempt": op.attempt}
            yield "effect.intended", op.address, details
        case EffectCompleted():
            kind = "effect.adopted" if op.how == "adopted" else "effect.completed"
            yield kind, op.address, {"name": op.name, "how": op.how, "value": plain(op.value), "by": op.by}
        case EffectInDoubt():
            details = {"name": op.name, "settled": op.settled, "why": op.why, "by": op.by}
            yield "effect.in_doubt", op.address, details
        case UndoIntended():
            details = {"name": op.name, "undo": op.undo, "key": op.undo_key, "why": op.why}
            yield "effect.undoing", op.address, details
        case EffectUndone():
            yield "effect.undone", op.address, {"name": op.name, "how": op.how, "by": op.by}
        case EffectLeft():
            yield "effect.standing", op.address, {"name": op.name, "why": op.why, "by": op.by}


def plain(raw: msgspec.Raw) -> Any:
    """Show an encoded value as JSON, tags and all: readers need no definition."""
    return msgspec.json.decode(raw)
