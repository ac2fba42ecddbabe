"""Escrow: what the owner of a run holds of its budgets, and may still spend (D38).

A budget stands in the store as a tally that all runs under it share. The owner of a run holds an allowance: what it
was granted and has not used. A call takes its estimate out of the allowance, in memory, and puts back what it has not
used. The store is told by a write that is made anyway, which asks for as much again: the one that records the call, or,
while the store holds at least as much as was used since it was told, a later one. Only the first call, or a larger one,
asks the store by itself. What a dead owner held counts as spent, so nothing that was paid is ever forgotten.

Where much is left, the calls of a while are asked for at once; steps, active time and bytes always are.
"""

import asyncio
from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from windlass.core import queries
from windlass.core.changes import Adjust
from windlass.core.clock import Seams
from windlass.core.errors import BudgetExceeded, StoreError
from windlass.core.records import RunRecord
from windlass.core.tallies import Amounts, BudgetAnswer, BudgetOp, BudgetState, Op, held_key
from windlass.engine.allowance import (
    ABOVE,
    DAY_SECONDS,
    ONE,
    PORTIONS,
    Level,
    add,
    exceeded,
    levels_of,
    open_to,
    room,
)
from windlass.policies.budget import DECLARED, in_numbers
from windlass.policies.chain import Bounds
from windlass.policies.keys import tally_key
from windlass.stores.base import Store


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
        self.levels = levels = [*levels_of(bounds), *(Level(ABOVE, one.limit, of=one.run) for one in above)]
        self.past: list[Level] = []  # windows that have ended, with calls in flight that were set aside in them
        self.is_unsure = False  # what was spent was told, and nobody knows whether it arrived
        self.owed: list[Adjust] = []  # for the next write, of windows that have ended
        for level in levels if record.epoch > 1 else ():  # what its last owner held counts as spent as this one tells
            level.key, level.is_new = level.key_at(record, record.updated_at), False
        self.ceilings = ceilings
        self.tick_at = clock.monotonic()  # up to here active time is counted
        self.counted = dict.fromkeys(PORTIONS, 0)  # and not yet taken from the levels
        self.room: Amounts | None = None  # for so much of it nothing has to be asked for; None: look
        self.day = 0
        self.times = any("wall" in level.limit for level in levels)
        self._asking: list[tuple[Amounts, str, asyncio.Future[None]]] = []

    async def take_over(self) -> None:
        """Count as spent what owners before this one held of windows that no write names: by clocks that were wrong."""
        if self.epoch > 1 and any(level.budget.window is not None for level in self.levels):
            _, *found = await written_off(self.store, self.record, self.clock.now())
            if found:
                await self.store.adjust(found)

    async def reserve(self, amounts: Amounts, node: str) -> None:
        """Ask for the estimate of a call that the allowances do not have, and set it aside in every budget.

        Args:
            node: which node asks; one that wraps up may have the reserve.

        Raises:
            BudgetExceeded: a budget has not as much left; nothing is set aside.
        """
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
        self._spread()
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
                if self.take(amounts):
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
        self.room = None
        if want is None and not close:  # what is free goes back first: together with what is left it may be enough
            add(level.used, {unit: level.free.pop(unit) for unit in need if level.free.get(unit, 0) > 0})
        used, spent = level.used, level.spent
        level.used, level.spent, level.refill, level.is_owing = {}, {}, {}, False
        level.free = {unit: max(0, number) for unit, number in level.free.items()}  # what was used above it is told now
        key = level.key if close and level.key and level.is_new else level.key_at(self.record, now)
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
            used, spent, level.free, level.flights, level.asked = {}, {}, {}, [], {}
        level.key, level.is_new = key, True
        op = BudgetOp(
            run=self.run, epoch=self.epoch, at=now, used=used, spent=spent, want=need if want is None else want,
            need=need, limit=open_to(level, node), close=close, write_off=close and self.is_unsure,
        )  # fmt: skip
        return [Adjust(key, op)]

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
            got = [level.granted(change.key, next(answers)) for change in changes]
            granted.append(got[-1])
        self.room = None
        return granted

    def _unsure(self, level: Level, changes: list[Adjust]) -> None:
        """Note operations of which nobody knows whether they were done: what they told may be held still."""
        for key, op in ((change.key, change.op) for change in changes):
            if isinstance(op, BudgetOp) and key == level.key:
                self.is_unsure |= bool(op.spent)
            elif isinstance(op, BudgetOp):
                self.owed.append(Adjust(key, replace(op, used={}, spent={}, write_off=bool(op.spent))))

    def take(self, amounts: Amounts) -> bool:
        """Set the estimate of a call aside, if the allowance of every budget has as much."""
        if any(level.lacks(amounts) for level in self.levels):
            return False
        for level in self.levels:
            for unit, number in amounts.items():
                if number and unit in level.limit:
                    level.free[unit] -= number
            level.flights.append(amounts)
        return True

    def settle(self, reserved: Amounts, actual: Amounts) -> None:
        """Note what a call that had this set aside came to."""
        for level in self.levels:
            old = next((old for old in self.past if old.budget is level.budget and reserved in old.flights), None)
            if old is not None:
                old.flights.remove(reserved)
                add(old.spent, {u: n - reserved.get(u, 0) for u, n in actual.items() if n > reserved.get(u, 0)})
            elif reserved in level.flights:  # else the run was given up meanwhile, and the call counts at its estimate
                level.flights.remove(reserved)
                if level.settle(reserved, actual):
                    self.room = None

    def count(self, unit: str, number: int) -> None:
        """Note what was used without being asked for one by one: steps, bytes."""
        self.counted[unit] += number

    def _spread(self) -> None:
        """Take what was counted from the allowances."""
        self.tick()
        counted, self.counted = self.counted, dict.fromkeys(PORTIONS, 0)
        for level in self.levels:
            level.count(counted)
        self.room = None

    def tick(self) -> None:
        """Count the active time since the last tick."""
        if self.times:
            now = self.clock.monotonic()
            passed = int((now - self.tick_at) * 1000)
            if passed:
                self.tick_at += passed / 1000  # whole milliseconds: the rest is counted next time
                self.counted["wall"] += passed

    @property
    def is_settled(self) -> bool:
        """Whether nothing has to be asked for since the last write, but for active time: that has a timer."""
        return self.room is not None

    def is_calm(self) -> bool:
        """Say whether the allowances reach and the store has to hear of nothing: the usual case, which costs little."""
        if self.room is None:
            return False
        self.tick()
        counted = self.counted
        return all(counted[unit] < number for unit, number in self.room.items())

    def ride(self, *, close: bool) -> list[Adjust]:
        """Say what the run's next write carries: what was used, and what is asked for.

        Args:
            close: the run is given up: what is left of the allowance goes back.
        """
        now = self.clock.now()
        if not close and self.is_calm() and self.day == int(now // DAY_SECONDS):
            for level in self.levels:
                level.refill.clear()
            return []
        self._spread()
        changes: list[Adjust] = []
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
            is_past = bool(level.key) and level.budget.window is not None and level.day != int(now // DAY_SECONDS)
            want = level.wants()
            level.refill.clear()
            if close:
                if level.key or level.spent:
                    changes += self._ops(level, {}, close=True)
                    level.free = {}
            elif want or is_past or level.is_owing or not level.is_new:
                changes += self._ops(level, {}, want=want)
                add(level.asked, want)
        owed, self.owed = self.owed, []
        if not (owed or changes or self.past):
            self.day, self.room = int(now // DAY_SECONDS), room(self.levels)
        return owed + changes

    def answered(self, key: str, op: Op, answer: BudgetAnswer) -> None:
        """Take what a write was granted."""
        for level in self.levels:
            if level.key == key and isinstance(op, BudgetOp):
                add(level.asked, {unit: -number for unit, number in op.want.items()})
            level.granted(key, answer)
        self.room = None

    async def provide(self, node: str) -> BudgetExceeded | None:
        """See to it that the run may go on for a while; say why it may not.

        Args:
            node: the one that is to run, if it is only one.
        """
        if self.is_calm():
            return None
        self._spread()
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
        if self.is_calm():
            return False
        self._spread()
        return any(level.is_short for level in self.levels)

    def time_left(self) -> float | None:
        """Return the seconds until active time that was not granted begins; None if nothing limits it."""
        if not self.times:
            return None
        self._spread()
        return min(level.free.get("wall", 0) for level in self.levels if "wall" in level.limit) / 1000

    async def raising(self, key: str, unit: str, number: int, id: str) -> tuple[int, Adjust | None]:
        """Work out how much more a budget may have, as a person said: the platform's ceiling holds for a person, too.

        Returns:
            The number, and what makes it so; None if that was done before by this id, or if it is nothing.
        """
        found = await self.store.find(queries.Tallies(keys=(key,)))
        state = msgspec.json.decode(found[0].body, type=BudgetState) if found else BudgetState()
        if id in state.raised:
            return number, None
        ceiling = self.ceilings.get(unit)
        level = next((level for level in self.levels if level.key == key), None)
        if ceiling is not None and level is not None and level.budget.per == "run":
            number = min(number, max(0, ceiling - level.limit.get(unit, 0) - state.extra.get(unit, 0)))
        op = BudgetOp(run=self.run, epoch=self.epoch, at=self.clock.now(), raise_by={unit: number}, raise_id=id)
        return number, Adjust(key, op) if number > 0 else None

    def left(self) -> dict[str, float]:
        """Say what is left by the tightest budget, as far as this process knows: money, seconds, counts."""
        self._spread()
        least: dict[str, int] = {}
        for level in self.levels:
            for unit, number in level.limit.items():
                here = level.left.get(unit, number) + level.free.get(unit, 0)
                least[unit] = min(here, least.get(unit, here))
        return {DECLARED[unit]: in_numbers(unit, number) for unit, number in least.items()}


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
