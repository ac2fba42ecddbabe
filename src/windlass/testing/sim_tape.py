"""The tape: every decision of a simulated schedule, as digits 0 to 9, and who makes them.

A schedule is a pure function of its scene and its tape. 0 is always the plain choice (first in first out, no fault),
and a tape that has run out goes on with zeros, so a shorter tape with more zeros is a simpler schedule. In search of
trouble the digits are drawn by a seeded dice whose `Mood` the seed decides (swarm testing: Groce et al., 2012); what
was drawn is the tape. The first digit is the number of faults that may happen; after them, nothing goes wrong any more.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from random import Random

from msgspec import Struct

MOST_FAULTS = 6
DIGITS = 10
EVEN = 0.5
TURN_RATE = 0.15  # share of the looks for work in which something befalls a process


class Fault(IntEnum):
    """What happens to one thing that a process does to the world outside it: its store, an effect, a call."""

    NONE = 0
    YIELD_BEFORE = 1
    YIELD_AFTER = 2
    DELAY = 3
    REFUSED = 4  # it is not done, and an error says so
    AMBIGUOUS = 5  # it is done, and an error comes back
    CRASH_BEFORE = 6
    CRASH_AFTER = 7
    STALL_BEFORE = 8  # longer than the lease
    STALL_AFTER = 9


class Turn(IntEnum):
    """What befalls a process between two looks for work."""

    NONE = 0
    DRAIN = 1
    FORWARD = 2  # its clock
    BACK = 3
    CRASH = 6
    STALL = 8


WORST_HARMLESS = int(Fault.DELAY)  # a plain number compares without a call
HARMLESS = (Fault.YIELD_BEFORE, Fault.YIELD_AFTER, Fault.DELAY)
KINDS: dict[str, tuple[int, ...]] = {  # as plain numbers: those compare and add without a call
    "delay": tuple(map(int, HARMLESS)),
    "refused": (int(Fault.REFUSED),),
    "ambiguous": (int(Fault.AMBIGUOUS),),
    "crash": (int(Fault.CRASH_BEFORE), int(Fault.CRASH_AFTER)),
    "stall": (int(Fault.STALL_BEFORE), int(Fault.STALL_AFTER)),
    "turn": (),
}
BEFALLS = tuple(int(turn) for turn in Turn if turn)


class Mood(Struct, frozen=True):
    """How a seed draws.

    Args:
        faults: digits that a fault may have, with repetition.
        rate: share of what a process does that meets one of them.
        turns: digits that may befall a process between two looks, with repetition.
        disorder: share of the loop's choices that are not first in first out.
        budget: most faults.
    """

    faults: tuple[int, ...] = ()
    rate: float = 0.0
    turns: tuple[int, ...] = ()
    disorder: float = 0.0
    budget: int = MOST_FAULTS


def mood(dice: Random) -> Mood:
    """Draw which kinds of fault are on, and how often they come."""
    kinds = [kind for kind in KINDS if dice.random() < EVEN] or ["crash"]
    faults = tuple(digit for kind in kinds for digit in KINDS[kind])
    turns: tuple[int, ...] = ()
    if "turn" in kinds:
        turns = tuple(turn for turn in BEFALLS if dice.random() < EVEN)
    return Mood(faults, dice.choice((0.02, 0.05, 0.1, 0.2)), turns, dice.choice((0.0, 0.05, 0.2, 0.5)),
                dice.randint(1, MOST_FAULTS))  # fmt: skip


class Tape:
    """Makes the decisions of one schedule: from given digits, or by dice.

    Attributes:
        taken: the digits so far.
        arities: of a given tape, how many choices each of them had.
        kinds: of a given tape, what each of them was about: order, pick, fault, turn.
    """

    def __init__(self, digits: Iterable[int] = (), dice: Random | None = None) -> None:
        self._given = list(digits)
        self._roll = dice.random if dice is not None else None
        drawn = mood(dice) if dice is not None else Mood()
        self._faults, self._rate, self._turns, self._disorder = drawn.faults, drawn.rate, drawn.turns, drawn.disorder
        self.budget = drawn.budget if dice is not None else (self._given or [0])[0]
        self.taken = [self.budget]
        self.arities = [1]
        self.kinds = ["budget"]

    @property
    def is_quiet(self) -> bool:
        """Nothing goes wrong any more."""
        return self.budget <= 0

    def calm(self) -> None:
        """Let nothing go wrong any more."""
        self.budget = 0

    def order(self, number: int) -> int:
        """Choose one of so many callbacks that are ready; none but the first ten can be chosen."""
        if self.budget <= 0:
            return 0
        roll = self._roll
        if roll is None:
            return self._next(min(number, DIGITS), "order")
        digit = int(roll() * min(number, DIGITS)) if roll() < self._disorder else 0
        self.taken.append(digit)
        return digit

    def pick(self, number: int) -> int:
        """Choose one of a few ways to go on, all as likely."""
        if self._roll is None:
            return self._next(number, "pick")
        digit = int(self._roll() * number)
        self.taken.append(digit)
        return digit

    def fault(self) -> int:
        """Choose what happens to the next thing that a process does; see `Fault`."""
        if self.budget <= 0:
            return 0
        roll, digits = self._roll, self._faults
        if roll is None:
            digit = self._next(DIGITS, "fault")
        else:
            digit = digits[int(roll() * len(digits))] if digits and roll() < self._rate else 0
            self.taken.append(digit)
        if digit > WORST_HARMLESS:
            self.budget -= 1
        return digit

    def turn(self) -> int:
        """Choose what befalls a process between two looks; see `Turn`."""
        if self.budget <= 0:
            return 0
        roll, digits = self._roll, self._turns
        if roll is None:
            digit = self._next(DIGITS, "turn")
        else:
            digit = digits[int(roll() * len(digits))] if digits and roll() < TURN_RATE else 0
            self.taken.append(digit)
        if digit not in TURNS:
            return 0
        self.budget -= digit > 0
        return digit

    def _next(self, arity: int, kind: str) -> int:
        place = len(self.taken)
        digit = self._given[place] % arity if place < len(self._given) else 0
        self.taken.append(digit)
        self.arities.append(arity)
        self.kinds.append(kind)
        return digit


TURNS = frozenset(int(turn) for turn in Turn)


def trimmed(digits: Sequence[int]) -> list[int]:
    """Leave out the zeros at the end: they are what an empty tape says."""
    last = max((place for place, digit in enumerate(digits) if digit), default=-1)
    return list(digits[: last + 1])
