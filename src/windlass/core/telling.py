"""How what happened inside an activation is told: the events of each operation that a row keeps."""

from collections.abc import Iterator
from typing import Any

import msgspec

from windlass.core.ops import (
    AttemptFailed,
    CallRecorded,
    ChildEnded,
    ChildStarted,
    EffectCompleted,
    EffectInDoubt,
    EffectIntended,
    EffectLeft,
    EffectUndone,
    Op,
    QuestionAnswered,
    QuestionAsked,
    SignalAwaited,
    SignalLeft,
    SignalReceived,
    SignalTaken,
    TimerSet,
    UndoIntended,
)


def of_op(op: Op) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Tell of an operation: type, address and details of each event."""
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
        case SignalReceived() | SignalAwaited() | SignalTaken() | SignalLeft():
            yield _of_signal(op)
        case ChildStarted():
            details = {"id": op.id, "definition": op.definition, "path": op.path, "detached": op.detached}
            yield "child.started", op.address, details
        case ChildEnded():
            details = {"id": op.id, "status": op.status, "value": plain(op.value), "why": op.why}
            failure = msgspec.to_builtins(op.failure) if op.failure is not None else None
            yield "child.ended", op.address, {**details, "failure": failure}
        case AttemptFailed():
            kind = "attempt.abandoned" if op.abandoned else "attempt.failed"
            failure = msgspec.to_builtins(op.failure)
            yield kind, op.address, {"attempt": op.attempt, "failure": failure, "said": op.said}
            if op.due_at is not None:
                yield "attempt.retrying", op.address, {"attempt": op.attempt + 1, "due_at": op.due_at}
        case _:
            yield from _of_effect(op)


def _of_signal(
    op: SignalReceived | SignalAwaited | SignalTaken | SignalLeft,
) -> tuple[str, str, dict[str, Any]]:
    details: dict[str, Any] = {"name": op.name}
    match op:
        case SignalReceived():
            return "signal.received", "", {"id": op.id, **details, "value": plain(op.value), "by": op.by}
        case SignalAwaited():
            return "signal.awaited", op.address, {**details, "schema": plain(op.schema), "due_at": op.terms.due_at}
        case SignalTaken(expired=""):
            return "signal.taken", op.address, {"id": op.id, **details, "by": op.by}
        case SignalTaken():
            return "signal.expired", op.address, {**details, "otherwise": op.expired, "value": plain(op.value)}
    kind = "signal.refused" if op.why else "signal.returned"
    return kind, op.address, {"id": op.id, **details, "why": op.why}


def _of_effect(op: Op) -> Iterator[tuple[str, str, dict[str, Any]]]:
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
