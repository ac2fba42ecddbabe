"""What follows from an attempt that failed: another attempt, what `recover` proposes, or the end.

The policy decides, `recover` proposes when the policy has no attempt left, and the ceiling clamps what it proposes.
"""

import traceback
from typing import Any

import msgspec

from windlass.core import changes, ops, queries
from windlass.core import records as r
from windlass.core.errors import AttemptTimeout, TaskError, ValidationFailed, WindlassError
from windlass.core.types import json_schema
from windlass.core.words import Failed, RecoveryAction
from windlass.engine.activation import Activation, Outcome
from windlass.engine.doubts import is_doubtful
from windlass.engine.drive import Drive
from windlass.engine.execute import keep_writes
from windlass.engine.questions import question
from windlass.policies.retry import next_wait

MOST_ATTEMPTS = 100  # the platform's ceiling, whatever a definition says: unbounded retry is impossible
MOST_WAIT_SECONDS = 24 * 3600.0
MOST_FRAMES, MOST_CAUSES = 8, 5


def decide(drive: Drive, outcome: Outcome) -> r.Finished | None:
    """Settle an attempt that did not finish; return what stands in for its output, if anything does."""
    activation = outcome.activation
    for consumer in drive.items.died(activation):
        reader = drive.running.get(consumer)
        if reader is not None:
            reader.stop("restart")
    if isinstance(outcome.error, AttemptTimeout) and (activation.has_asked or is_doubtful(activation.pending)):
        drive.resting[activation.address] = "waits"  # its time was up while it found out whether an effect happened
        return None
    if outcome.error is None:
        if outcome.stopped != "waiting":  # it goes on if nothing comes of what stopped it: a resume may follow a pause
            drive.ready.append(activation.address)
        return None
    error = outcome.error
    failure = describe(error)
    action = _next(drive, activation, error)
    failed = ops.AttemptFailed(activation.address, activation.attempt, failure, abandoned=outcome.abandoned)
    if action.kind == "retry":
        due_at = drive.clock.now() + float(action.value or 0.0)
        fresh = action.fresh or isinstance(error, ValidationFailed)
        drive.journal.note(msgspec.structs.replace(failed, due_at=due_at, fresh=fresh))
        drive.resting[activation.address] = "retry"
        if due_at <= drive.clock.now():
            drive.ready.append(activation.address)
        return None
    if action.kind == "rollback":
        failed = msgspec.structs.replace(failed, rollback=action.to or activation.node.id)
    drive.journal.note(failed)
    return _instead(drive, activation, failure, action)


def _next(drive: Drive, activation: Activation, error: BaseException) -> RecoveryAction:
    node, seams = activation.node, drive.services.seams
    final = isinstance(error, WindlassError) and not isinstance(error, TaskError) and not error.retryable
    attempts = activation.attempt
    if node.retry is not None and not final and attempts < MOST_ATTEMPTS:
        asked_for = getattr(error, "retry_after", None)
        wait = next_wait(node.retry, attempts, error, dice=seams.dice(), asked_for=asked_for, ceiling=MOST_WAIT_SECONDS)
        if wait is not None:
            return RecoveryAction("retry", wait)
    if node.recover is None:
        return RecoveryAction("abort")
    task_error = error if isinstance(error, TaskError) else TaskError(
        str(error), kind=type(error).__name__, address=activation.address, attempt=attempts, cause=error
    )  # fmt: skip
    try:
        action = node.recover(task_error) or RecoveryAction("abort")
    except Exception as raised:  # noqa: BLE001 -- the user's function: what it raises fails the activation
        drive.journal.say("policy.clamped", activation.address, proposed="recover raised", error=repr(raised))
        return RecoveryAction("abort")
    if action.kind == "retry" and attempts >= MOST_ATTEMPTS:
        drive.journal.say("policy.clamped", activation.address, proposed="retry", attempts=attempts)
        return RecoveryAction("abort")
    return action


def _instead(drive: Drive, activation: Activation, failure: ops.Failure, action: RecoveryAction) -> r.Finished | None:
    address, node = activation.address, activation.node
    if action.kind in ("fallback", "skip"):
        value = action.value
        if action.kind == "skip" and value is None and node.output is None:
            return r.Finished(address, attempt=activation.attempt, skipped=True)
        finished, _ = keep_writes(activation, value)
        return msgspec.structs.replace(finished, skipped=action.kind == "skip")
    if action.kind == "rollback":
        drive.leaving = "rollback"
        drive.rollback = proposed(address, activation.attempt, action.to or node.id)
        return None
    if action.kind == "escalate":
        prompt = f"{address} failed: {failure.message}. What is its output?"
        drive.journal.note(question(drive.journal, address, f"escalate|{activation.attempt}", prompt, _shape(node)))
        drive.resting[address] = "waits"
        return None
    if node.on_error == "collect" and node.output is not None:
        drive.journal.say("activation.failed", address, failure=plain(failure))
        stand_in = Failed(address, failure.kind, failure.message)
        return keep_writes(activation, stand_in)[0]
    drive.journal.say("activation.failed", address, failure=plain(failure))
    drive.failure = drive.failure or (address, failure)
    drive.leaving = drive.leaving or "fail"
    return None


def proposed(address: str, attempt: int, to: str) -> dict[str, Any]:
    """Make the arguments of a rollback that `recover` proposed; it has one name, whoever does it."""
    return {"to": to, "go_on": True, "id": f"{address}|{attempt}|{to}"}


def _shape(node: Any) -> Any:
    return json_schema(node.returns) if node.output is not None else {"type": "object"}


async def withdraw(drive: Drive) -> None:
    """Close the run's open questions: whoever would answer is told that nobody waits any more."""
    for asked in await drive.services.store.find(queries.Questions(run=drive.run)):
        drive.journal.change(changes.QuestionPut(msgspec.structs.replace(asked, status="withdrawn")))
        drive.journal.say("question.withdrawn", asked.address, id=asked.id)


def describe(error: BaseException, depth: int = 0) -> ops.Failure:
    """Turn an exception into what is kept of it: class, message, the user's frames, the chain of causes."""
    frames = [
        f"{frame.filename}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
        if "/windlass/engine/" not in frame.filename.replace("\\", "/")
    ]
    inner = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    cause = describe(inner, depth + 1) if inner is not None and depth < MOST_CAUSES else None
    kind = error.kind if isinstance(error, TaskError) and error.kind else type(error).__name__
    code = error.code if isinstance(error, WindlassError) else "task"
    return ops.Failure(kind, str(error), code, tuple(frames[-MOST_FRAMES:]), cause)


def plain(failure: ops.Failure) -> dict[str, Any]:
    """Show a failure as plain JSON, for events."""
    shown: dict[str, Any] = msgspec.to_builtins(failure)
    return shown
