"""Escrow: what the owner of a run holds of its budgets, and may still spend (D38).

A budget stands in the store as a tally that all runs under it share. The owner of a run holds an allowance: what it
was granted and has not used. A call takes its estimate out of the allowance, in memory; what it really used rides on
the write that records the call, and the same write asks for as much again. Only the first call, or a larger one, asks
the store by itself. What a dead owner held counts as spent, so nothing is ever spent twice.

Steps, active time and bytes are taken in portions, so that most writes carry nothing of them.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil

import msgspec
from msgspec.structs import replace

from windlass.core import queries
from windlass.core.changes import Adjust
from windlass.core.clock import Seams
from windlass.core.errors import BudgetExceeded, RunTimeout, StoreError
from windlass.core.records import RunRecord
from windlass.core.tallies import Amounts, Answer, BudgetAnswer, BudgetOp, BudgetState, held_key
from windlass.policies.budget import DECLARED, Budget, WrapUp, in_numbers, spell_amount, window_start
from windlass.policies.chain import Bounds
from windlass.policies.keys import tally_key
from windlass.stores.base import Store

# What is taken at once of what is not asked for one by one, at most, and a twentieth of the limit (wall: milliseconds).
PORTIONS: Amounts = {"steps": 10, "wall": 10_000, "bytes": 1 << 16}
DAY_SECONDS = 86_400
ABOVE = Budget(steps=0)  # of a run above: where it is used up, the child fails
ONE: Amounts = dict.fromkeys(PORTIONS, 1)


@dataclass(slots=True)
class Level:
    """One budget that a run is under, and this owner's part of it."""

    budget: Budget
    limit: Amounts
    run_timeout: int | None = None  # milliseconds: what its limit of active time is, unless the budget's is smaller
    free: Amounts = field(default_factory=dict)  # granted, and neither used nor set aside for a call
    used: Amounts = field(default_factory=dict)  # of the allowance, since the last write that told
    spent: Amounts = field(default_factory=dict)
    refill: Amounts = field(default_factory=dict)  # what the next write asks for
    left: Amounts = field(default_factory=dict)  # for anybody, when the store last said
    key: str = ""  # that was asked last: a window may have ended since
    is_new: bool = True  # nobody held anything of it before, or that was told
    flights: list[Amounts] = field(default_factory=list)  # what was set aside for each call that was not settled
    day: int = 0  # of that, in days since the epoch (UTC): no window is shorter
    of: str = ""  # the run above whose budget it is; empty for one of the run's own
    portion: Amounts = field(init=False)  # how much to take at once of what is not asked for one by one

    def __post_init__(self) -> None:
        units = PORTIONS.keys() & self.limit.keys()
        share = 400 if self.of else 20  # siblings draw from it at the same time, and each holds a portion
        self.portion = {unit: max(1, min(PORTIONS[unit], self.limit[unit] // share)) for unit in units}

    def bounded(self, amounts: Amounts) -> Amounts:
        """Return what of these amounts this budget limits."""
        return {unit: number for unit, number in amounts.items() if unit in self.limit and number}

    @property
    def is_short(self) -> bool:
        """Whether nothing is left of what is not asked for one by one."""
        free = self.free
        return any(free.get(unit, 0) < 1 for unit in self.portion)

    def lacks(self, amounts: Amounts) -> str:
        """Name a unit of which the allowance has less than this; empty if it has enough of all."""
        free = self.free
        return next((unit for unit, number in amounts.items() if unit in self.limit and free.get(unit, 0) < number), "")


class Escrow:
    """One owner's allowances for one run."""

    def __init__(
        self, store: Store, seams: Seams, record: RunRecord, bounds: Bounds, ceilings: Mapping[str, int]
    ) -> None:
        self.store = store
        self.clock = clock = seams.clock
        self.background = seams.background
        self.record = record
        self.run, self.epoch, self.tenant = record.id, record.epoch, record.tenant
        above = record.origin.budgets if record.origin is not None else ()
        self.levels = levels = [*_levels(bounds), *(Level(ABOVE, one.limit, of=one.run) for one in above)]
        self.past: list[Level] = []  # windows that have ended, with calls in flight that were set aside in them
        self.is_unsure = False  # what was spent was told, and nobody knows whether it arrived
        self.owed: list[Adjust] = []  # for the next write, of windows that have ended
        for level in levels if record.epoch > 1 else ():  # what its last owner held counts as spent as this one tells
            level.key, level.is_new = self._key(level, record.updated_at), False
        self.ceilings = ceilings
        self.tick_at = clock.monotonic()  # up to here active time is counted
        self.times = any("wall" in level.limit for level in levels)
        self._asking: list[tuple[Amounts, str, asyncio.Future[None]]] = []

    async def take_over(self) -> None:
        """Count as spent what owners before this one held of windows that no write names: by clocks that were wrong."""
        if self.epoch > 1 and any(level.budget.window is not None for level in self.levels):
            _, *found = await written_off(self.store, self.record, self.clock.now())
            if found:
                await self.store.adjust(found)

    async def reserve(self, amounts: Amounts, node: str) -> None:
        """Set the estimate of a call aside, in every budget.

        Args:
            node: which node asks; one that wraps up may have the reserve.

        Raises:
            BudgetExceeded: a budget has not as much left; nothing is set aside.
        """
        if self._take(amounts):
            return
        waiter = asyncio.get_running_loop().create_future()
        self._asking.append((amounts, node, waiter))
        if len(self._asking) == 1:
            self.background(self._ask_all(), f"budgets of {self.run}")  # it goes on for the others if one is cancelled
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.settle(amounts, {})  # it was set aside, and whoever asked is gone
            raise

    async def _ask_all(self) -> None:
        """Ask the store for all calls that wait, in one transaction."""
        await asyncio.sleep(0)  # whoever else is about to ask joins in
        asking, self._asking = self._asking, []
        try:
            asked = [
                (level, self._ops(level, level.bounded(amounts), node))
                for amounts, node, _ in asking
                for level in self.levels
            ]
            answers = iter(await self._adjust(asked))
            for amounts, _, waiter in asking:
                refused = [level for level in self.levels if not next(answers)]
                if waiter.done():
                    continue
                if self._take(amounts):
                    waiter.set_result(None)
                else:
                    waiter.set_exception(exceeded((refused or self.levels)[0], amounts))
        except StoreError as error:
            for _, _, waiter in asking:
                if not waiter.done():
                    waiter.set_exception(error)

    def _ops(
        self, level: Level, need: Amounts, node: str = "", *, want: Amounts | None = None, close: bool = False
    ) -> list[Adjust]:
        """Settle and reserve in one; where a window has ended since, what is held of the old one goes back.

        That rides on the run's next write: the same write says from when on an owner after this one has to look.
        """
        now = self.clock.now()
        if want is None and not close:  # what is free goes back first: together with what is left it may be enough
            add(level.used, {unit: level.free.pop(unit) for unit in need if level.free.get(unit, 0) > 0})
        used, spent = level.used, level.spent
        level.used, level.spent, level.refill = {}, {}, {}
        level.free = {unit: max(0, number) for unit, number in level.free.items()}  # what was used above it is told now
        key = level.key if close and level.key and level.is_new else self._key(level, now)
        if level.key and level.key != key:
            for flight in level.flights:  # a call in flight counts for the window that it began in, at its estimate
                add(spent, level.bounded(flight))
                add(used, level.bounded(flight))
            left = BudgetOp(
                run=self.run, epoch=self.epoch, at=now, used=used, spent=spent, close=True, write_off=self.is_unsure
            )
            self.owed.append(Adjust(level.key, left))
            if level.flights:
                self.past.append(Level(level.budget, level.limit, key=level.key, flights=level.flights))
            used, spent, level.free, level.flights = {}, {}, {}, []
        level.key, level.is_new = key, True
        op = BudgetOp(
            run=self.run, epoch=self.epoch, at=now, used=used, spent=spent, want=need if want is None else want,
            need=need, limit=open_to(level, node), close=close, write_off=close and self.is_unsure,
        )  # fmt: skip
        return [Adjust(key, op)]

    def _key(self, level: Level, now: float) -> str:
        budget, day = level.budget, int(now // DAY_SECONDS)
        if level.key and level.day == day:
            return level.key
        level.day = day
        if budget.per == "run":
            return tally_key("budget", "run", level.of or self.run)
        start = [window_start(budget.window, now)] if budget.window is not None else []
        return tally_key("budget", "tenant", self.tenant, *start)

    async def _adjust(self, asked: list[tuple[Level, list[Adjust]]]) -> list[bool]:
        """Do operations; return for each level that asked whether it was granted what it needs."""
        told = [change for _, changes in asked for change in changes]
        try:
            answers = iter(await self.store.adjust(told))
        except StoreError:
            for level, changes in asked:
                self._unsure(level, changes)
            raise
        granted = []
        for level, changes in asked:
            got = [self._granted(level, change.key, next(answers)) for change in changes]
            granted.append(got[-1])
        return granted

    def _unsure(self, level: Level, changes: list[Adjust]) -> None:
        """Note operations of which nobody knows whether they were done: what they told may be held still."""
        for key, op in ((change.key, change.op) for change in changes):
            if isinstance(op, BudgetOp) and key == level.key:
                self.is_unsure |= bool(op.spent)
            elif isinstance(op, BudgetOp):
                self.owed.append(Adjust(key, replace(op, used={}, spent={}, write_off=bool(op.spent))))

    def _granted(self, level: Level, key: str, answer: Answer) -> bool:
        assert isinstance(answer, BudgetAnswer)  # noqa: S101 -- for the type checker: the store answers in kind
        if level.key == key:
            add(level.free, answer.granted)
            level.left = answer.left
        return answer.is_granted

    def _take(self, amounts: Amounts) -> bool:
        if any(level.lacks(amounts) for level in self.levels):
            return False
        for level in self.levels:
            for unit in level.bounded(amounts):
                level.free[unit] -= amounts[unit]
            level.flights.append(amounts)
        return True

    def settle(self, reserved: Amounts, actual: Amounts) -> None:
        """Note what a call that had this set aside came to; the run's next write tells the store."""
        for level in self.levels:
            old = next((old for old in self.past if old.budget is level.budget and reserved in old.flights), None)
            if old is not None:
                old.flights.remove(reserved)
                add(old.spent, {u: n - reserved.get(u, 0) for u, n in actual.items() if n > reserved.get(u, 0)})
                continue
            if reserved not in level.flights:
                continue  # the run was given up meanwhile, and the call counts at its estimate
            level.flights.remove(reserved)
            add(level.used, level.bounded(reserved))
            add(level.spent, actual)
            add(level.refill, level.bounded(reserved))

    def count(self, unit: str, number: int) -> None:
        """Note what was used without being asked for one by one: steps, bytes."""
        for level in self.levels if number else ():
            if unit in level.limit:
                level.free[unit] = level.free.get(unit, 0) - number
                level.used[unit] = level.used.get(unit, 0) + number
                level.spent[unit] = level.spent.get(unit, 0) + number

    def tick(self) -> None:
        """Count the active time since the last tick."""
        if self.times:
            passed = int((self.clock.monotonic() - self.tick_at) * 1000)
            self.tick_at += passed / 1000  # whole milliseconds: the rest is counted next time
            self.count("wall", passed)

    def ride(self, *, close: bool) -> list[Adjust]:
        """Say what the run's next write carries: what was used, and what is asked for.

        Args:
            close: the run is given up: what is left of the allowance goes back.
        """
        self.tick()
        changes: list[Adjust] = []
        now = self.clock.now()
        for old in self.past:
            if old.spent:
                changes.append(Adjust(old.key, BudgetOp(run=self.run, epoch=self.epoch, at=now, spent=old.spent)))
                old.spent = {}
        self.past = [old for old in self.past if old.flights]
        for level in self.levels:
            while close and level.flights:  # a call that nobody waits for any more may yet be paid
                lost = level.flights.pop()
                add(level.used, level.bounded(lost))
                add(level.spent, lost)
            is_over = bool(level.key) and level.budget.window is not None and level.day != int(now // DAY_SECONDS)
            want = dict(level.refill)
            for unit, portion in level.portion.items():
                if level.free.get(unit, 0) <= portion // 2:
                    want[unit] = portion - max(0, level.free.get(unit, 0))
            if close:
                if level.key or level.spent:
                    changes += self._ops(level, {}, close=True)
                    level.free = {}
            elif want or is_over or not level.is_new:
                changes += self._ops(level, {}, want=want)
        owed, self.owed = self.owed, []
        return owed + changes

    def answered(self, key: str, answer: BudgetAnswer) -> None:
        """Take what a write was granted."""
        for level in self.levels:
            self._granted(level, key, answer)

    async def provide(self, node: str) -> BudgetExceeded | None:
        """See to it that the run may go on for a while; say why it may not.

        Args:
            node: the one that is to run, if it is only one.
        """
        self.tick()
        lacking = [level for level in self.levels if level.is_short]
        if lacking:
            await self._adjust(
                [(level, self._ops(level, level.bounded(ONE), node, want=level.portion)) for level in lacking]
            )
        short = next((level for level in lacking if level.lacks(ONE)), None)
        return exceeded(short, ONE) if short is not None else None

    @property
    def is_short(self) -> bool:
        """Whether the run may not go on with what it holds."""
        return any(level.is_short for level in self.levels)

    def time_left(self) -> float | None:
        """Return the seconds until active time that was not granted begins; None if nothing limits it."""
        if not self.times:
            return None
        self.tick()
        return min(level.free.get("wall", 0) for level in self.levels if "wall" in level.limit) / 1000

    async def raise_by(self, key: str, unit: str, number: int, id: str) -> int:
        """Let a budget have more: a person said so. The same id again does nothing.

        Returns:
            How much more it was: the platform's ceiling holds for a person, too.
        """
        found = await self.store.find(queries.Tallies(keys=(key,)))
        state = msgspec.json.decode(found[0].body, type=BudgetState) if found else BudgetState()
        if id in state.raised:
            return number
        ceiling = self.ceilings.get(unit)
        level = next((level for level in self.levels if level.key == key), None)
        if ceiling is not None and level is not None and level.budget.per == "run":
            number = min(number, max(0, ceiling - level.limit.get(unit, 0) - state.extra.get(unit, 0)))
        if number:
            op = BudgetOp(run=self.run, epoch=self.epoch, at=self.clock.now(), raise_by={unit: number}, raise_id=id)
            await self.store.adjust([Adjust(key, op)])
        return number

    def left(self) -> dict[str, float]:
        """Say what is left by the tightest budget, as far as this process knows: money, seconds, counts."""
        least: dict[str, int] = {}
        for level in self.levels:
            for unit, number in level.limit.items():
                here = level.left.get(unit, number) + level.free.get(unit, 0)
                least[unit] = min(here, least.get(unit, here))
        return {DECLARED[unit]: in_numbers(unit, number) for unit, number in least.items()}


def _levels(bounds: Bounds) -> Iterator[Level]:
    budgets = [each.budget for each in bounds.budgets]
    most = None if bounds.run_timeout is None else max(1, int(bounds.run_timeout * 1000))
    if most is not None and not any(budget.per == "run" for budget in budgets):
        budgets.append(Budget(wall_time=bounds.run_timeout))
    for budget in budgets:
        limit = dict(budget.shared)
        timed = most is not None and budget.per == "run"
        if timed and most is not None:
            limit["wall"] = min(most, limit.get("wall", most))
        if limit:
            yield Level(budget, limit, most if timed else None)


def open_to(level: Level, node: str) -> Amounts:
    """Return what a node may use of a limit: all but the reserve, unless it is the one that wraps up."""
    edge = level.budget.edge
    if not isinstance(edge, WrapUp) or edge.node == node:
        return level.limit
    return {unit: number - ceil(number * edge.reserve) for unit, number in level.limit.items()}


def exceeded(level: Level, amounts: Amounts) -> BudgetExceeded:
    """Make the error that says which budget has not as much left."""
    unit = level.lacks(amounts) or next(iter(level.bounded(amounts)), "")
    limit = level.limit.get(unit, 0)
    if unit == "wall" and limit == level.run_timeout:
        return RunTimeout(
            f"the run was active for {spell_amount(unit, limit)}, as long as it may be", unit=unit, key=level.key
        )
    said = f"the {level.budget.per}'s budget of {spell_amount(unit, limit)} {unit} is used up"
    return BudgetExceeded(said, unit=unit, key=level.key, edge=level.budget.edge)


def add(total: Amounts, amounts: Amounts) -> None:
    """Add amounts to a total, in place."""
    for unit, number in amounts.items():
        total[unit] = total.get(unit, 0) + number


async def written_off(store: Store, record: RunRecord, now: float) -> list[Adjust]:
    """List what counts as spent what a run's owners before this one held of budgets, of any window."""
    op = BudgetOp(run=record.id, epoch=record.epoch, at=now, close=True)
    own, of_tenant = tally_key("budget", "run", record.id), tally_key("budget", "tenant", record.tenant)
    windows = await store.find(queries.Tallies(prefix=f"{of_tenant}|"))
    names = {held_key(key, record.id): key for key in (of_tenant, *(tally.key for tally in windows))}
    held = await store.find(queries.Tallies(keys=tuple(names)))
    drawn = record.origin.budgets if record.origin is not None else ()
    above = [tally_key("budget", "run", one.run) for one in drawn]
    return [Adjust(key, op) for key in (own, *above, *(names[tally.key] for tally in held))]
