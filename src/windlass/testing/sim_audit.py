"""The audit of a simulation: what budgets, breakers and limits stand at, beside what the world outside has seen.

It keeps books of its own, by what was applied to the store, in order. What it checks: nothing is granted that is not
there; whatever was paid outside is spent or held at every moment, also after a crash; no more attempts run than a limit
lets through; one probe at a time; nothing begins before its time, or more often than it may.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec
from msgspec import Struct, field

from windlass.core.changes import Adjust
from windlass.core.letters import DeadLetter
from windlass.core.tallies import (
    MOST,
    Amounts,
    Answer,
    BreakerAnswer,
    BreakerOp,
    BudgetAnswer,
    BudgetOp,
    BudgetState,
    LimitAnswer,
    LimitOp,
    LimitState,
)
from windlass.engine.activation import Activation
from windlass.engine.guard import FRESH_SECONDS
from windlass.policies.breaker import Breaker
from windlass.policies.budget import Cost
from windlass.policies.chain import Chain
from windlass.policies.limit import Limit
from windlass.policies.tally import wanting_nothing
from windlass.testing.sim_play import Simulation
from windlass.testing.sim_process import SHORT, Process
from windlass.testing.sim_watch import Adjusted, numbers

BELIEVED = FRESH_SECONDS["closed"] + 4 * SHORT  # seconds for which an attempt may begin though its breaker has opened
SLACK = 1e-3  # permits: what rounding may come to
BUDGET, LIMIT = msgspec.json.Decoder(BudgetState), msgspec.json.Decoder(LimitState)
LETTER = msgspec.json.Decoder(DeadLetter)


class Paid(Struct, eq=False):
    """One call that has a cost, as the world outside knows it."""

    run: str
    estimate: Amounts
    actual: Amounts | None = None  # None: it has not happened, as far as is known


class Book(Struct):
    """What a budget stands at: `lost` is what was counted as spent of what dead owners held."""

    spent: Counter[str] = field(default_factory=Counter)
    held: dict[str, tuple[int, Counter[str]]] = field(default_factory=dict)
    extra: Counter[str] = field(default_factory=Counter)
    raised: set[str] = field(default_factory=set)
    lost: Counter[str] = field(default_factory=Counter)
    limit: Amounts = field(default_factory=dict)

    def total(self, unit: str) -> int:
        """Count what is spent and held."""
        return self.spent[unit] + sum(amounts[unit] for _, amounts in self.held.values())


class Gate(Struct):
    """What a limit stands at: who holds how much, under which epoch and until when."""

    held: dict[str, tuple[int, int, float]] = field(default_factory=dict)
    level: float = 0.0  # of a leaky bucket, in true time
    at: float = 0.0
    late: float = 0.0  # the most that a grant came after its operation was made


class Switch(Struct):
    """What a breaker stands at."""

    status: str = "closed"
    since: float = 0.0  # that it is not closed, in true time
    probe: str = ""
    probed: float = 0.0


def some(amounts: Mapping[str, int]) -> dict[str, int]:
    """Leave out what is nothing."""
    return {unit: number for unit, number in amounts.items() if number > 0}


def key_of(policy: Limit | Breaker, activation: Activation) -> str:
    """Name the tally of a limit or a breaker, as an attempt meets it."""
    record = activation.journal.record
    return policy.key(tenant=record.tenant, definition=record.definition, node=activation.node.id)


class Audit:
    """Checks everything that is applied to a simulation's tallies, and every attempt that begins."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.watch = watch = simulation.watch
        watch.adjusted, watch.called = self.adjusted, self.called
        self.books: dict[str, Book] = {}
        self.gates: dict[str, Gate] = {}
        self.switches: dict[str, Switch] = {}
        self.paid: list[Paid] = []  # by number
        self.last: dict[tuple[str, int, str], int] = {}  # run, epoch, address → the number of its last call
        self.granted: Counter[tuple[str, str, int]] = Counter()  # key, run, epoch → permits
        self.begun: Counter[tuple[str, str, int]] = Counter()  # and attempts that needed one
        self.lapsed: set[tuple[str, str, int]] = set()  # whose permits have come free by themselves
        self.live: dict[Activation, Process] = {}

    @property
    def has_jumped(self) -> bool:
        """Whether a clock has been set: what goes by the time of day says little then."""
        return bool(self.watch.reached["clock jumped"])

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held of any budget or limit."""
        return not any(book.held for book in self.books.values()) and not any(gate.held for gate in self.gates.values())

    # What is applied to the store.

    def adjusted(self, adjusts: Adjusted, rides: bool) -> None:
        """See tallies changed."""
        for adjust, answer in adjusts:
            self._adjust(adjust, answer, rides)
        for key in {adjust.key for adjust, _ in adjusts}:
            self._compare(key)
        for run in {op.run for adjust, _ in adjusts if isinstance(op := adjust.op, BudgetOp)}:
            self.covered(run)

    def _adjust(self, adjust: Adjust, answer: Answer, rides: bool) -> None:
        key, op = adjust.key, adjust.op
        if not isinstance(op, BreakerOp) and op.epoch < self.watch.stories[op.run].epoch:
            run, op = op.run, wanting_nothing(op)
            if isinstance(op, BudgetOp):
                self.books.setdefault(key, Book()).lost.update(op.spent)  # it was written off, too: it counts twice
            if isinstance(answer, BudgetAnswer | LimitAnswer) and answer.granted:
                self.watch.blame(f"{key}: an owner of {run} that was overtaken was granted {answer.granted}")
        match op, answer:
            case BudgetOp(), BudgetAnswer():
                self._budget(key, self.books.setdefault(key, Book()), op, answer, "rides" if rides else "trip")
            case LimitOp(), LimitAnswer():
                self._limit(key, self.gates.setdefault(key, Gate()), op, answer)
            case BreakerOp(), BreakerAnswer():
                self._breaker(key, self.switches.setdefault(key, Switch()), op, answer)
            case _:
                self.watch.blame(f"{key}: the store answers {answer} to {op}")

    def _budget(self, key: str, book: Book, op: BudgetOp, answer: BudgetAnswer, how: str) -> None:
        if op.raise_by and op.raise_id not in book.raised:
            book.extra.update(op.raise_by)
            book.raised.add(op.raise_id)
            self.watch.reach("budget raised")
        epoch, mine = book.held.pop(op.run, (op.epoch, Counter[str]()))
        if op.epoch < epoch:
            book.held[op.run] = epoch, mine
            if answer.granted:
                self.watch.blame(f"{key}: an owner of {op.run} that was overtaken was granted {answer.granted}")
            return
        if op.epoch > epoch:
            self.watch.reach("budget written off at takeover")
            book.spent.update(mine)
            book.lost.update(mine)
            mine = Counter()
        if op.close:  # a call that was let through and not made is paid, too: nobody knows better
            book.lost.update(op.spent)
        book.limit |= {unit: max(number, book.limit.get(unit, 0)) for unit, number in op.limit.items()}
        mine -= Counter(op.used)
        book.spent.update(op.spent)
        mine.update(answer.granted)
        if op.close and op.write_off:
            self.watch.reach("budget written off at release")
            book.spent.update(mine)
            book.lost.update(mine)
        elif +mine and not op.close:  # nothing of a unit is nothing held: no row says whose epoch it is
            book.held[op.run] = op.epoch, mine
        for unit, number in answer.granted.items():
            most = op.limit.get(unit, MOST) + book.extra[unit]
            if number and book.total(unit) > most:
                self.watch.blame(f"{key}: {number} {unit} was granted: {book.total(unit)} of {most} is spent or held")
        if op.need and not answer.is_granted:
            self.watch.reach("budget refused")
        elif any(answer.granted.get(unit) for unit in ("tokens_out", "model_calls")):
            self.watch.reach(f"budget granted: {how}")

    def _limit(self, key: str, gate: Gate, op: LimitOp, answer: LimitAnswer) -> None:
        for run, (epoch, _, until) in list(gate.held.items()):
            if until < op.at:
                self.lapsed.add((key, run, epoch))
                del gate.held[run]
        epoch, number, until = gate.held.pop(op.run, (op.epoch, 0, op.until))
        if op.epoch < epoch:
            gate.held[op.run] = epoch, number, until
            if answer.granted:
                self.watch.blame(f"{key}: an owner of {op.run} that was overtaken was granted {answer.granted}")
            return
        number = 0 if op.close or epoch < op.epoch else max(0, number - op.give)
        until = until if epoch == op.epoch and not (op.keep or answer.granted) else op.until
        number += answer.granted if op.concurrency is not None else 0  # of a rate alone nobody holds anything
        if number:
            gate.held[op.run] = op.epoch, number, until
        if answer.granted < op.take:
            self.watch.reach("limit held")
        if answer.granted and op.concurrency is not None:
            busy = sum(number for _, number, _ in gate.held.values())
            if busy > op.concurrency:
                self.watch.blame(f"{key}: {busy} of {op.concurrency} permits are held")
        self.granted[key, op.run, op.epoch] += answer.granted
        if op.rate is not None and answer.granted:
            now = self.watch.now()
            gate.late = max(gate.late, now - op.at)
            gate.level = max(0.0, gate.level - (now - gate.at) * op.rate) + answer.granted
            gate.at = now
            if gate.level > op.burst + gate.late * op.rate + SLACK and not self.has_jumped:
                self.watch.blame(f"{key}: {gate.level:.3f} permits at once, and {op.burst} are a burst")

    def _breaker(self, key: str, switch: Switch, op: BreakerOp, answer: BreakerAnswer) -> None:
        before = switch.status
        if answer.status == "open" and before != "open":
            self.watch.reach("breaker opened")
        if op.verb == "ask" and answer.is_probe and switch.probe != op.holder:
            self.watch.reach("breaker half-open")
            if before == "half-open":
                self.watch.reach("probe died")
                if op.at < switch.probed + op.patience and not self.has_jumped:
                    self.watch.blame(f"{key}: {op.holder} probes beside {switch.probe}")
            switch.probe, switch.probed = op.holder, op.at
        if answer.status == "closed" and before != "closed":
            self.watch.reach("breaker closed by its probe")
            if op.holder != switch.probe or before != "half-open":
                self.watch.blame(f"{key}: {op.holder} has closed it, and {switch.probe!r} is its probe")
        if answer.status != "half-open":
            switch.probe = ""
        if before == "closed" != answer.status:
            switch.since = self.watch.now()
        switch.status = answer.status

    def _compare(self, key: str) -> None:
        """Blame a store that does not have what was applied to it."""
        stand = self.simulation.world.tallies.get(key)
        if key in self.books:
            book, state = self.books[key], BudgetState() if stand is None else BUDGET.decode(stand.body)
            held = numbers()
            for _, amounts in book.held.values():
                for unit, number in amounts.items():
                    held[unit] += number
            if some(state.spent) != some(book.spent) or some(state.held) != some(held):
                self.watch.blame(f"{key}: the store has {state}, and {book} was applied")
        elif key in self.gates:
            gate = self.gates[key]
            kept = LimitState() if stand is None else LIMIT.decode(stand.body)
            if {run: (p.epoch, p.n, p.until) for run, p in kept.held.items()} != gate.held:
                self.watch.blame(f"{key}: the store has {kept.held}, and {gate.held} was applied")

    # What the world outside sees.

    def called(self, activation: Activation, cost: Cost | None) -> None:
        """See a call under way, that was let through."""
        if cost is None:
            return
        record = activation.journal.record
        self.last[record.id, record.epoch, activation.address] = len(self.paid)
        self.paid.append(Paid(record.id, cost.estimate.amounts()))

    def pay(self, activation: Activation, actual: Amounts) -> int:
        """See the outside paid for a call; returns its number."""
        record = activation.journal.record
        number = self.last[record.id, record.epoch, activation.address]
        self.paid[number].actual = actual
        self.covered(record.id)
        return number

    def covered(self, run: str) -> None:
        """Blame what was paid and is neither spent nor held: of each call as much as was set aside for it."""
        real, mine = numbers(), numbers()
        for paid in self.paid:
            for unit, number in (paid.actual or {}).items():
                least = min(number, paid.estimate.get(unit, 0))
                real[unit] += least
                mine[unit] += least if paid.run == run else 0
        own = self.books.get(f"budget|run|{run}")
        of_tenant = [book for key, book in self.books.items() if key.startswith("budget|tenant|")]
        for unit in real:
            if own is not None and unit in own.limit and own.total(unit) < mine[unit]:
                self.watch.blame(f"{run}: {mine[unit]} {unit} paid, and {own.total(unit)} is spent or held")
            total = sum(book.total(unit) for book in of_tenant)
            if any(unit in book.limit for book in of_tenant) and total < real[unit]:
                self.watch.blame(f"{real[unit]} {unit} paid by all, and {total} is spent or held")

    # What begins.

    @contextmanager
    def attempt(self, activation: Activation, process: Process | None) -> Iterator[None]:
        """See an attempt begin, and end."""
        if process is None:
            yield
            return
        self._begins(activation, process)
        self.live[activation] = process
        try:
            yield
        finally:
            self.live.pop(activation, None)

    def _begins(self, activation: Activation, process: Process) -> None:
        record, branch = activation.journal.record, activation.journal.position.branch
        story, chain, address = self.watch.stories[record.id], activation.chain, activation.address
        if record.epoch != story.epoch:
            self.watch.reach("attempt begun by a zombie")
            return
        if activation.attempt > chain.max_attempts:
            self.watch.blame(f"{address}: attempt {activation.attempt} of {chain.max_attempts}")
        if process.clock.now() < story.dues.get((branch, address), 0.0):
            self.watch.blame(f"{address}: attempt {activation.attempt} before its time")
        for limit in chain.limits:
            self._passes(activation, key_of(limit, activation), limit.concurrency)
        self._admitted(activation, chain, process)

    def _passes(self, activation: Activation, key: str, most: int | None) -> None:
        record = activation.journal.record
        place = (key, record.id, record.epoch)
        self.begun[place] += 1
        if self.begun[place] > self.granted[place]:
            self.watch.reach("permit passed on")
            if most is None:
                self.watch.blame(f"{activation.address}: attempt {self.begun[place]} by {self.granted[place]} permits")
        live = [one for one, process in self.live.items() if process.state != "dead" and self._holds(one, key)]
        if most is not None and len(live) >= most and place not in self.lapsed:
            self.watch.blame(f"{activation.address} runs beside {[one.address for one in live]}: {key} is {most}")

    def _holds(self, activation: Activation, key: str) -> bool:
        """Say whether a running attempt is under a permit of the limit, and its owner is not overtaken."""
        record = activation.journal.record
        return (
            not activation.closed
            and record.epoch == self.watch.stories[record.id].epoch
            and (key, record.id, record.epoch) not in self.lapsed
            and any(key_of(limit, activation) == key for limit in activation.chain.limits)
        )

    def _admitted(self, activation: Activation, chain: Chain, process: Process) -> None:
        record = activation.journal.record
        for breaker in chain.breakers:
            key = key_of(breaker, activation)
            switch = self.switches.get(key, Switch())
            holder = f"{record.id}|{record.epoch}|{activation.address}"
            late = self.watch.now() - switch.since > BELIEVED and not process.overtaken
            if switch.status != "closed" and switch.probe != holder and late:
                self.watch.blame(f"{activation.address} begins, {breaker.name} is {switch.status} for {switch.probe!r}")
