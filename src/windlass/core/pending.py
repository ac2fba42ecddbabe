"""What happened inside an activation that has not finished, and how each operation adds to it."""

from typing import Any

from msgspec import Raw, Struct
from msgspec.structs import replace

from windlass.core import ops
from windlass.core import records as r
from windlass.core.judged import Problem
from windlass.core.origin import Child

MOST_SAID = 20  # of a trail


class Pending(Struct, omit_defaults=True):
    """What happened so far inside an activation that has not finished."""

    attempts: int = 0  # that failed
    resets: int = 0  # how often a resume began them anew
    due_at: float | None = None  # of the next attempt
    failure: ops.Failure | None = None  # of the last one
    rollback: str = ""  # what `recover` proposed after it
    trail: list[str] = []  # what the policies decided about each, the last ones
    refused: list[tuple[Problem, ...]] = []  # outputs that were refused, by what was wrong with each
    heard_at: float = 0.0  # when the last thing came that this take was told: a call's result, an answer
    take: int = 0
    calls: dict[str, Raw] = {}
    intents: dict[str, ops.EffectIntended] = {}
    outcomes: dict[str, ops.EffectCompleted] = {}
    cleared: set[str] = set()  # effects that may be called (again): they did not happen, or are superseded
    timers: dict[str, float] = {}
    fired: set[float] = set()  # due times that were acted on
    asked: dict[str, str] = {}  # question key → id
    answers: dict[str, Raw] = {}
    terms: dict[str, ops.Terms] = {}  # of open questions that have any
    closed: dict[str, ops.Terms] = {}  # of answered questions, as they stood
    lapsed: dict[str, int] = {}  # questions that nobody answered in time → resets by then
    heard: dict[str, tuple[str, dict[str, Any]]] = {}  # who answered, and where an escalation found it
    stale: set[str] = set()  # keys of open questions that were asked before the state, or the code, was changed
    awaited: dict[str, ops.SignalAwaited] = {}  # by the wait's key
    signals: dict[str, ops.SignalReceived] = {}  # what waits have got, or what stands for that
    children: dict[str, Child] = {}
    ends: dict[str, ops.ChildEnded] = {}  # of children, by their keys

    @property
    def is_failed(self) -> bool:
        """No attempt is left."""
        return self.failure is not None and self.due_at is None

    @property
    def open_questions(self) -> list[str]:
        """The ids of questions that have no answer yet."""
        return [id_ for key, id_ in self.asked.items() if key not in self.answers]

    def age(self) -> None:
        """Note that what is waited for was asked of another state, or by other code."""
        self.stale.update(key for key in self.asked if key not in self.answers)
        self.stale.update(key for key in self.awaited if key not in self.signals)

    @property
    def listens(self) -> bool:
        """Whether it has asked or waited for anything that it may have to take back."""
        return bool(self.asked or self.awaited or self.signals)

    @property
    def open_signals(self) -> list[ops.SignalAwaited]:
        """The waits for signals that have none yet."""
        return [wait for key, wait in self.awaited.items() if key not in self.signals]

    @property
    def open_children(self) -> list[str]:
        """The ids of runs that are waited for and have not ended."""
        return [child.id for child in self.children.values() if child.is_open]

    def begin_anew(self) -> None:
        """Count attempts from the beginning: somebody has resumed the run."""
        self.attempts = 0
        self.refused = []
        self.resets += 1
        self.due_at = None
        self.failure = None


def note_question(pending: Pending, op: ops.QuestionAsked | ops.QuestionAnswered) -> None:
    """Note that a question was asked, or answered."""
    if isinstance(op, ops.QuestionAsked):
        pending.asked[op.key] = op.id
        if op.terms != ops.NO_TERMS:
            pending.terms[op.key] = op.terms
        return
    pending.answers[op.key] = op.value
    pending.stale.discard(op.key)
    if (terms := pending.terms.pop(op.key, None)) is not None:
        pending.closed[op.key] = terms
    if op.by or op.context:
        pending.heard[op.key] = (op.by, op.context)
    if op.expired == "reject":
        pending.lapsed[op.key] = pending.resets


def tick(pending: Pending, said: r.Said) -> None:
    """Apply an event that is told of a sleep's clock, or of a question."""
    details = said.details
    if said.type == "timer.fired":
        pending.fired.add(details["due_at"])
        return
    key = next((key for key, id_ in pending.asked.items() if id_ == details["id"]), "")
    known = pending.closed if key in pending.answers else pending.terms  # it may be answered in the same row
    terms = known.get(key, ops.NO_TERMS)
    if said.type == "question.withdrawn":
        pending.asked.pop(key, None)
        pending.stale.discard(key)
        pending.terms.pop(key, None)
    elif said.type == "question.reminded":
        known[key] = replace(terms, remind=tuple(at for at in terms.remind if at != details["due_at"]))
    elif key:
        known[key] = onward(terms, details["to"], is_due=bool(details.get("expired")))


def onward(terms: ops.Terms, to: str, *, is_due: bool) -> ops.Terms:
    """Return the terms of a question once it was passed on; a deadline that has led to it is over."""
    was = (terms.was or terms.to) if to.startswith("definition:") else ""
    due_at = None if is_due else terms.due_at
    return replace(terms, to=to, was=was, due_at=due_at, remind=() if is_due else terms.remind)


def note_failure(pending: Pending, op: ops.AttemptFailed) -> None:
    """Note that an attempt failed; what led to a refused output is set aside."""
    pending.attempts = op.attempt
    pending.due_at = op.due_at
    pending.failure = op.failure
    pending.rollback = op.rollback
    if op.said:
        pending.trail = [*pending.trail[1 - MOST_SAID :], op.said]
    if op.failure.problems:
        pending.refused = [*pending.refused, op.failure.problems]
    is_fresh = op.fresh or bool(op.failure.problems)  # what led to a refused output leads to it again
    for child in pending.children.values():
        child.is_stale |= bool(child.status) and (is_fresh or child.status != "completed")
    if is_fresh:
        pending.heard_at = 0.0
        pending.take += 1
        pending.calls = {}


def note_effect(pending: Pending, op: ops.Op) -> None:
    """Note what is known of an effect."""
    match op:
        case ops.EffectIntended():
            pending.intents[op.key] = op
            pending.cleared.discard(op.key)
            pending.outcomes.pop(op.key, None)  # of one that it supersedes
        case ops.EffectCompleted():
            pending.outcomes[op.key] = op
        case ops.EffectInDoubt() if op.settled:
            pending.cleared.add(op.key)


def note_child(pending: Pending, op: ops.ChildStarted | ops.ChildEnded) -> None:
    """Note that a child run was started, or ended."""
    if isinstance(op, ops.ChildStarted):
        pending.children[op.key] = Child(
            op.id, op.definition, op.digest, op.detached, number=op.number, group=op.group, need=op.need, spare=op.spare
        )
        pending.ends.pop(op.key, None)
    else:
        child = pending.children[op.key]
        child.status, child.is_stale = op.status, op.is_stale
        pending.ends[op.key] = op
