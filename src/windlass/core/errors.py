"""Every error a user can meet: a stable code, what happened and where, whether it may be retried, and what to do.

One root, five families. The codes are described in docs/errors.md; a test fails when one is missing there.
"""

from typing import Any, ClassVar


class WindlassError(Exception):
    """Any error that Windlass raises on purpose.

    Attributes:
        code: a stable name to search for and to match on.
        retryable: the same call may succeed later without a change by the user.
        hint: what the user can do about it; empty when the message says it all.
    """

    code: str = "windlass"
    retryable: ClassVar[bool] = False
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = self.default_hint if hint is None else hint

    def __str__(self) -> str:
        said = super().__str__()
        return f"{said} ({self.hint})" if self.hint else said


class DefinitionError(WindlassError):
    """A task, pipeline, graph or policy that cannot be what it says.

    Raised while building, before any run exists. `code` tells the defect: `pipeline.cycle`, `retry.max_attempts`, …
    """

    code = "definition"

    def __init__(self, code: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class TaskError(WindlassError):
    """An attempt of a node failed; given to `recover` and kept in the store.

    Attributes:
        kind: the qualified name of the exception's class.
        address: the activation that failed.
        attempt: the number of the attempt, from 1.
        cause: the exception itself; None when the error was read back from the store.
    """

    code = "task"

    def __init__(
        self, message: str, *, kind: str = "", address: str = "", attempt: int = 1, cause: BaseException | None = None
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.address = address
        self.attempt = attempt
        self.cause = cause


class AttemptTimeout(TaskError, TimeoutError):
    """An attempt took longer than its declared timeout, or gave no sign of life for its idle timeout.

    It is a TimeoutError, too: `Retry(on=TimeoutError)` means it.
    """

    code = "task.timeout"


class ValidationFailed(TaskError):
    """A task's `validate` refused its output; the next attempt makes its calls afresh."""

    code = "task.validation"


class WaitSwallowed(TaskError):
    """A node caught the cancellation of a wait and returned anyway; its output was dropped."""

    code = "task.wait_swallowed"
    default_hint = "let asyncio.CancelledError pass: a node that waits is cancelled and runs again with its answer"


class PolicyError(WindlassError):
    """A declared rule refused what was about to happen."""

    code = "policy"


class StepLimitReached(PolicyError):
    """A graph took as many super-steps as its `step_limit` allows."""

    code = "policy.step_limit"
    default_hint = "raise step_limit, or let a branch lead to END"


class BudgetExceeded(PolicyError):
    """A budget has not as much left as was asked for; nothing was called, and nothing was spent.

    Attributes:
        unit: of which there is not enough: money, tokens_in, steps, ….
        key: the budget's tally.
        edge: what its declaration says should follow.
    """

    code = "policy.budget"
    default_hint = "`windlass budget show` says who spent it; raise the budget, then resume the run"

    def __init__(self, message: str, *, unit: str = "", key: str = "", edge: Any = "stop") -> None:
        super().__init__(message)
        self.unit = unit
        self.key = key
        self.edge = edge


class RunTimeout(BudgetExceeded):
    """A run was active for as long as its definition or the platform lets it be."""

    code = "policy.run_timeout"
    default_hint = "raise run_timeout, then resume the run"


class PermissionDenied(PolicyError):
    """No rule lets the task do this, a rule forbids it, or a person refused it; nothing was called."""

    code = "policy.denied"
    default_hint = "`windlass permissions test` says which rule decides"


class ToolUnknown(PolicyError):
    """A task asked for a tool that its definition does not have."""

    code = "policy.tool_unknown"
    default_hint = "name it in tools=[...] of the definition"


class ValueNotKept(WindlassError):
    """A value that cannot be kept exactly was about to be stored; nothing was written."""

    code = "value.not_kept"
    default_hint = "keep a plain value instead, or declare its type with types=[...]"

    def __init__(self, path: str, kind: str, *, hint: str | None = None) -> None:
        super().__init__(f"{path}: {kind} is not a value that can be kept", hint=hint)
        self.path = path


class ValueTooLarge(WindlassError):
    """A value above `max_value` was about to be stored; nothing was written."""

    code = "value.too_large"
    default_hint = "keep a reference to it instead, or raise max_value"

    def __init__(self, path: str, size: int, limit: int) -> None:
        super().__init__(f"{path}: {size:,} bytes are more than the {limit:,} that one value may have")
        self.path = path
        self.size = size


class DecodeError(WindlassError):
    """Stored bytes are not a value of this codec, or name a type that the definition does not know."""

    code = "value.decode"


class InputError(WindlassError):
    """A value from outside does not have the declared type; `path` says where."""

    code = "value.input"
    default_hint = "give a value of the declared type"

    def __init__(self, path: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(f"{path}: {message}", hint=hint)
        self.path = path


class StoreError(WindlassError):
    """The store could not do what was asked; the run stays at its last durable write."""

    code = "store"


class StoreUnavailable(StoreError):
    """The store refused or failed a write (disk full, read-only, locked, I/O error)."""

    code = "store.unavailable"
    retryable = True
    default_hint = "free the disk or repair the path, then resume the run"


class StoreCorrupt(StoreError):
    """A stored row does not match its digest, or its sequence has a gap."""

    code = "store.corrupt"
    default_hint = "run `windlass store check`; restore a back-up made with `windlass store backup`"


class StoreBehind(StoreCorrupt):
    """The file is not the one that its anchor knows: acknowledged writes are missing, or it is another store."""

    code = "store.behind"
    default_hint = "restore the newest back-up, or take the file as it is with `windlass store check --repair`"


class StoreReplaced(StoreError):
    """The file of an open store was deleted or replaced: what is written there would be lost; nothing was written."""

    code = "store.replaced"
    default_hint = "stop this process, look what became of the file, and start again"


class RunQuarantined(StoreCorrupt):
    """The run was found damaged: nobody may go on with it until it is whole again."""

    code = "store.quarantined"
    default_hint = "`windlass store check` says what is damaged, `windlass store check --repair` what can be done"


class StoreVersion(StoreError):
    """The database was written by a newer version, or must be migrated first."""

    code = "store.version"


class StoreUnknown(StoreError):
    """The URL names no store, or one that lacks a capability that is needed."""

    code = "store.unknown"
    default_hint = "use memory: or sqlite:///file.db"


class StaleLease(StoreError):
    """A write came from an owner whose run was claimed by another since; nothing was written."""

    code = "store.stale_lease"


class RunError(WindlassError):
    """A verb met a run in a state in which it cannot act."""

    code = "run"


class RunUnknown(RunError):
    """No run has this id."""

    code = "run.unknown"
    default_hint = "see `windlass runs list`; check --store or WINDLASS_STORE"

    def __init__(self, run: str, where: str = "") -> None:
        super().__init__(f"no run {run!r}" + (f" in {where}" if where else ""))


class RunExists(RunError):
    """The id belongs to a run that was started with another definition or input."""

    code = "run.exists"
    default_hint = "choose another id, or start it with the same definition and input to attach"


class RunOwned(RunError):
    """Another live process owns the run."""

    code = "run.owned"
    retryable = True
    default_hint = "wait until then (--wait), or stop that process"


class RunState(RunError):
    """The run's state does not allow this verb."""

    code = "run.state"


class ChildNameTaken(RunError):
    """A task gave two of its child runs one name, or a run that it started before another definition or input."""

    code = "run.child_name"
    default_hint = "name= tells the child runs of one activation apart: give each its own"


class RunFailed(RunError):
    """The run ended in failure; `failure` is what failed it, as it is kept: kind, message, code, frames, cause."""

    code = "run.failed"

    def __init__(self, message: str, *, failure: dict[str, Any] | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.failure = failure or {}


class ChildFailed(RunFailed):
    """A child run failed, or was cancelled, and its parent waited for it. A retry starts it anew."""

    code = "run.child_failed"
    retryable = True


class DefinitionUnknown(RunError):
    """No definition of this name is known to the runtime."""

    code = "run.definition_unknown"
    default_hint = "pass it to Runtime(definitions=[...]), or use `windlass worker FILE:NAME`"


class DefinitionChanged(RunError):
    """The structure of the definition is not the one that the run was started with."""

    code = "run.definition_changed"
    default_hint = "start a new run, or go on with the definition as it was; a changed body or policy is no obstacle"


class CheckpointUnknown(RunError):
    """The run has no such checkpoint, or its strategy did not keep it."""

    code = "run.checkpoint_unknown"
    default_hint = "see `windlass runs show RUN --history`"


class TwoWriters(RunError):
    """Two activations of one step wrote a channel that holds one value; nothing of the step was applied."""

    code = "run.two_writers"
    default_hint = "give the channel a reducer, or let one of them write"


class WriteUndeclared(RunError):
    """A node wrote a channel that it did not declare."""

    code = "run.write_undeclared"
    default_hint = "name the channel in writes=[...]"


class ReducerFailed(RunError):
    """A channel's reducer raised; nothing of the step was applied."""

    code = "run.reducer"


class QuestionUnknown(RunError):
    """No question has this id."""

    code = "question.unknown"
    default_hint = "see `windlass inbox list`"


class LetterUnknown(RunError):
    """No dead letter has this id."""

    code = "letter.unknown"
    default_hint = "see `windlass dlq list`; check --store or WINDLASS_STORE"


class AlreadyAnswered(RunError):
    """The question is closed: another answer came first, or it was withdrawn."""

    code = "question.closed"


class EffectDiverged(RunError):
    """An effect was asked for again on the same branch with other arguments."""

    code = "effect.diverged"
    default_hint = "give each distinct effect its own name or key="


class ContextClosed(RunError):
    """A context was used after its attempt had ended."""

    code = "context.closed"


class LoopRunning(RunError):
    """`run_sync` was called where an event loop already runs."""

    code = "run.loop_running"
    default_hint = "use `await runtime.run(...)` here"


class ProofError(WindlassError):
    """A definition that was given to the crash tester."""

    code = "proof"


class ProofRefused(ProofError):
    """The crash tester cannot begin here, or cannot go on."""

    code = "proof.refused"
    default_hint = 'call prove from a plain program, or name the definition: prove("flows.py:pipeline")'


class LabelUnknown(ProofError):
    """No place in the product has this label, or the definition does not reach it."""

    code = "proof.label"


class NotDeterministic(ProofError):
    """Two runs that nobody killed came to different things, so nothing can be said about one that was killed."""

    code = "proof.not_deterministic"
    default_hint = "let tasks depend on their inputs alone, and replace clocks, dice and models by fakes"


class ProofFailed(ProofError):
    """A killed run lost something, did something twice, asked wrongly, or did not come to its end."""

    code = "proof.failed"
    default_hint = "the report's `trouble` says where; the same seed makes the same kills"
