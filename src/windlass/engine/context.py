"""What a task sees of the runtime: `ctx`. Whatever is awaited here returns the same value on a re-run.

A task may be run again from its start at any time (a crash, a retry, a wait). `call` makes its results durable,
`effect` makes sure that something happens once, `ask`, `sleep` and `run` (a child) wait without a process.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from typing import Any, TypeVar, overload

import msgspec

from windlass.core import ops
from windlass.core.errors import ContextClosed, DecodeError, InputError
from windlass.core.types import convert, json_schema
from windlass.core.words import OnDoubt, Undo
from windlass.engine import calls
from windlass.engine.activation import Activation
from windlass.engine.children import Children
from windlass.engine.effects import Act, perform
from windlass.engine.ledger import effect_key
from windlass.engine.questions import ask
from windlass.policies.budget import Cost

T = TypeVar("T")
IN_MEMORY_SECONDS = 1.0  # a sleep that ends sooner is slept in memory, to the same stored due time (D19)


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


class Context(SyncContext, Children):
    """The context of an async task.

    Raises:
        ContextClosed: any method, once the attempt has ended or is being stopped.
    """

    def _open(self) -> Activation:
        activation = self._activation
        if activation.closed or activation.stopping:
            raise ContextClosed(f"{activation.address}: attempt {activation.attempt} is over")
        return activation

    def emit(self, value: Any) -> None:
        """Show a value at once to whoever follows the run; it falls away when the attempt ends."""
        activation = self._open()
        activation.streams.show(activation, value)

    def savepoint(self, name: str) -> None:
        """Name the checkpoint that this activation's end makes; pruning keeps it, rollback finds it by its name."""
        self._open().savepoints.append(name)

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
        call = (fn, arguments, named)
        return await calls.make(self._open(), "call", name, call, key=key, returns=returns, cost=cost)

    async def tool(self, name: str, /, **arguments: Any) -> Any:
        """Call one of the definition's tools, if a grant allows it with these arguments. Recorded, as `call` is.

        A tool that is an effect happens once for each name, arguments and place in the order of such calls.

        Raises:
            ToolUnknown: the definition has no such tool.
            InputError: an argument is missing, or there is no such parameter.
            PermissionDenied, BudgetExceeded: it may not be; nothing was called.
        """
        return await calls.use(self._open(), name, arguments)

    async def effect(
        self, name: str, fn: Callable[..., Any], *arguments: Any, key: str = "", on_doubt: OnDoubt = "ask",
        undo: Callable[..., Any] | Undo | str = "", returns: Any = None, cost: Cost | None = None, **named: Any,
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

        Raises:
            PermissionDenied, BudgetExceeded: it may not be; nothing was called.
            EffectDiverged: the same effect was asked for twice in one attempt.
            ValueNotKept: an argument, or the declared type, cannot be kept.
            DefinitionError: `undo` is not declared by the task.
        """
        act = Act("effect", {} if cost is None else cost.estimate.amounts(), cost)
        call = (fn, arguments, named)
        return await perform(self._open(), name, key, call, on_doubt=on_doubt, undo=undo, returns=returns, act=act)

    @overload
    async def ask(self, prompt: str, schema: type[T], *, key: str = "") -> T: ...
    @overload
    async def ask(self, prompt: str, schema: Any = str, *, key: str = "") -> Any: ...
    async def ask(self, prompt: str, schema: Any = str, *, key: str = "") -> Any:
        """Ask a person. The run waits without a process until `answer` is called, from anywhere.

        The question belongs to this activation and place: its answer can reach no other. An answer that does not
        have the schema's type is refused and the question asked again.

        Args:
            schema: the answer's type: a builtin, dataclass, struct, TypedDict, Literal or Pydantic model.
            key: tells questions with the same prompt and schema apart where their order may change.
        """
        activation = self._open()
        shape = json_schema(schema)
        digest = key or sha256(msgspec.json.encode([prompt, shape], order="sorted")).hexdigest()[:16]
        identity = f"{digest}|{activation.nth('ask' + digest)}"
        said, tries = prompt, 0
        while True:
            raw = await ask(activation, f"{identity}|{tries}", said, shape)
            try:
                return convert(activation.blueprint.codec.decode(raw, trusted=True), schema, "answer")
            except (InputError, DecodeError) as error:
                said, tries = f"{prompt}\n(the last answer was refused: {error})", tries + 1

    async def sleep(self, duration: float | timedelta) -> None:
        """Sleep. The due time is stored when the sleep is first reached; the process may end meanwhile.

        Args:
            duration: seconds, or a timedelta.
        """
        activation = self._open()
        seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
        if seconds < 0:
            raise InputError("sleep", f"{seconds} seconds: a duration is at least 0")
        identity = f"sleep|{activation.nth('sleep')}"
        clock = activation.services.seams.clock
        activation.begin_op()
        try:
            await activation.firm()
            due_at = activation.pending.timers.get(identity)
            if due_at is None:
                due_at = clock.now() + seconds
                await activation.record(ops.TimerSet(activation.address, identity, due_at))
            # Once it was told that a sleep is over it is over, though the clock of this owner may say otherwise.
            left = 0.0 if due_at in activation.pending.fired else due_at - clock.now()
            if 0 < left <= IN_MEMORY_SECONDS:
                await clock.sleep(left)
            if left <= IN_MEMORY_SECONDS and due_at not in activation.pending.fired:
                activation.pending.fired.add(due_at)
                activation.journal.say("timer.fired", activation.address, due_at=due_at)
        finally:
            activation.end_op()
        if left > IN_MEMORY_SECONDS:
            await activation.wait(identity)
