"""What a task sees of the runtime: `ctx`. Whatever is awaited here returns the same value on a re-run.

A task may be run again from its start at any time (a crash, a retry, a wait). `call` makes its results durable,
`effect` makes sure that something happens once; `ask`, `signal`, `sleep` and `run` (a child) wait without a process.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar, Unpack, overload

from windlass.core.judged import Problem
from windlass.core.words import Approve, OnDoubt, Undo
from windlass.engine import calls
from windlass.engine.activation import Activation
from windlass.engine.children import Children
from windlass.engine.effects import Act, perform
from windlass.engine.ledger import effect_key
from windlass.engine.ports import Ports
from windlass.engine.questions import Asking, put
from windlass.engine.signals import Signals
from windlass.engine.sleeps import sleep
from windlass.policies.budget import Cost

T = TypeVar("T")


class SyncContext:
    """The context of a sync task: what needs no waiting."""

    def __init__(self, activation: Activation) -> None:
        self._activation = activation
        self._loop = asyncio.get_running_loop()
        self.now = activation.services.seams.clock.now()

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._activation.journal.record.id

    @property
    def address(self) -> str:
        """This activation: `node#visit[index]`, stable over crashes and retries."""
        return self._activation.address

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self._activation.attempt

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What was wrong with the last output of this activation that was refused; empty in its first take."""
        return (self._activation.pending.refused or [()])[-1]

    @property
    def cancelled(self) -> bool:
        """Whether the attempt has to stop; a sync task that loops looks now and then."""
        return bool(self._activation.stopping) or self._activation.closed

    def key(self, name: str = "", key: str = "") -> str:
        """Return an idempotency key for the outside world.

        The same for each attempt and each owner of this activation; another one once the effect of this name was
        undone or superseded. With the name of an effect, the key of that effect.
        """
        return effect_key(self._activation, name, key)

    @property
    def budget(self) -> dict[str, float]:
        """What is left of the tightest budget, by what it limits, as this process last heard: money, seconds, counts.

        Not recorded: a re-run may see another number.
        """
        left: dict[str, float] = self._activation.guard.escrow.left()
        return left

    def emit(self, value: Any) -> None:
        """Show a value at once to whoever follows the run; it falls away when the attempt ends."""
        self._loop.call_soon_threadsafe(self._activation.streams.show, self._activation, value)


class Context(SyncContext, Ports, Children, Signals):
    """The context of an async task.

    Raises:
        ContextClosed: any method, once the attempt has ended or is being stopped.
    """

    def emit(self, value: Any) -> None:
        """Show a value at once to whoever follows the run; it falls away when the attempt ends."""
        activation = self._open()
        activation.streams.show(activation, value)

    def savepoint(self, name: str) -> None:
        """Name the checkpoint that this activation's end makes; pruning keeps it, rollback finds it by its name."""
        self._open().savepoint(name)

    async def call(
        self, name: str, fn: Callable[..., Any], *arguments: Any, key: str = "", returns: Any = None,
        cost: Cost | None = None, **named: Any,
    ) -> Any:  # fmt: skip
        """Call `fn` and keep what it returns: a re-run of this task gets the kept value and pays nothing.

        A crash between the call and its record makes the call once more; use `effect` where that must not be.

        Args:
            name: what the call is, in events and audit.
            fn: async, or sync (then it runs in a thread).
            key: tells calls apart whose arguments cannot be encoded.
            returns: the result's type; by default the annotation of `fn`.
            cost: what it is expected to use: set aside in every budget before, and settled after.

        Raises:
            ValueNotKept: the declared type, an argument (without `key`) or the result cannot be kept.
            PermissionDenied, BudgetExceeded: it may not be; nothing was called.
        """
        act = Act("call", {} if cost is None else cost.amounts, cost)
        return await calls.make(self._open(), act, name, (fn, arguments, named), key=key, returns=returns)

    async def effect(
        self, name: str, fn: Callable[..., Any], *arguments: Any, key: str = "", on_doubt: OnDoubt = "ask",
        undo: Callable[..., Any] | Undo | str = "", returns: Any = None, cost: Cost | None = None,
        approve: str | Approve | None = None, **named: Any,
    ) -> Any:  # fmt: skip
        """Make `fn` happen once: intent, then `fn`, then outcome, each durable before the next.

        A crash in between leaves the effect in doubt. `on_doubt` decides: `ask` a person (the run waits), a function
        that asks the outside world (called with `fn`'s arguments; returns Happened(value) or None), or `retry`,
        for a target that honours the idempotency key `ctx.key(name)`. A `fn` that raises is in doubt too, unless it
        raises EffectNotDone.

        Args:
            name: with `key`, the effect's identity within this activation.
            undo: its compensation for a rollback, one of those that the task declares with `undo=[...]`.
            returns: the result's type; by default the annotation of `fn`.
            cost: as for `call`.
            approve: who has to approve it, as it stands, before it happens: `role:cfo`, or an Approve.

        Raises:
            PermissionDenied, BudgetExceeded: it may not be; nothing was called.
            EffectDiverged: the same effect was asked for twice in one attempt.
            ValueNotKept: an argument, or the declared type, cannot be kept.
            DefinitionError: `undo` is not declared by the task.
        """
        act = Act("effect", {} if cost is None else cost.amounts, cost, approve=approve)
        call = (fn, arguments, named)
        return await perform(self._open(), name, key, call, on_doubt=on_doubt, undo=undo, returns=returns, act=act)

    @overload
    async def ask(self, prompt: str, schema: type[T], **asking: Unpack[Asking]) -> T: ...
    @overload
    async def ask(self, prompt: str, schema: Any = str, **asking: Unpack[Asking]) -> Any: ...
    async def ask(self, prompt: str, schema: Any = str, **asking: Unpack[Asking]) -> Any:
        """Ask a person. The run waits without a process until `answer` is called, from anywhere.

        The question belongs to this activation and place: its answer can reach no other.

        Args:
            schema: the answer's type: a builtin, dataclass, struct, TypedDict, Literal or Pydantic model, a JSON
                Schema as a dict, or Answered[T] to see who answered, too.
            asking: to, deadline, otherwise, remind, key; see Asking.

        Raises:
            QuestionExpired: nobody answered in time, and nothing else was declared to follow.
            InputError: nobody can be asked so, or the schema is none.
        """
        return await put(self._open(), prompt, schema, asking)

    async def sleep(self, duration: float | timedelta) -> None:
        """Sleep. The due time is stored when the sleep is first reached; the process may end meanwhile.

        Args:
            duration: seconds, or a timedelta.
        """
        await sleep(self._open(), duration)
