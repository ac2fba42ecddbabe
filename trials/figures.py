"""What a trial is and what it comes to: the one form in which every trial of this folder is written."""

from collections.abc import Callable
from typing import Any

from msgspec import Struct, field

MOST_TROUBLE = 20  # lines that a report shows; the counts are whole


class Figures(Struct):
    """What a trial came to.

    Args:
        trials: how often it was tried.
        bad: what must not have happened, each with how often it did: lost, duplicated, stuck, accepted...
        reached: what must have happened at least once, or the trial is blind: each with how often it did.
        shown: other figures worth showing: rates, shares, times.
        trouble: one line for each thing that is bad: where, and what.
    """

    trials: int = 0
    bad: dict[str, int] = field(default_factory=dict)
    reached: dict[str, int] = field(default_factory=dict)
    shown: dict[str, Any] = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)

    def blame(self, what: str, where: str) -> None:
        """Count something bad, and keep a line about it."""
        self.bad[what] = self.bad.get(what, 0) + 1
        if len(self.trouble) < MOST_TROUBLE:
            self.trouble.append(f"{what}: {where}")

    def reach(self, what: str, times: int = 1) -> None:
        """Count something that has to happen."""
        self.reached[what] = self.reached.get(what, 0) + times

    @property
    def passes(self) -> bool:
        """Nothing bad, nothing unreached, and something was tried at all."""
        return self.trials > 0 and not any(self.bad.values()) and all(self.reached.values()) and not self.trouble

    @property
    def bound(self) -> float:
        """The 95 % upper bound of the rate of failure when none was seen in so many trials: the rule of three."""
        return 3 / self.trials if self.trials else 1.0


class Trial(Struct, frozen=True):
    """Something to try.

    Args:
        name: one or two words, as on the command line.
        faults: the fault classes that it covers, F1 to F54.
        says: what is tried and what would be bad, one sentence.
        run: `run(folder, **options)`: makes its files in `folder`, returns its figures, raises for nothing.
        short: its options in `make prove`.
        long: its options in `make prove-long`.
        timed: it judges times; if it does not hold beside another trial, it is run again alone, and that counts.
    """

    name: str
    faults: str
    says: str
    run: Callable[..., Figures]
    short: dict[str, Any] = field(default_factory=dict)
    long: dict[str, Any] = field(default_factory=dict)
    timed: bool = False
