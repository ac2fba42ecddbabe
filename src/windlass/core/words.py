"""The small values that user code hands to the engine: outputs, updates, sends, verdicts and recoveries."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, Generic, Literal, ParamSpec, TypeAlias, TypeVar

import msgspec

from windlass.core.errors import InputError, ToolArgumentsInvalid
from windlass.core.types import convert

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Output(Generic[T]):
    """Yielded by a task: this is its output; everything else that it yields is a stream item."""

    value: T


Yields: TypeAlias = AsyncIterator[object | Output[T]]
"""What a yielding task is annotated with: items of any kind, and one `Output[T]`."""

Stream: TypeAlias = AsyncIterator[T]
"""What the parameter of a stream edge is annotated with: the producer's items as they arrive."""


@dataclass(frozen=True, slots=True)
class Send:
    """Ask for one more activation of `node` in the next step, with a payload of its own."""

    node: str
    value: Any = None


@dataclass(frozen=True, slots=True, init=False)
class Update:
    """What a graph node returns: writes to channels, and where to go next.

    Args:
        goto: a node, several, or END; it replaces the node's edges and branches for this time. None: follow them.
        sends: activations to fan out to.
        writes: a value for each channel that the node declared.
    """

    writes: dict[str, Any]
    goto: tuple[str, ...] | None = None
    sends: tuple[Send, ...] = ()

    def __init__(self, *, goto: str | Sequence[str] | None = None, sends: Sequence[Send] = (), **writes: Any) -> None:
        object.__setattr__(self, "writes", writes)
        object.__setattr__(self, "goto", (goto,) if isinstance(goto, str) else None if goto is None else tuple(goto))
        object.__setattr__(self, "sends", tuple(sends))


@dataclass(frozen=True, slots=True)
class ContinueAsNew:
    """What a graph node returns to go on as a new run: this one completes, the next one begins with its state.

    The log and the count of steps begin anew; what was planned beside it is dropped.

    Args:
        input: of the next run, as `start` takes it: a dict by channel, written through the reducers; None for none.
    """

    input: Any = None


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """What `validate` says of an output."""

    valid: bool
    reason: str = ""

    @classmethod
    def ok(cls) -> "ValidationResult":
        """Accept the output."""
        return cls(valid=True)

    @classmethod
    def fail(cls, reason: str) -> "ValidationResult":
        """Refuse the output; the next attempt makes its calls afresh."""
        return cls(valid=False, reason=reason)


@dataclass(frozen=True, slots=True)
class RecoveryAction:
    """What `recover` proposes for an attempt that failed and is not retried by policy. Made by `Recover`."""

    kind: Literal["retry", "fallback", "skip", "rollback", "escalate", "abort"]
    value: Any = None
    to: str = ""
    fresh: bool = False


class Recover:
    """The proposals that `recover` may return."""

    @staticmethod
    def retry(*, fresh: bool = False) -> RecoveryAction:
        """Try once more; with `fresh`, recorded calls are made again."""
        return RecoveryAction("retry", fresh=fresh)

    @staticmethod
    def fallback(value: Any) -> RecoveryAction:
        """Take this value as the output."""
        return RecoveryAction("fallback", value)

    @staticmethod
    def skip(value: Any = None) -> RecoveryAction:
        """Leave the work out, with this value (in a graph: without a write)."""
        return RecoveryAction("skip", value)

    @staticmethod
    def rollback(to: str) -> RecoveryAction:
        """Go back to just before this node, or to a savepoint."""
        return RecoveryAction("rollback", to=to)

    @staticmethod
    def escalate(to: str = "") -> RecoveryAction:
        """Ask for the output: a person (`user:`, `role:`, `tenant:`; empty: anybody), or a definition by its name."""
        return RecoveryAction("escalate", to=to)

    @staticmethod
    def abort() -> RecoveryAction:
        """Fail the run."""
        return RecoveryAction("abort")


@dataclass(frozen=True, slots=True)
class Failed:
    """Stands in the list of a mapped edge with `on_error="collect"` where an activation failed."""

    __windlass_tag__: ClassVar[str] = "windlass.Failed"  # leaves the plain name to the user's own types

    address: str
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Happened:
    """What a `verify` function returns when the outside world shows that the effect took place; else None."""

    value: Any = None


OnDoubt: TypeAlias = Literal["ask", "retry"] | Callable[..., Any]
"""What follows when nobody knows whether something happened: ask a person, call it again, or a verify function."""


@dataclass(frozen=True, slots=True)
class Undo:
    """A compensation with its own rule for doubt, for `@task(undo=[...])`; a bare function means `ask`.

    Args:
        fn: called with the arguments of the effect. If it has keyword-only parameters `outcome` or `undo_key`, they
            get what the effect returned, and the undo's own idempotency key.
        on_doubt: what a rollback does that finds the undo begun and not ended: `ask` a person, `retry` it with the
            same `undo_key`, or a function that is called as `fn` is and returns Happened() if the undo took place.
    """

    fn: Callable[..., Any]
    on_doubt: OnDoubt = "ask"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool(Generic[P, R]):
    """What a model may ask a task to call, by name, through `ctx.tool`. Made by `@tool`.

    Called directly, as in a unit test, it is its function: no run, no record, no permission.

    Args:
        parameters: every argument by name, with its default; `msgspec.UNSET`: it must be given.
        types: the annotation of each parameter; that of `**named` under "**".
        takes_more: it has `**named`, and so takes any other argument, too.
        description: what it says about itself to a model.
        schema: the JSON Schema of its arguments.
        digest: of name, description and schema: a person's approval holds for the tool as it was described.
        effect: it changes the world outside: called as `ctx.effect` calls, with `on_doubt`; else as `ctx.call` does.
        cost: what a call is expected to use beside one tool call, by unit.
    """

    name: str
    fn: Callable[P, R]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    types: Mapping[str, Any] = field(default_factory=dict)
    takes_more: bool = False
    description: str = ""
    schema: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    effect: bool = False
    on_doubt: OnDoubt = "ask"
    cost: Mapping[str, int] = field(default_factory=dict)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself."""
        return self.fn(*args, **kwargs)

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the final arguments, each of its type, defaults included: what permission judges, and what is called.

        Raises:
            ToolArgumentsInvalid: one is missing, or of another type, or there is no such parameter.
        """
        missing = [name for name, default in self.parameters.items() if default is msgspec.UNSET and name not in given]
        unknown = [] if self.takes_more else [name for name in given if name not in self.parameters]
        if missing or unknown:
            said = [f"{name!a} is missing" for name in missing] + [f"there is no {name!a}" for name in unknown]
            hint = f"parameters: {', '.join(self.parameters) or 'none'}"
            raise ToolArgumentsInvalid(f"tool {self.name}", "; ".join(said), hint=hint)
        final = {name: value for name, value in self.parameters.items() if name not in given}
        more = self.types.get("**", Any)
        try:
            for name, value in given.items():
                final[name] = convert(value, self.types.get(name, more), f"tool {self.name}.{ascii(name)[1:-1]}")
        except InputError as error:
            raise ToolArgumentsInvalid(error.path, str(error.args[0]).removeprefix(f"{error.path}: ")) from None
        return final


When: TypeAlias = str | float | timedelta | datetime
"""A length of time from now on (`"2h"`, seconds, a timedelta), or a moment with its time zone."""


@dataclass(frozen=True, slots=True)
class Escalate:
    """For `otherwise=`: who is asked once the deadline has passed: `user:`, `role:`, `tenant:`, or a definition's name.

    It is asked without a deadline then.
    """

    to: str


@dataclass(frozen=True, slots=True)
class Approve:
    """For `approve=`: who has to approve, and until when; nobody in time denies.

    Args:
        to: `user:NAME`, `role:NAME` or `tenant:NAME`; empty: anybody.
    """

    to: str = ""
    deadline: When | None = None
    remind: Sequence[When] = ()


@dataclass(frozen=True, slots=True)
class Answered(Generic[T]):
    """An answer with its circumstances, where `ctx.ask` is given the schema `Answered[T]`.

    Args:
        by: who gave it; `deadline` where nobody did.
        context: of an escalation: the run that found it, its definition and its final channels.
    """

    value: T
    by: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)


class EffectNotDone(Exception):
    """Raised by an effect or an undo to say for certain that nothing happened, so that it may be tried again."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a run stands when `run` returns.

    Args:
        output: the single sink's value, else a dict by sink; a graph's final channels. None unless completed.
        waiting: ids of open questions.
        due_at: when the next timer is due, in seconds since the epoch.
    """

    run: str
    status: str
    output: Any = None
    waiting: tuple[str, ...] = field(default=())
    due_at: float | None = None
