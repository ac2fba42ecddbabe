"""One attempt of an activation while it runs: its operations under way, its clocks, and why it has to stop.

An attempt that has to wait awaits a future that nobody sets; once nothing else of it is under way, its task is
cancelled and the activation runs again later, from its start, with what it recorded returned in place (D18). The same
cancellation serves timeout, pause, cancel and rollback: `stop` says why.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from typing import Any

from msgspec import structs

from windlass.core.blueprint import Blueprint, NodeSpec
from windlass.core.errors import AttemptTimeout, ContextClosed
from windlass.core.ops import Op
from windlass.core.pending import Pending
from windlass.core.position import Frame, parse, place
from windlass.core.records import Finished, Planned
from windlass.core.secret import MASKS
from windlass.engine.inputs import check_text
from windlass.engine.journal import Journal
from windlass.engine.redacting import masked
from windlass.engine.services import Services
from windlass.policies.chain import Chain

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

    __slots__ = (  # thousands of them may be alive, and a dict of more than 30 names is nobody else's: 2 KB each
        "address", "asking", "attempt", "beside", "blueprint", "books", "chain", "closed", "counts", "effects",
        "enough", "freed", "guard", "has_asked", "has_ended", "journal", "ledger", "live", "node", "ordinal", "over",
        "place", "planned", "raises", "reached", "savepoints", "services", "signs", "starved", "stopping", "streams",
        "task", "until", "waits", "was_cancelled",
    )  # fmt: skip

    def __init__(
        self, services: Services, blueprint: Blueprint, journal: Journal, ledger: Any, guard: Any, planned: Planned
    ) -> None:
        self.services = services
        self.journal = journal
        self.ledger = ledger
        self.planned = planned
        self.address = address = planned.address
        self.place = node = parse(address)[0]
        if "/" in address:  # of a sub-graph: its static path, and the definition that it is of
            self.place = place(address)
            blueprint = blueprint.within(address.rpartition("/")[0])
        self.blueprint = blueprint
        self.node: NodeSpec = blueprint.nodes[node]
        self.guard: Any = guard
        self.chain: Chain = guard.chains[self.place]
        self.attempt = journal.position.pending.get(address, NOTHING).attempts + 1
        self.task: asyncio.Task[Any] | None = None
        self.stopping = ""
        self.has_ended = False  # the node's code, though effects of it may be in flight
        self.closed = False
        self.live = 0  # operations under way that will end by themselves
        self.waits: dict[str, asyncio.Future[Any]] = {}  # operations that only something from outside can end
        self.effects: set[asyncio.Task[Any]] = set()
        self.enough: asyncio.Future[None] | None = None  # set once effects in flight are waited for no longer
        self.asking: dict[str, asyncio.Lock] = {}  # by budget: while a person is asked for more of it
        self.raises = 0  # how often a person's answer has let a budget have more, in this attempt
        self.reached: set[str] = set()  # keys of the questions that this attempt has asked, or found asked
        self.counts: dict[str, int] = {}  # n-th identical call, question or sleep in this attempt
        self.freed: dict[str, list[int]] = {}  # numbers of those that came to nothing, lowest first
        self.books: Any = None  # what it used through its ports, once it has used one
        self.ordinal = 0
        self.signs = 0.0  # monotonic time of the last sign of life
        self.savepoints: list[str] = []
        self.until = inf  # monotonic time at which its time is up
        self.over: Callable[[Outcome], None] | None = None  # is told its outcome, if it is not awaited in place
        self.beside: Callable[[], None] | None = None  # is told that it waits while something else of it goes on
        self.was_cancelled = False
        self.has_asked = False  # whether an effect happened, as its time ran out
        self.starved = False  # waits for a stream item, and has looked at all there are
        self.streams: Any = None  # the run's stream log, where the node takes part in one

    @property
    def pending(self) -> Pending:
        """What is kept of this activation so far; read only."""
        return self.journal.position.pending.get(self.address, NOTHING)

    @property
    def frame(self) -> Frame:
        """The frame in which it runs; read only."""
        position = self.journal.position
        return position.at(self.address) if position.frames else position

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
        """Number what this attempt asks for under `key`, from 0; a number that was given back is taken first."""
        if MASKS.known or not key.isascii():
            check_text(key, self.address)
        if self.freed and self.freed.get(key):
            return heappop(self.freed[key])
        number = self.counts.get(key, 0)
        self.counts[key] = number + 1
        return number

    def savepoint(self, name: str) -> None:
        """Name the checkpoint that the attempt's end makes."""
        self.savepoints.append(check_text(name, self.address))

    def give_back(self, key: str, number: int) -> None:
        """Give a number back: what had it came to nothing, so the next one that is identical stands in its place."""
        heappush(self.freed.setdefault(key, []), number)

    def accounted(self, finished: Finished) -> Finished:
        """Put the account of what was used beside what the activation left, if anything was."""
        if self.books is None:
            return finished
        return structs.replace(finished, account=masked(self.books.close(finished.writes)))

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
            self._look()

    def _look(self, turns: int = SETTLE_TURNS) -> None:
        """Stop the attempt once all it does is wait, after a few turns in which it may begin something else."""
        if not self.waits or self.stopping or self.closed:
            return
        if self.live:
            if self.beside is not None:
                self.beside()
            return
        if any(future.done() for future in self.waits.values()):
            return  # what it waited for came: it goes on, and looks again
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
        return self.chain.timeout or PATIENCE_SECONDS

    def _lose_patience(self) -> None:
        if self.enough is not None and not self.enough.done():
            self.enough.set_result(None)

    def _cancel(self) -> None:
        if self.task is not None and not self.task.done() and not self.has_ended:
            self.was_cancelled = self.task.cancel()
            asyncio.get_running_loop().call_later(GRACE_SECONDS, self._abandon)

    def effect_ended(self, task: "asyncio.Task[Any]") -> None:
        """Let a stop go on that waited for this effect."""
        self.effects.discard(task)
        if self.stopping and not self.effects:
            self._cancel()

    def _abandon(self) -> None:
        """Give up an attempt that ignores its cancellation: its context is closed, so it can change nothing more."""
        if not self.closed and not self.effects:
            self.closed = True
            self.tell(Outcome(self, error=self.stop_error(), stopped=self.stopping, abandoned=True))

    def tell(self, outcome: Outcome) -> None:
        """Tell how it ended; once: what an abandoned attempt comes to in the end is nobody's concern."""
        if self.over is not None:
            over, self.over = self.over, None
            over(outcome)

    def due(self) -> float:
        """Return the monotonic time at which its clocks stop it; inf for never."""
        if self.stopping or self.closed:
            return inf
        idle = self.chain.idle_timeout
        return self.until if idle is None else min(self.until, self.signs + idle)

    def stop_error(self) -> BaseException | None:
        """Return the error that a stop for a timeout amounts to; None for other reasons."""
        if self.stopping not in ("timeout", "idle"):
            return None
        seconds = self.chain.timeout if self.stopping == "timeout" else self.chain.idle_timeout
        said = "took longer than" if self.stopping == "timeout" else "gave no sign of life for"
        return AttemptTimeout(f"{self.address} {said} {seconds:g} s", kind="AttemptTimeout")
