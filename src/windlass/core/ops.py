"""What happens inside an activation before it finishes, as the log keeps it: one record per kind of happening."""

from typing import TypeAlias

from msgspec import Raw, Struct

NULL = Raw(b"null")  # a default: msgspec has no union of Raw and None


class Failure(Struct, frozen=True, gc=False, omit_defaults=True):
    """An error as it is kept: class, message, the user's frames, and the chain of causes."""

    kind: str
    message: str
    code: str = "task"
    frames: tuple[str, ...] = ()
    cause: "Failure | None" = None


class CallRecorded(Struct, frozen=True, gc=False, tag="call", omit_defaults=True):
    """A call inside an activation returned this value; a re-run takes it instead of calling."""

    address: str
    key: str
    name: str
    value: Raw
    attempt: int = 1


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


class EffectCompleted(Struct, frozen=True, gc=False, tag="outcome", omit_defaults=True):
    """An effect happened and returned this; it is never called again. `how`: completed, adopted, verified, answered."""

    address: str
    name: str
    key: str
    value: Raw
    how: str = "completed"


class EffectInDoubt(Struct, frozen=True, gc=False, tag="doubt", omit_defaults=True):
    """An intent was found without an outcome, or a failed attempt left one; `settled` says what was decided."""

    address: str
    name: str
    key: str
    settled: str = ""


class EffectUndone(Struct, frozen=True, gc=False, tag="undone", omit_defaults=True):
    """A rollback ran the compensation of an effect; `how` is `undone` or `failed: …`."""

    address: str
    name: str
    key: str
    how: str = "undone"


class TimerSet(Struct, frozen=True, gc=False, tag="timer", omit_defaults=True):
    """A sleep was reached; it is over at `due_at`, whatever happens to the process."""

    address: str
    key: str
    due_at: float


class QuestionAsked(Struct, frozen=True, gc=False, tag="asked", omit_defaults=True):
    """A node waits for an answer; nothing is kept alive for it."""

    address: str
    key: str
    id: str
    prompt: str
    schema: Raw


class QuestionAnswered(Struct, frozen=True, gc=False, tag="answered", omit_defaults=True):
    """An answer was given; every later run of the activation gets it."""

    address: str
    key: str
    id: str
    value: Raw
    by: str = ""


class AttemptFailed(Struct, frozen=True, gc=False, tag="failed", omit_defaults=True):
    """An attempt failed. With `due_at` another follows then; `fresh` sets its recorded calls aside (a new take)."""

    address: str
    attempt: int
    failure: Failure
    due_at: float | None = None
    fresh: bool = False
    abandoned: bool = False


class AttemptsReset(Struct, frozen=True, gc=False, tag="reset", omit_defaults=True):
    """A resume gave a failed activation new attempts."""

    address: str


Op: TypeAlias = (
    CallRecorded | EffectIntended | EffectCompleted | EffectInDoubt | EffectUndone
    | TimerSet | QuestionAsked | QuestionAnswered | AttemptFailed | AttemptsReset
)  # fmt: skip
