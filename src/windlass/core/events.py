"""What a run tells: every event, and how the rows of its log tell it.

An event is never written by itself: it is a pure reading of a row, so it exists exactly when its write is durable.
Stream items (progress, tokens, `activation.started`) are told at once and fall away; they have no `seq`.
docs/events.md describes each; a test compares it with `EVENTS`.
"""

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from windlass.core.ops import AttemptFailed, AttemptsReset
from windlass.core.records import BODY, Body, Item, Row, RowKind, addresses
from windlass.core.telling import of_op, plain

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
    "run.begun": "a turn of a thread began: with the state that the turn before has left",
    "run.continued": "the run goes on as a new one, made in the same write",
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
    "approval.denied": "a person was not asked: too many approvals were asked for, or it cannot be shown",
    "question.withdrawn": "a question fell away with the branch that asked it",
    "signal.received": "a signal came from outside; the run has it until a node takes it",
    "signal.awaited": "a node waits for a signal",
    "signal.taken": "a node has taken a signal; nobody else gets it",
    "signal.refused": "a signal is not what the node that waits for it can use",
    "signal.returned": "a node waits for a signal no longer; what had come for it is there for others",
    "signal.expired": "no signal came in time",
    "child.started": "a node started a run of its own; both were made by one write",
    "child.ended": "a child run ended, or is waited for no longer; whoever waits for it goes on",
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
OPENING = frozenset(
    {"run.created", "run.forked", "run.begun", "run.resumed", "run.edited", "lease.taken_over", "timer.fired"}
)
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
        path: where its run stands in a tree of runs that is read as one stream; empty for the run at its top.
    """

    run: str
    type: str
    seq: int = 0
    at: float = 0.0
    address: str = ""
    data: dict[str, Any] = {}
    path: str = ""

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
        yield from of_op(op)
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
        **({"frame": body.frame} if body.frame else {}),
    }
