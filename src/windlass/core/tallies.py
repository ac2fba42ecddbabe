"""Shared numbers: budgets, breakers and limits, which many processes change at once (D38).

A *tally* is one small row under a key. Whoever changes it sends an operation, not a new value: the store works the new
row out inside its transaction (`policies.tally.apply`), so two processes never overwrite each other. Time comes inside
the operation, as `at`; a store's own clock decides nothing here.

    budget|run|<run>    budget|tenant|<tenant>    budget|tenant|<tenant>|<window>    budget|platform|…
    breaker|<scope>|<scope id>|<name>             limit|<scope>|<scope id>|<name>

What a run holds of a budget that is not its own stands in a row of its own, under the name that `held_key` makes: else
each of a thousand runs of a tenant would write down what all of them hold.
"""

from typing import Literal, TypeAlias

from msgspec import Raw, Struct

MOST = 2**53 - 1  # the largest whole number that every reader of JSON keeps exactly
Amounts: TypeAlias = dict[str, int]  # unit → whole number: money in millionths, wall time in milliseconds
Verb = Literal["ask", "succeeded", "failed"]
Standing = Literal["closed", "open", "half-open"]


class BudgetOp(Struct, frozen=True, gc=False, omit_defaults=True, tag="budget"):
    """Settle what a run used, and reserve what it wants next. The parts are done in the order in which they stand here.

    Before all of them, what the run held under an earlier epoch counts as spent: its owner died, and nobody knows how
    much of it was used. An operation of an earlier epoch than the one that holds gets nothing, and only raises.

    Args:
        used: what no longer has to be held, since it is settled.
        spent: what it came to.
        raise_by: more than the limit, for all, from now on; the same `raise_id` again raises nothing.
        want: what to reserve: of each unit as much as is left, if that is at least `need`; else nothing of any.
        limit: the limits, as declared; a unit without one is granted and counted.
        close: the run ends here, and what it still holds is given back, or with `write_off` counts as spent.
    """

    run: str
    epoch: int
    at: float
    used: Amounts = {}
    spent: Amounts = {}
    raise_by: Amounts = {}
    raise_id: str = ""
    want: Amounts = {}
    need: Amounts = {}
    limit: Amounts = {}
    close: bool = False
    write_off: bool = False


class Held(Struct, frozen=True, gc=False, array_like=True):
    """What a run has reserved and not settled, and under which epoch."""

    epoch: int
    amounts: Amounts


class BudgetState(Struct, gc=False, omit_defaults=True):
    """What was spent, what is held by all, and by how much a person raised the limit, in which acts.

    `own` is what the run holds whose budget it is. Not frozen: a store puts it in and takes it out.
    """

    spent: Amounts = {}
    held: Amounts = {}
    extra: Amounts = {}
    raised: tuple[str, ...] = ()
    own: Held | None = None


class BudgetAnswer(Struct, frozen=True, gc=False, omit_defaults=True, tag="budget"):
    """What was granted, and what is left of each unit that has a limit: below zero when more was spent than that."""

    granted: Amounts
    is_granted: bool
    left: Amounts


class BreakerOp(Struct, frozen=True, gc=False, omit_defaults=True, tag="breaker"):
    """Ask a breaker whether a call may be made, or tell it how one ended.

    Args:
        holder: who asks, as `run|epoch|address`.
        failures: how many within `window` seconds open it.
        cooldown: seconds that it stays open.
        patience: seconds that a probe may take before another one may be made.
    """

    verb: Verb
    holder: str
    at: float
    failures: int
    window: float
    cooldown: float
    patience: float


class BreakerState(Struct, frozen=True, gc=False, omit_defaults=True):
    """Where a breaker stands: until when it is open, or its probe may take; `times` counts how often it opened."""

    status: Standing = "closed"
    failures: tuple[float, ...] = ()
    until: float = 0.0
    probe: str = ""
    times: int = 0


class BreakerAnswer(Struct, frozen=True, gc=False, omit_defaults=True, tag="breaker"):
    """Whether a call may be made now (as the one probe, if so), else when to ask again."""

    admitted: bool
    status: Standing
    retry_at: float = 0.0
    is_probe: bool = False


class LimitOp(Struct, frozen=True, gc=False, omit_defaults=True, tag="limit"):
    """Give permits back and take others, in this order; before it, holders whose time is over are forgotten.

    What the run held under an earlier epoch is forgotten as well, and an operation of an earlier epoch than the one
    that holds changes nothing.

    Args:
        take: how many permits are wanted; from none to all of them are granted.
        keep: hold what the run has until `until`, without taking more.
        until: when the holder is forgotten unless it is heard of again, in seconds since the epoch.
        concurrency: permits held at once, by all; `None` is no limit.
        rate: permits a second; `None` is no limit.
        burst: permits that `rate` gives at once after a quiet time.
        close: give all back.
    """

    run: str
    epoch: int
    at: float
    take: int = 0
    give: int = 0
    keep: bool = False
    until: float = 0.0
    concurrency: int | None = None
    rate: float | None = None
    burst: int = 1
    close: bool = False


class Permit(Struct, frozen=True, gc=False, array_like=True):
    """How many permits a run holds, under which epoch, and until when."""

    epoch: int
    n: int
    until: float


class LimitState(Struct, frozen=True, gc=False, omit_defaults=True):
    """Who holds permits; `tat` is when the bucket is full again (the theoretical arrival time of GCRA).

    Args:
        refused: the run that was last given fewer than it wanted, because others held them, and when.
    """

    held: dict[str, Permit] = {}
    tat: float = 0.0
    refused: str = ""
    refused_at: float = 0.0


class LimitAnswer(Struct, frozen=True, gc=False, omit_defaults=True, tag="limit"):
    """How many permits were granted, when one more may be, how many are held by all, and whether another run waits."""

    granted: int
    retry_at: float = 0.0
    busy: int = 0
    is_wanted: bool = False


def held_key(key: str, run: str = "") -> str:
    """Name the row for what a run holds of a budget; without a run, the beginning of all those names."""
    return f"held|{key}\x1f{run}"


Op: TypeAlias = BudgetOp | BreakerOp | LimitOp
Answer: TypeAlias = BudgetAnswer | BreakerAnswer | LimitAnswer


class Tally(Struct, frozen=True, gc=False):
    """A row as a store finds it: its state as JSON; `version` counts its changes, `at` is the time of the last one."""

    key: str
    kind: str
    body: Raw
    version: int
    at: float
