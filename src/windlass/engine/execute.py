"""Execute: one attempt of an activation, from private inputs to encoded writes. The only place that awaits user code.

An attempt that has to wait awaits a future that nobody sets; once nothing else of it is under way, its task is
cancelled and the activation runs again later, from its start, with what it recorded returned in place (D18). The same
cancellation serves timeout, pause, cancel and rollback: `stop` says why, and `attempt` turns it into an outcome.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from windlass.core.blueprint import Blueprint, ChannelSpec, NodeSpec
from windlass.core.channels import LONG, MUTABLE, REPLACING, outside
from windlass.core.codec import Codec
from windlass.core.crashpoint import crashpoint
from windlass.core.errors import (
    AttemptTimeout,
    ContextClosed,
    TaskError,
    ValidationFailed,
    WaitSwallowed,
    WriteUndeclared,
)
from windlass.core.position import Pending, parse
from windlass.core.records import Finished, Op, Planned, Sent
from windlass.core.words import Output, Update
from windlass.engine.journal import Journal
from windlass.engine.plan import check_goto
from windlass.engine.services import Services

SETTLE_TURNS = 4  # turns of the loop that a node gets, after its last operation ended, to begin the next one
NOTHING = Pending()
GRACE_SECONDS = 0.5  # between a cancellation and giving the attempt up (FAULTS F27)


@dataclass(slots=True)
class Outcome:
    """How an attempt ended: finished, failed, or stopped for a reason (`waiting`, `pause`, `cancel`, …)."""

    activation: "Activation"
    finished: Finished | None = None
    known: Mapping[str, Any] = field(default_factory=dict)
    error: BaseException | None = None
    stopped: str = ""
    abandoned: bool = False


class Activation:
    """One attempt of an activation while it runs: its task, its operations under way, and why it has to stop."""

    def __init__(
        self, services: Services, blueprint: Blueprint, journal: Journal, ledger: Any, planned: Planned
    ) -> None:
        self.services = services
        self.blueprint = blueprint
        self.journal = journal
        self.ledger = ledger
        self.planned = planned
        self.address = planned.address
        self.node: NodeSpec = blueprint.nodes[parse(planned.address)[0]]
        self.attempt = self.pending.attempts + 1
        self.task: asyncio.Task[Any] | None = None
        self.stopping = ""
        self.closed = False
        self.live = 0  # operations under way that will end by themselves
        self.waits: dict[str, asyncio.Future[Any]] = {}  # operations that only something from outside can end
        self.effects: set[asyncio.Task[Any]] = set()
        self.counts: dict[str, int] = {}  # n-th identical call, question or sleep in this attempt
        self.ordinal = 0
        self.signs = 0.0  # monotonic time of the last sign of life
        self.savepoints: list[str] = []
        self.outcome: asyncio.Future[Outcome] | None = None
        self.clocks: list[asyncio.TimerHandle] = []
        self.starved = False  # waits for a stream item, and has looked at all there are
        self.streams: Any = None  # the run's stream log, where the node takes part in one

    @property
    def pending(self) -> Pending:
        """What is kept of this activation so far; read only."""
        return self.journal.position.pending.get(self.address, NOTHING)

    async def record(self, *ops: Op) -> None:
        """Keep what happened in here; durable when it returns.

        Raises:
            ContextClosed: the attempt was given up; nothing is written.
        """
        if self.closed:
            raise ContextClosed(f"{self.address}: attempt {self.attempt} is over")
        await self.journal.record_op(*ops)

    async def firm(self) -> None:
        """Wait until every stream item that this attempt was handed can no longer fall away."""
        if self.streams is not None:
            await self.streams.firm(self)

    def nth(self, key: str) -> int:
        """Count how often this attempt has asked for `key`: 0 the first time."""
        number = self.counts.get(key, 0)
        self.counts[key] = number + 1
        return number

    def begin_op(self) -> None:
        """Note an operation that will end by itself."""
        self.live += 1

    def end_op(self) -> None:
        """Note its end, which is also a sign of life."""
        self.live -= 1
        self.signs = self.services.seams.clock.monotonic()
        self._look()

    async def wait(self, key: str) -> Any:
        """Wait for what only the outside can give. Returns if it comes while the attempt still runs."""
        future = self.waits[key] = asyncio.get_running_loop().create_future()
        self._look()
        try:
            return await future
        finally:
            self.waits.pop(key, None)

    def _look(self, turns: int = SETTLE_TURNS) -> None:
        """Stop the attempt once all it does is wait, after a few turns in which it may begin something else."""
        if self.live or not self.waits or self.stopping or self.closed:
            return
        if turns:
            asyncio.get_running_loop().call_soon(self._look, turns - 1)
        else:
            self.stop("waiting")

    def stop(self, reason: str) -> None:
        """Cancel the attempt for this reason; effects in flight come to their end first (D20)."""
        if self.stopping or self.closed:
            return
        self.stopping = reason
        if not self.effects:
            self._cancel()

    def _cancel(self) -> None:
        if self.task is not None and not self.task.done():
            self.task.cancel()
            if self.outcome is not None:
                asyncio.get_running_loop().call_later(GRACE_SECONDS, self._abandon)

    def effect_ended(self, task: "asyncio.Task[Any]") -> None:
        """Let a stop go on that waited for this effect."""
        self.effects.discard(task)
        if self.stopping and not self.effects:
            self._cancel()

    def _abandon(self) -> None:
        """Give up an attempt that ignores its cancellation: its context is closed, so it can change nothing more."""
        if self.outcome is not None and not self.outcome.done() and not self.effects:
            self.closed = True
            self.outcome.set_result(Outcome(self, error=_stop_error(self), stopped=self.stopping, abandoned=True))


def arm(activation: Activation) -> None:
    """Start the clocks of an attempt: its whole time, and the time between two signs of life."""
    loop = asyncio.get_running_loop()
    clock = activation.services.seams.clock
    activation.signs = clock.monotonic()
    node = activation.node
    if node.timeout is not None:
        activation.clocks.append(loop.call_later(node.timeout, activation.stop, "timeout"))
    idle = node.idle_timeout
    if idle is None:
        return

    def look() -> None:
        left = activation.signs + idle - clock.monotonic()
        if left <= 0:
            activation.stop("idle")
        else:
            activation.clocks[-1] = loop.call_later(left, look)

    activation.clocks.append(loop.call_later(idle, look))


async def attempt(activation: Activation) -> Outcome:
    """Run one attempt to its outcome; never raises for what user code does.

    Raises:
        CancelledError: the process is going down, not the attempt.
    """
    try:
        value = await _invoke(activation)
        if activation.stopping == "waiting":
            raise WaitSwallowed(f"{activation.address} caught the cancellation of its wait", address=activation.address)
        _validate(activation, value)
        finished, known = keep_writes(activation, value)
        return Outcome(activation, finished, known)
    except asyncio.CancelledError as error:
        if not activation.stopping:
            return await _settled(activation, error)
        if activation.task is not None:
            activation.task.uncancel()
        return Outcome(activation, error=_stop_error(activation), stopped=activation.stopping)
    except Exception as error:  # noqa: BLE001 -- the task boundary: whatever user code raises is an outcome
        if activation.stopping and not isinstance(error, WaitSwallowed):  # raised while unwinding
            return Outcome(activation, error=_stop_error(activation), stopped=activation.stopping)
        return Outcome(activation, error=error)
    finally:
        for clock in activation.clocks:
            clock.cancel()
        if activation.effects:
            await asyncio.wait(activation.effects)
        activation.closed = True


async def _settled(activation: Activation, error: asyncio.CancelledError) -> Outcome:
    """Tell a node that cancelled itself (its own CancelledError) from a process that is going down."""
    if activation.task is not None and activation.task.cancelling():
        raise error
    return Outcome(activation, error=TaskError("the node raised CancelledError by itself", kind="CancelledError"))


def _stop_error(activation: Activation) -> BaseException | None:
    if activation.stopping in ("timeout", "idle"):
        node = activation.node
        seconds = node.timeout if activation.stopping == "timeout" else node.idle_timeout
        said = "took longer than" if activation.stopping == "timeout" else "gave no sign of life for"
        return AttemptTimeout(f"{activation.address} {said} {seconds:g} s", kind="AttemptTimeout")
    return None


async def _invoke(activation: Activation) -> Any:
    node = activation.node
    crashpoint("node.before")
    arguments = gather_inputs(activation)
    if node.mode == "async":
        return await node.fn(*arguments)
    if node.mode == "sync":
        activation.begin_op()
        try:
            return await activation.services.pool.run(node.fn, *arguments)
        finally:
            activation.end_op()
    output: Any = UNSET
    items = node.fn(*arguments)
    try:
        async for item in items:
            if isinstance(item, Output):
                output = item.value
            else:
                await activation.streams.emit(activation, item)
    finally:
        await items.aclose()
    if output is UNSET:
        raise TaskError(f"{activation.address} ended without yielding an Output", kind="MissingOutput")
    return output


def gather_inputs(activation: Activation) -> list[Any]:
    """Make the arguments of a node: private values of exactly what its signature names.

    Raises:
        TaskError: a channel that it reads was never written.
    """
    channels = activation.journal.position.channels
    codec, blob = activation.blueprint.codec, activation.journal.blob
    arguments: list[Any] = []
    for param in activation.node.params:
        if param.kind == "channel":
            value = channels[param.source].read(codec, blob)
            if value is UNSET:
                if param.default is UNSET:
                    said = f"{activation.address} reads channel {param.source}, which has no value yet"
                    raise TaskError(said, kind="ChannelUnset")
                value = param.default
            arguments.append(value)
        elif param.kind == "context":
            arguments.append(activation.services.context(activation))
        elif param.kind == "item":
            arguments.append(channels[param.source].read(codec, blob)[int(parse(activation.address)[2])])
        elif param.kind == "payload":
            payload = activation.planned.payload
            arguments.append(codec.decode(bytes(payload), blob))
        elif param.kind == "upstreams":
            arguments.append({name: channels[name].read(codec, blob) for name in param.sources})
        else:
            arguments.append(activation.streams.follow(activation, param.source))
    return arguments


def _validate(activation: Activation, value: Any) -> None:
    if activation.node.validate is None:
        return
    verdict = activation.node.validate(value)
    if verdict is not None and not verdict.valid:
        raise ValidationFailed(f"{activation.address}: {verdict.reason}", kind="ValidationFailed")


def keep_writes(activation: Activation, value: Any) -> tuple[Finished, Mapping[str, Any]]:
    """Encode what a node returned; what is committed later is these bytes.

    Raises:
        WriteUndeclared: it wrote a channel that it did not declare.
        TaskError: it returned something that is no write.
        ValueNotKept, ValueTooLarge: a value cannot be kept; the message has its path.
    """
    node, blueprint = activation.node, activation.blueprint
    goto, sends = None, ()
    if node.output is not None:
        writes: Mapping[str, Any] = {node.output: value}
    elif isinstance(value, Update):
        writes, goto, sends = value.writes, value.goto, value.sends
        check_goto(blueprint, node.id, goto or (), [send.node for send in sends])
    elif value is None:
        writes = {}
    elif isinstance(value, dict):
        writes = value
    else:
        said = f"{activation.address} returned {type(value).__name__}: a graph node returns a dict, an Update or None"
        raise TaskError(said, kind="NotAWrite")
    if not node.writes.issuperset(writes):
        names = ", ".join(sorted(set(writes) - node.writes))
        raise WriteUndeclared(f"{activation.address} wrote {names}, which it did not declare")
    raws: dict[str, Raw] = {}
    known: dict[str, Any] = {}
    for name, written in writes.items():
        raws[name], known[name] = _keep(activation, blueprint.channels[name], written)
    kept = tuple(Sent(send.node, _payload(activation, send.value)) for send in sends)
    finished = Finished(activation.address, raws, goto, kept, activation.attempt)
    return finished, known


def _payload(activation: Activation, value: Any) -> Raw:
    encoded = activation.blueprint.codec.encode(value, f"{activation.address}.send")
    activation.journal.keep(encoded.blobs)
    return Raw(encoded.data)


def _keep(activation: Activation, spec: ChannelSpec, value: Any) -> tuple[Raw, Any]:
    codec, journal = activation.blueprint.codec, activation.journal
    if spec.kind in ("append", "unique"):
        return _keep_items(codec, journal, spec, value)
    encoded = codec.encode(value, spec.name)
    if encoded.blobs:
        journal.keep(encoded.blobs)
    if len(encoded.data) >= LONG and spec.kind != "gather":
        piece, blob = outside(encoded.data)
        journal.keep([blob])
        return Raw(piece), MUTABLE
    if spec.kind == "gather":
        return Raw(b"[[%s,%s]]" % (parse(activation.address)[2].encode(), encoded.data)), UNSET
    if spec.kind in REPLACING:
        return Raw(encoded.data), value if encoded.frozen else MUTABLE
    if not isinstance(value, dict):
        raise TaskError(f"channel {spec.name} merges dicts, and was written {type(value).__name__}", kind="NotAWrite")
    return Raw(encoded.data), MUTABLE


def _keep_items(codec: Codec, journal: Journal, spec: ChannelSpec, value: Any) -> tuple[Raw, Any]:
    if not isinstance(value, list | tuple):
        said = f"channel {spec.name} takes a list of items, and was written {type(value).__name__}"
        raise TaskError(said, kind="NotAWrite")
    parts = [codec.encode(item, f"{spec.name}[{place}]") for place, item in enumerate(value)]
    for part in parts:
        if part.blobs:
            journal.keep(part.blobs)
    shared = all(part.frozen for part in parts)
    return Raw(b"[%s]" % b",".join([part.data for part in parts])), list(value) if shared else MUTABLE


def describe(value: Any) -> Any:
    """Show a value in an error message or event: JSON where it can be, else its type."""
    try:
        return msgspec.to_builtins(value)
    except TypeError:
        return f"<{type(value).__name__}>"
