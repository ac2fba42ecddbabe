"""What follows from an attempt that failed: another attempt, what `recover` proposes, or the end.

The policy decides, `recover` proposes when the policy has no attempt left, and the ceiling clamps what it proposes.
"""

import os
import traceback
from pathlib import Path
from typing import Any

import msgspec

from windlass.core import changes, ops, queries
from windlass.core import records as r
from windlass.core.errors import (
    AttemptTimeout,
    BudgetExceeded,
    OutputRefused,
    PolicyError,
    StepLimitReached,
    TaskError,
    WindlassError,
    kind_of,
)
from windlass.core.shown import text_of
from windlass.core.states import FAILED
from windlass.core.words import Failed, RecoveryAction
from windlass.engine import escalated, refused
from windlass.engine.activation import Activation, Outcome
from windlass.engine.dead import COLLECTED, bury, fail
from windlass.engine.doubts import is_doubtful
from windlass.engine.drive import Drive
from windlass.engine.execute import keep_writes
from windlass.engine.kin import cascade
from windlass.engine.redacting import masked
from windlass.policies.budget import handed_to
from windlass.policies.chain import Reason, Ruling, clamp, classify

MOST_FRAMES, MOST_CAUSES = 8, 5
PACKAGE = str(Path(__file__).parents[1]) + os.sep


def settle(drive: Drive, outcome: Outcome) -> r.Finished | None:
    """Say how the output of an attempt was judged; return what it finished with, or what stands in for that."""
    activation = outcome.activation
    if activation.books is not None and activation.books.judged:
        refused.tell(activation, activation.books.judged)
    return outcome.finished or decide(drive, outcome)


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
    error = meant(outcome.error)
    failure = describe(error)
    attempt = activation.attempt - len(activation.pending.refused)  # a repair takes no retry away
    ruling = refused.ruling(error, activation) or classify(
        activation.chain, attempt, error, dice=drive.services.seams.dice(), now=drive.clock.now()
    )
    action, said = _next(drive, activation, error, ruling)
    failed = ops.AttemptFailed(
        activation.address, activation.attempt, failure, abandoned=outcome.abandoned, said=said,
        account=activation.books and activation.books.close({}),
    )  # fmt: skip
    activation.books = None  # what stands in for the output has used nothing more
    if action.kind == "retry":
        due_at = drive.clock.now() + float(action.value or 0.0)
        drive.journal.note(msgspec.structs.replace(failed, due_at=due_at, fresh=action.fresh))
        drive.resting[activation.address] = "retry"
        if due_at <= drive.clock.now():
            drive.ready.append(activation.address)
        return None
    if action.kind == "rollback":
        failed = msgspec.structs.replace(failed, rollback=_back_to(activation, action.to))
    drive.journal.note(failed)
    handler = handed_to(error.edge) if isinstance(error, BudgetExceeded) else ""  # met by a call
    return _instead(drive, activation, failure, action, (ruling.reason, said), handler)


def _next(drive: Drive, activation: Activation, error: BaseException, ruling: Ruling) -> tuple[RecoveryAction, str]:
    """Return what is done about a failed attempt, and in words why."""
    node, address = activation.node, activation.address
    if ruling.clamped:
        drive.journal.say("policy.clamped", address, proposed="retry", why=ruling.clamped)
    if ruling.wait is not None:
        return RecoveryAction("retry", ruling.wait, fresh=ruling.fresh), ruling.said
    if node.recover is None:
        return RecoveryAction("abort"), ruling.said
    task_error = error if isinstance(error, TaskError) else TaskError(
        text_of(error), kind=type(error).__name__, address=address, attempt=activation.attempt, cause=error
    )  # fmt: skip
    try:
        proposed = node.recover(task_error)
    except Exception as raised:  # noqa: BLE001 -- the user's function: what it raises fails the activation
        drive.journal.say("policy.clamped", address, proposed="recover", why=f"recover raised {raised!r}")
        return RecoveryAction("abort"), f"{ruling.said}; recover raised {raised!r}"
    action, clamped = clamp(activation.chain, proposed, attempt=activation.attempt, rollbacks=drive.position.branch)
    if clamped:
        kind = getattr(proposed, "kind", repr(proposed))
        drive.journal.say("policy.clamped", address, proposed=kind, why=clamped)
    return action, f"{ruling.said}; recover: {clamped or action.kind}"


def _instead(
    drive: Drive, activation: Activation, failure: ops.Failure, action: RecoveryAction,
    ruled: tuple[Reason, str], handler: str,
) -> r.Finished | None:  # fmt: skip
    address, node = activation.address, activation.node
    why, said = ruled
    if action.kind in ("fallback", "skip"):
        value = action.value
        if action.kind == "skip" and value is None and node.output is None:
            return r.Finished(address, attempt=activation.attempt, skipped=True)
        try:
            finished, _ = keep_writes(activation, value)
            return msgspec.structs.replace(finished, skipped=action.kind == "skip")
        except WindlassError as error:  # it cannot stand there: the attempt has failed
            drive.journal.say("policy.clamped", address, proposed=action.kind, why=str(error))
            said = f"{said}, and that cannot stand in: {error}"
            failure = msgspec.structs.replace(describe(error), cause=failure)
    if action.kind == "rollback":
        drive.leaving = "rollback"
        drive.rollback = proposed(address, activation.attempt, _back_to(activation, action.to))
        return None
    if action.kind == "escalate":
        escalated.put(drive, activation, failure, action.to)
        return None
    drive.journal.say("activation.failed", address, failure=plain(failure))
    if node.on_error == "collect" and node.output is not None:
        bury(drive, address, failure, why, [said], activation=activation, note=COLLECTED)
        stand_in = Failed(address, failure.kind, failure.message)
        return keep_writes(activation, stand_in)[0]
    fail(drive, address, failure, why, [said], activation=activation, handler=handler)
    return None


def _back_to(activation: Activation, to: str) -> str:
    """Name the target of a rollback that a node proposes; a node of a sub-graph means those that it is beside."""
    to = to or activation.node.id
    return f"{activation.frame.prefix}{to}" if to.partition("#")[0] in activation.blueprint.nodes else to


def proposed(address: str, attempt: int, to: str) -> dict[str, Any]:
    """Make the arguments of a rollback that `recover` proposed; it has one name, whoever does it."""
    return {"to": to, "go_on": True, "id": f"{address}|{attempt}|{to}"}


async def withdraw(drive: Drive) -> None:
    """Close the run's open questions: whoever would answer is told that nobody waits any more."""
    for asked in await drive.services.store.find(queries.Questions(run=drive.run)):
        drive.journal.change(changes.QuestionPut(msgspec.structs.replace(asked, status="withdrawn")))
        drive.journal.say("question.withdrawn", asked.address, id=asked.id)


def meant(error: BaseException) -> BaseException:
    """Return the refusal that stands behind an error, if that is what it comes to.

    An HTTP client wraps what its transport raises into an error of its own (such a one has the `request`); a TaskGroup
    makes a group of what its tasks raise, and one of refusals alone is a refusal.
    """
    while isinstance(error, BaseExceptionGroup) and error.subgroup(_is_no_refusal) is None:
        error = error.exceptions[0]
    cause = error.__cause__
    is_wrapped = isinstance(cause, WindlassError) and not isinstance(error, WindlassError) and hasattr(error, "request")
    return cause if is_wrapped and cause is not None else error


def _is_no_refusal(error: BaseException) -> bool:
    return not isinstance(error, PolicyError | BaseExceptionGroup)


def fail_at_limit(drive: Drive, path: str, limit: int) -> None:
    """Tell that a run fails at the step limit of its definition, or of a sub-graph's; its children stop with it."""
    of = f"{path} of {drive.run}" if path else drive.run
    failure = describe(StepLimitReached(f"{of} took {limit} steps"))
    bury(drive, path, failure, "step_limit")
    cascade(drive.journal, FAILED)
    drive.journal.say("run.failed", path, failure=plain(failure))


def describe(error: BaseException, depth: int = 0) -> ops.Failure:
    """Turn an exception into what is kept of it: class, message, the user's frames, the chain of causes."""
    frames = [
        f"{frame.f_code.co_filename}:{line} in {frame.f_code.co_name}"
        for frame, line in traceback.walk_tb(error.__traceback__)  # reads no source file, as `extract_tb` does
        if not _is_ours(frame.f_code.co_filename)
    ]
    inner = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    cause = describe(inner, depth + 1) if inner is not None and depth < MOST_CAUSES else None
    code = error.code if isinstance(error, WindlassError) else "task"
    problems = error.problems if isinstance(error, OutputRefused) else ()
    return masked(ops.Failure(kind_of(error), text_of(error), code, tuple(frames[-MOST_FRAMES:]), cause, problems))


def _is_ours(file: str) -> bool:
    """Say whether a file is Windlass's own; of the command line and of testing users run definitions, too."""
    return file.startswith(PACKAGE) and not file.removeprefix(PACKAGE).startswith(("cli", "testing"))


def plain(failure: ops.Failure) -> dict[str, Any]:
    """Show a failure as plain JSON, for events."""
    shown: dict[str, Any] = msgspec.to_builtins(failure)
    return shown
