"""One attempt of an activation while it runs: its operations under way, its clocks, and why it has to stop.

An attempt that has to wait awaits a future that nobody sets; once nothing else of it is under way, its task is
cancelled and the activation runs again later, from its start, with what it recorded returned in place (D18). The same
cancellation serves timeout, pause, cancel and rollback: `stop` says why.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from windlass.core.blueprint import Blueprint, NodeSpec
from windlass.core.errors import AttemptTimeout, ContextClosed
from windlass.core.ops import Op
from windlass.core.position import Pending, parse
from windlass.core.records import Finished, Planned
from windlass.engine.journal import Journal
from windlass.engine.services import Services

SETTLE_TURNS = 4  # turns of the loop that a node gets, after its last operation ended, to begin the next one
NOTHING = Pending()
PATIENCE_SECONDS = 60.0  # that effects in flight get once their attempt is stopped, where it has no timeout
GRACE_SECONDS = 0.3  # between a cancellation and giving the attempt up: with waking up it stays below 0.5 (FAULTS F27)


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
        self.has_ended = False  # the node's code, though effects of it may be in flight
        self.closed = False
        self.live = 0  # operations under way that will end by themselves
        self.waits: dict[str, asyncio.Future[Any]] = {}  # operations that only something from outside can end
        self.effects: set[asyncio.Task[Any]] = set()
        self.enough: asyncio.Future[None] | None = None  # set once effects in flight are waited for no longer
        self.counts: dict[str, int] = {}  # n-th identical call, question or sleep in this attempt
        self.ordinal = 0
        self.signs = 0.0  # monotonic time of the last sign of life
        self.savepoints: list[str] = []
        self.outcome: asyncio.Future[Outcome] | None = None
        self.clocks: list[asyncio.TimerHandle] = []
        self.has_asked = False  # whether an effect happened, as its time ran out
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
        """Cancel the attempt for this reason; effects in flight come to their end first, or are in doubt (D20)."""
        if self.stopping or self.closed:
            return
        self.stopping = reason
        if not self.effects:
            self._cancel()
        else:
            asyncio.get_running_loop().call_later(self.patience, self._lose_patience)

    @property
    def patience(self) -> float:
        """Seconds that effects in flight get once the attempt is stopped: its timeout, if it has one."""
        return self.node.timeout or PATIENCE_SECONDS

    def _lose_patience(self) -> None:
        if self.enough is not None and not self.enough.done():
            self.enough.set_result(None)

    def _cancel(self) -> None:
        if self.task is not None and not self.task.done() and not self.has_ended:
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
            self.outcome.set_result(Outcome(self, error=self.stop_error(), stopped=self.stopping, abandoned=True))

    def stop_error(self) -> BaseException | None:
        """Return the error that a stop for a timeout amounts to; None for other reasons."""
        if self.stopping not in ("timeout", "idle"):
            return None
        seconds = self.node.timeout if self.stopping == "timeout" else self.node.idle_timeout
        said = "took longer than" if self.stopping == "timeout" else "gave no sign of life for"
        return AttemptTimeout(f"{self.address} {said} {seconds:g} s", kind="AttemptTimeout")


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
