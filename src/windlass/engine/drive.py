"""One owner's drive of one run: what it holds while it goes on.

`loop` moves it; `commands`, `failures` and `tree` steer it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from windlass.core import ops
from windlass.core import records as r
from windlass.core.blueprint import Blueprint
from windlass.core.frames import lane
from windlass.core.position import Position
from windlass.core.states import FAILED, RUNNING, UNFINISHED, Status
from windlass.engine.activation import NOTHING, Activation, Outcome
from windlass.engine.alarm import Alarm
from windlass.engine.doubts import is_doubtful
from windlass.engine.guard import Guard
from windlass.engine.itemlog import ItemLog
from windlass.engine.journal import Journal
from windlass.engine.kin import cascade, say_farewell
from windlass.engine.ledger import Ledger
from windlass.engine.services import Services
from windlass.engine.stops import with_stops
from windlass.engine.turns import Turns

LOOK_SECONDS = 60.0  # a wait for a time of day looks so often whether that has jumped


class Drive:
    """The loop's state."""

    def __init__(
        self, services: Services, blueprint: Blueprint, record: r.RunRecord, position: Position, ledger: Ledger,
        blobs: dict[str, bytes],
    ) -> None:  # fmt: skip
        self.services = services
        self.run = record.id
        self.blueprint = with_stops(blueprint, record)
        self.position = position
        self.ledger = ledger
        self.clock = services.seams.clock
        self.journal = Journal(services.store, services.seams, record, position, self._told, blobs, blueprint.codec)
        say_farewell(self.journal, blueprint)
        self.items = ItemLog(self.journal, self.wake)
        self.guard = Guard(services, self.blueprint, self.journal)
        self.guard.wake = self._passed_on
        self.has_streams = blueprint.has_streams
        self.has_frames = blueprint.has_frames
        self.ready: deque[str] = deque()
        self.held: dict[str, deque[str]] = {}  # by node within its frame: ready, but at the node's concurrency
        self.whole: list[str] = []  # frames in which the last owner left nothing to wait for: a step is due, or the end
        # Address → why: a "retry" has its time, as has what is "held" by a limit; or it "waits", or "starves".
        self.resting: dict[str, str] = {}
        self.unfunded: list[str] = []  # of those that wait: until a person has raised a budget
        self.wrapping = ""  # the node at which a used up budget lets the run end
        self.running: dict[str, Activation] = {}
        self.done: list[Outcome] = []
        self.known: dict[str, Any] = {}  # decoded writes of what finished in this process, by address
        # Why nothing new is launched: pause, cancel, rollback, fail; or stay, until a resume is taken.
        self.leaving = "" if record.head.status in UNFINISHED else "stay"
        self.rollback: dict[str, Any] = {}  # the arguments of the rollback under way
        self.undos: set[asyncio.Task[Any]] = set()  # of it, in flight
        self.failure: tuple[str, ops.Failure] | None = None
        self.burial: Callable[[], None] | None = None  # makes the dead letter of a failure of the run as a whole
        self.buried: list[str] = []  # dead letters of this drive that a definition is bound to
        self.over = False
        self.continued = ""  # the run that this one continued as
        self.news = True  # a command may be waiting
        self.ended: list[tuple[str, str]] = []  # children whose end was taken and is not folded yet: address, key
        self.answered: list[tuple[str, str]] = []  # answers that were taken and are not folded yet: address, key
        self.woken: set[str] = set()  # addresses for which something came while their attempt was being stopped
        self.seen: set[str] = set()  # commands that were taken, or are being acted on
        self.late: set[str] = set()  # questions whose deadline this drive has applied, by the command
        self.escalated: list[str] = []  # questions that were put to a definition
        self.turns: Turns
        self.direct: Activation | None = None  # runs in the task that takes the turns
        self.alarm = Alarm(services.seams.clock, self.running)
        self.lingers_until: float | None = None  # for children that are driven here
        self._wake: asyncio.Future[None] | None = None
        self._slice = 0.0

    async def step(self, finished: list[r.Finished], path: str = "") -> None:
        """Settle what has finished in a frame and plan what follows: the loop does."""
        raise NotImplementedError

    def activation(self, address: str) -> Activation:
        """Make the next attempt of what waits at an address."""
        planned = self.position.at(address).waiting[address]
        return Activation(self.services, self.blueprint, self.journal, self.ledger, self.guard, planned)

    def status(self) -> Status | None:
        """Return the status that a write has to set, as the run goes on."""
        return None if self.journal.head.status is RUNNING else RUNNING

    def next_held(self, address: str) -> None:
        """Let the next one pass that is at its node's concurrency: this one takes no place, or none any more."""
        if self.held and (held := self.held.get(lane(address))):
            self.ready.append(held.popleft())

    def _told(self) -> None:
        self.services.notifier.wake(self.run)
        if self.escalated:
            self._begin_escalations()
        if self.journal.posted and not self.journal.is_behind:
            posted, self.journal.posted = self.journal.posted, []
            self.services.nest.deliver(self.journal.record, posted)

    def _begin_escalations(self) -> None:
        begin, ids = self.services.escalate, self.escalated
        if begin is not None:
            self.escalated = []
            for id_ in ids:
                self.services.seams.background(begin(id_), f"escalate {id_}")

    def hear(self) -> None:
        """Note that a command may be waiting."""
        self.news = True
        self.wake()

    def wake(self) -> None:
        """Let the loop look again."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def rest_until(self, due: float | None) -> None:
        """Wait for an outcome, a command or a due time."""
        loop = asyncio.get_running_loop()
        self._wake = loop.create_future()
        if self.done or self.news:
            return
        left = None if due is None else max(0.0, due - self.clock.now())
        handle = None if left is None else loop.call_later(min(left, LOOK_SECONDS), self.wake)
        try:
            await self._wake
        finally:
            if handle is not None:
                handle.cancel()
        self.push_due()

    def _passed_on(self, address: str) -> bool:
        """Let an activation go on that waited for the permit of another, if it still does."""
        if self.resting.get(address) != "held" or address in self.ready:
            return False
        self.ready.append(address)
        self.wake()
        return True

    def go_on(self, address: str, *begins: str) -> None:
        """Let an activation go on for which something came, in its attempt or with a new one.

        Args:
            begins: how the keys begin of what its attempt waits for.
        """
        running = self.running.get(address)
        if running is None:
            if address not in self.ready and not is_doubtful(self.position.pending.get(address, NOTHING)):
                self.ready.append(address)
            return
        if running.stopping:
            self.woken.add(address)
        for what, waiter in running.waits.items():
            if what.startswith(begins) and not waiter.done():
                waiter.set_result(None)

    def rest(self, activation: Activation) -> None:
        """Let an activation wait, unless something came for it while its attempt was being stopped."""
        if activation.address in self.woken:
            self.ready.append(activation.address)
        else:
            self.resting[activation.address] = "starves" if activation.starved else "waits"

    def stop_all(self, reason: str) -> None:
        """Stop what runs; effects in flight come to their end first (D20)."""
        for activation in tuple(self.running.values()):
            activation.stop(reason)

    async def end(self, status: Status, kind: str, address: str = "", **details: Any) -> None:
        """Write the drive's last row, and release the run."""
        if status is FAILED and self.burial is not None:
            self.burial()
        cascade(self.journal, status)
        self.journal.say(kind, address, **details)
        self.over = True
        await self.journal.write("record", status=status, release=True)

    def next_due(self) -> float | None:
        """Return when the next retry or timer of an activation that does not run is due, or a question's clock."""
        return min((due for _, due in self._dues()), default=None)

    def _dues(self) -> list[tuple[str, float]]:
        """List what rests for a time: retries, and sleeps that nobody has acted on."""
        dues: list[tuple[str, float]] = []
        for address, why in self.resting.items():
            pending = self.position.pending.get(address, NOTHING)
            if pending.is_failed:
                continue
            if why == "retry":
                dues.append((address, pending.due_at or 0.0))
            elif why == "held":
                dues.append((address, self.guard.dues[address]))
            else:
                dues += [(address, due) for due in pending.timers.values() if due not in pending.fired]
                dues += [(address, due) for one in pending.open_signals if (due := one.terms.due_at) is not None]
        return dues + self._clocks()

    def _clocks(self) -> list[tuple[str, float]]:
        """List when the clocks of questions go next."""
        return [
            ("", at)
            for pending in self.position.pending.values()
            for key, terms in pending.terms.items()
            if (at := terms.next_at) is not None and f"{pending.asked.get(key)}|deadline" not in self.late
        ]

    def lingers(self, children: list[str], seconds: float) -> bool:
        """Say whether to wait here for children: what ends soon is not worth giving the run up, and taking it again."""
        if self.guard.is_on or self.journal.head.crashes or not self.services.nest.are_near(children):
            return False  # they may need what it holds of limits and budgets, and may kill it once, but not again
        now = self.clock.now()
        if self.lingers_until is None:
            self.lingers_until = now + seconds
        return now < self.lingers_until <= now + seconds

    def push_due(self) -> None:
        """Make ready what has come due; nothing, once nothing is launched any more."""
        if self.leaving:
            return
        now = self.clock.now()
        for address in dict.fromkeys(address for address, due in self._dues() if due <= now):
            if not address:  # of a question: it is acted on where commands are taken
                self.news = True
                continue
            self.tell_fired(address)
            self.ready.append(address)

    def tell_fired(self, address: str) -> None:
        """Tell of the sleeps of an activation that are over and that nobody has told of."""
        pending = self.position.pending.get(address, NOTHING)
        for due in sorted({*pending.timers.values()} - pending.fired):
            if due <= self.clock.now():
                pending.fired.add(due)
                self.journal.say("timer.fired", address, due_at=due)
