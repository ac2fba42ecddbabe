"""Allowances: one budget that a run is under, and what its owner holds of it, in memory (D38)."""

from collections.abc import Iterable, Iterator
from math import ceil

from msgspec import Struct, field

from windlass.core.errors import BudgetExceeded, RunTimeout
from windlass.core.records import RunRecord
from windlass.core.tallies import MOST, Amounts, Answer, BudgetAnswer
from windlass.policies.budget import Budget, WrapUp, spell_amount, window_start
from windlass.policies.chain import Bounds
from windlass.policies.keys import tally_key

# What is taken at once of what is not asked for one by one, at most, and a twentieth of the limit (wall: milliseconds).
PORTIONS: Amounts = {"steps": 50, "wall": 10_000, "bytes": 1 << 16}
MOST_CALLS = 10  # times what the last calls were expected to use is held at once, at most,
SHARES = {"run": 100, "tenant": 1000}  # and such a part of what is left, if it is more than these calls
SHARE, SHARE_ABOVE = 20, 400  # of a limit that is held at once; of one above, siblings draw at the same time
DAY_SECONDS = 86_400
ABOVE = Budget(steps=0)  # of a run above: where it is used up, the child fails
ONE: Amounts = dict.fromkeys(PORTIONS, 1)


class Level(Struct):
    """One budget that a run is under, and this owner's part of it."""

    budget: Budget
    limit: Amounts
    run_timeout: int | None = None  # milliseconds: what its limit of active time is, unless the budget's is smaller
    free: Amounts = field(default_factory=dict)  # granted, and neither used nor set aside for a call
    used: Amounts = field(default_factory=dict)  # of the allowance, since the last write that told
    spent: Amounts = field(default_factory=dict)
    refill: Amounts = field(default_factory=dict)  # what the calls that were settled since the last write had set aside
    left: Amounts = field(default_factory=dict)  # for anybody, when the store last said
    asked: Amounts = field(default_factory=dict)  # by writes on their way
    is_owing: bool = False  # more was spent than the store holds: it has to be told
    key: str = ""  # that was asked last: a window may have ended since
    is_new: bool = True  # nobody held anything of it before, or that was told
    flights: list[Amounts] = field(default_factory=list)  # what was set aside for each call that was not settled
    day: int = 0  # of that, in days since the epoch (UTC): no window is shorter
    of: str = ""  # the run above whose budget it is; empty for one of the run's own
    portion: Amounts = field(default_factory=dict)  # how much to take at once of what is not asked for one by one

    def __post_init__(self) -> None:
        units = PORTIONS.keys() & self.limit.keys()
        share = SHARE_ABOVE if self.of else SHARE
        self.portion = {unit: max(1, min(PORTIONS[unit], self.limit[unit] // share)) for unit in units}

    def bounded(self, amounts: Amounts) -> Amounts:
        """Return what of these amounts this budget limits."""
        return {unit: number for unit, number in amounts.items() if unit in self.limit and number}

    @property
    def is_short(self) -> bool:
        """Whether nothing is left of what is not asked for one by one."""
        free = self.free
        return any(free.get(unit, 0) < 1 for unit in self.portion)

    def count(self, counted: Amounts) -> None:
        """Take what was used without being asked for one by one."""
        for unit, number in counted.items():
            if number and unit in self.portion:
                self.free[unit] = self.free.get(unit, 0) - number
                self.used[unit] = self.used.get(unit, 0) + number
                self.spent[unit] = self.spent.get(unit, 0) + number

    def settle(self, reserved: Amounts, actual: Amounts) -> bool:
        """Put back what was set aside for a call, and take what it used; say whether the store should hear of it.

        What is used is never more than what is held: a part that is not covered was not held and is only spent.
        """
        free, is_limited = self.free, False
        for unit, number in reserved.items():
            if unit in self.limit:
                free[unit] = free.get(unit, 0) + number
                is_limited = True
        for unit, number in actual.items():
            here = free.get(unit, 0)
            covered = number if number <= here else max(0, here)
            if covered:
                free[unit] -= covered
                self.used[unit] = self.used.get(unit, 0) + covered
            self.is_owing |= covered < number and is_limited
            self.spent[unit] = self.spent.get(unit, 0) + number
        if is_limited:
            add(self.refill, reserved)
        return self.is_owing or any(free.get(unit, 0) < number for unit, number in self.refill.items())

    def wants(self) -> Amounts:
        """Say what to ask for, if anything has to be: all that is not full then."""
        free = {**self.free}
        add(free, self.asked)
        is_due = any(free.get(unit, 0) <= portion // 2 for unit, portion in self.portion.items())
        if not is_due and not any(free.get(unit, 0) < number for unit, number in self.refill.items()):
            return {}
        full = {**self.portion, **{unit: self._some(unit, number) for unit, number in self.refill.items()}}
        lacking = {unit: number - max(0, free.get(unit, 0)) for unit, number in full.items()}
        return {unit: number for unit, number in lacking.items() if number > 0}

    def _some(self, unit: str, number: int) -> int:
        """Say how much to hold for calls: several times as much, but little of what is left for all."""
        most = min(number * MOST_CALLS, MOST)
        if unit not in self.limit:
            return most
        share = SHARE_ABOVE if self.of else SHARES[self.budget.per]
        return max(number, min(most, self.left.get(unit, 0) // share))

    def lacks(self, amounts: Amounts) -> str:
        """Name a unit of which the allowance has less than this; empty if it has enough of all."""
        free = self.free
        return next((unit for unit, number in amounts.items() if unit in self.limit and free.get(unit, 0) < number), "")

    def key_at(self, record: RunRecord, now: float) -> str:
        """Name the tally that it stands in at a time."""
        day = int(now // DAY_SECONDS)
        if self.key and self.day == day:
            return self.key
        self.day = day
        if self.budget.per == "run":
            return tally_key("budget", "run", self.of or record.id)
        start = [window_start(self.budget.window, now)] if self.budget.window is not None else []
        return tally_key("budget", "tenant", record.tenant, *start)

    def granted(self, key: str, answer: Answer) -> bool:
        """Take what the store says to an operation on a tally; say whether it granted what was needed."""
        assert isinstance(answer, BudgetAnswer)  # noqa: S101 -- for the type checker: the store answers in kind
        if self.key == key:
            add(self.free, answer.granted)
            self.left = answer.left
        return answer.is_granted


def levels_of(bounds: Bounds) -> Iterator[Level]:
    """Make an empty allowance of each budget in force."""
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


def room(levels: Iterable[Level]) -> Amounts:
    """Say how much may be counted of each unit before one of these allowances has to be filled."""
    found: Amounts = {}
    for level in levels:
        for unit, portion in level.portion.items():
            here = level.free.get(unit, 0) - portion // 2
            found[unit] = min(here, found.get(unit, here))
    return found


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
