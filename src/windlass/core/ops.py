"""What happens inside an activation before it finishes, as the log keeps it: one record per kind of happening."""

from typing import Any, Literal, TypeAlias

from msgspec import Raw, Struct, json

from windlass.core.audit import Account
from windlass.core.judged import Problem

NULL = Raw(b"null")  # a default: msgspec has no union of Raw and None
DEADLINE = "deadline"  # who answered, where it was the clock


class Failure(Struct, frozen=True, gc=False, omit_defaults=True):
    """An error as it is kept: class, message, the user's frames, and the chain of causes."""

    kind: str
    message: str
    code: str = "task"
    frames: tuple[str, ...] = ()
    cause: "Failure | None" = None
    problems: tuple[Problem, ...] = ()  # of an output that was refused


class CallRecorded(Struct, frozen=True, gc=False, tag="call", omit_defaults=True):
    """A call inside an activation returned this value; a re-run takes it instead of calling.

    `usage` is what it came to, by unit, where it has a cost; `kind` is call, tool or model. Of a tool, `request` has
    the arguments and `version` its digest; of a model the ModelRequest, and the model's version. `continues` is the key
    of an earlier call of the activation whose messages come before the request's: a conversation is written once.
    """

    address: str
    key: str
    name: str
    value: Raw
    attempt: int = 1
    kind: str = "call"
    usage: dict[str, int] = {}
    request: Raw = NULL
    version: str = ""
    continues: str = ""


class EffectIntended(Struct, frozen=True, gc=False, tag="intent", omit_defaults=True):
    """An effect is about to happen. Until its outcome is recorded it is in doubt."""

    address: str
    name: str
    key: str
    effect_key: str
    arguments: Raw
    arguments_digest: str
    on_doubt: str
    undo: str = ""
    generation: int = 0
    attempt: int = 1
    at: float = 0.0


class EffectCompleted(Struct, frozen=True, gc=False, tag="outcome", omit_defaults=True):
    """An effect happened and returned this; it is never called again.

    `how`: completed, adopted (from another branch), verified, answered (by a person), stands (though it was asked for
    with other arguments since), unkept (it happened, and what it returned cannot be kept).
    """

    address: str
    name: str
    key: str
    value: Raw
    how: str = "completed"
    by: str = ""


class EffectInDoubt(Struct, frozen=True, gc=False, tag="doubt", omit_defaults=True):
    """An intent has no outcome: `why`. `settled` says what was decided: the effect may be called from then on."""

    address: str
    name: str
    key: str
    settled: str = ""
    why: str = ""
    by: str = ""


class UndoIntended(Struct, frozen=True, gc=False, tag="undoing", omit_defaults=True):
    """A rollback is about to run an effect's undo. `why`: it was in doubt, and may be run again."""

    address: str
    name: str
    key: str
    undo: str
    undo_key: str
    why: str = ""


class EffectUndone(Struct, frozen=True, gc=False, tag="undone", omit_defaults=True):
    """An effect was undone; `how`: undone (its undo returned), verified, answered."""

    address: str
    name: str
    key: str
    how: str = "undone"
    by: str = ""


class EffectLeft(Struct, frozen=True, gc=False, tag="left", omit_defaults=True):
    """A rollback went back behind an effect that it could not undo, or a person said that it was not undone."""

    address: str
    name: str
    key: str
    why: str
    by: str = ""


class TimerSet(Struct, frozen=True, gc=False, tag="timer", omit_defaults=True):
    """A sleep was reached; it is over at `due_at`, whatever happens to the process."""

    address: str
    key: str
    due_at: float


class Terms(Struct, frozen=True, gc=False, omit_defaults=True):
    """Who is asked, and what follows if nobody answers in time.

    Args:
        to: `user:NAME`, `role:NAME`, `tenant:NAME`, or `definition:NAME` once it was escalated to one; empty: anybody.
        due_at: when an answer comes too late; None for never.
        otherwise: what stands then: the question is rejected, takes `value`, or is escalated to `onward`.
        remind: when whoever is asked is reminded.
        was: who was asked before a definition.
    """

    to: str = ""
    due_at: float | None = None
    otherwise: Literal["reject", "value", "escalate"] = "reject"
    value: Raw = NULL
    onward: str = ""
    remind: tuple[float, ...] = ()
    was: str = ""

    @property
    def next_at(self) -> float | None:
        """When its clock goes next: a reminder, or the deadline."""
        times = self.remind if self.due_at is None else (*self.remind, self.due_at)
        return min(times, default=None)

    def plain(self) -> dict[str, Any]:
        """Show the terms as plain JSON, without what is not declared."""
        shown: dict[str, Any] = json.decode(json.encode(self))
        return shown


def lapse_of(id_: str) -> str:
    """Name the command by which a question's deadline is applied: there is one, whoever posts it."""
    return f"{id_}|{DEADLINE}"


NO_TERMS = Terms()


class QuestionAsked(Struct, frozen=True, gc=False, tag="asked", omit_defaults=True):
    """A node waits for an answer; nothing is kept alive for it."""

    address: str
    key: str
    id: str
    prompt: str
    schema: Raw
    about: dict[str, Any] = {}  # of an effect in doubt: what a program needs to find it outside
    terms: Terms = NO_TERMS


class QuestionAnswered(Struct, frozen=True, gc=False, tag="answered", omit_defaults=True):
    """An answer was given; every later run of the activation gets it.

    `expired`: nobody gave it in time, and this follows: reject, or value. `context`: where an escalation found it.
    """

    address: str
    key: str
    id: str
    value: Raw
    by: str = ""
    expired: str = ""
    context: dict[str, Any] = {}


class SignalReceived(Struct, frozen=True, gc=False, tag="signal", omit_defaults=True):
    """A signal came from outside. It belongs to the run until an activation takes it."""

    id: str
    name: str
    value: Raw
    by: str = ""
    address: str = ""  # of no activation


class SignalAwaited(Struct, frozen=True, gc=False, tag="awaits", omit_defaults=True):
    """A node waits for a signal of this name; nothing is kept alive for it."""

    address: str
    key: str
    name: str
    schema: Raw = NULL
    terms: Terms = NO_TERMS


class SignalTaken(Struct, frozen=True, gc=False, tag="taken", omit_defaults=True):
    """The wait has its signal; every later run of the activation gets the same.

    Without an `id` none came in time, and this follows (`expired`): reject, or `value`.
    """

    address: str
    key: str
    id: str
    name: str
    by: str = ""
    expired: str = ""
    value: Raw = NULL


class SignalLeft(Struct, frozen=True, gc=False, tag="left_signal", omit_defaults=True):
    """The wait gives its signal up: it was no good, and `why`; or nobody listens, and the run has the signal again."""

    address: str
    key: str
    id: str
    name: str
    why: str = ""


class ChildStarted(Struct, frozen=True, gc=False, tag="child", omit_defaults=True):
    """A run was started from within; it was made by the same write. See `origin.Child` for the rest."""

    address: str
    key: str
    id: str
    definition: str
    digest: str
    path: str
    detached: bool = False
    number: int = 0
    group: str = ""
    need: int = 0
    spare: int = 0


class ChildEnded(Struct, frozen=True, gc=False, tag="child_ended", omit_defaults=True):
    """A child run ended, and what it came to; or it is waited for no longer, and `why`.

    `is_stale`: it was stopped with its parent. If that goes on after all, the child is started anew.
    """

    address: str
    key: str
    id: str
    status: str
    value: Raw = NULL
    failure: Failure | None = None
    why: str = ""
    is_stale: bool = False


class AttemptFailed(Struct, frozen=True, gc=False, tag="failed", omit_defaults=True):
    """An attempt failed. With `due_at` another follows then; `fresh` sets its recorded calls aside (a new take)."""

    address: str
    attempt: int
    failure: Failure
    due_at: float | None = None
    fresh: bool = False
    abandoned: bool = False
    rollback: str = ""  # where `recover` wants to go back to: whoever takes the run over does it
    said: str = ""  # what the policies decided about it, in words
    account: Account | None = None


class AttemptsReset(Struct, frozen=True, gc=False, tag="reset", omit_defaults=True):
    """A resume gave a failed activation new attempts."""

    address: str


Op: TypeAlias = (
    CallRecorded | EffectIntended | EffectCompleted | EffectInDoubt | UndoIntended | EffectUndone | EffectLeft
    | TimerSet | QuestionAsked | QuestionAnswered | SignalReceived | SignalAwaited | SignalTaken | SignalLeft
    | ChildStarted | ChildEnded | AttemptFailed | AttemptsReset
)  # fmt: skip
