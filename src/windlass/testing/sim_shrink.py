"""Shrinking: the shortest and plainest tape that still breaks the same thing.

First blocks of digits are set to zero or left out, ever smaller ones (delta debugging: Zeller and Hildebrandt, 2002);
then, where hypothesis is installed, it shrinks what is left as a list of digits.
"""

import time
from collections.abc import Callable, Sequence

from windlass.testing.sim_tape import trimmed

Breaks = Callable[[Sequence[int]], bool]
MOST_TRIES = 600
MOST_SECONDS = 20.0  # of processor time: a schedule that is stuck takes long


def shrink(tape: Sequence[int], breaks: Breaks, *, tries: int = MOST_TRIES) -> list[int]:
    """Return a tape that breaks, and is no longer and no larger than the given one."""
    ends = time.process_time() + MOST_SECONDS
    spent = [tries]
    known: dict[tuple[int, ...], bool] = {}

    def breaks_in_time(given: Sequence[int]) -> bool:
        digits = tuple(given)
        if digits not in known:
            known[digits] = time.process_time() < ends and breaks(given)
        return known[digits]

    smaller = _reduced(trimmed(tape), breaks_in_time, spent)
    return _finished(smaller, breaks_in_time, spent[0])


def _reduced(tape: list[int], breaks: Breaks, spent: list[int]) -> list[int]:
    """Set blocks to zero, then leave blocks out."""
    for change in (_zeroed, _left_out):
        size = max(1, len(tape) // 2)
        while size and spent[0] > 0:
            place = 1  # the first digit is the budget
            while place < len(tape) and spent[0] > 0:
                fewer = trimmed(change(tape, place, size))
                if fewer != tape and _try(fewer, breaks, spent):
                    tape = fewer
                    place += size if change is _zeroed else 0
                else:
                    place += size
            size //= 2
    return tape


def _zeroed(tape: list[int], place: int, size: int) -> list[int]:
    return [*tape[:place], *[0] * len(tape[place : place + size]), *tape[place + size :]]


def _left_out(tape: list[int], place: int, size: int) -> list[int]:
    return [*tape[:place], *tape[place + size :]]


def _try(tape: list[int], breaks: Breaks, spent: list[int]) -> bool:
    spent[0] -= 1
    return breaks(tape)


def _finished(tape: list[int], breaks: Breaks, tries: int) -> list[int]:
    """Let hypothesis go on from here: its data base is given the tape as a failure that was not shrunk yet."""
    try:
        from hypothesis import HealthCheck, Phase, find, settings
        from hypothesis import strategies as st
        from hypothesis.database import InMemoryExampleDatabase, choices_to_bytes
        from hypothesis.errors import NoSuchExample
    except ImportError:
        return tape
    if tries <= 0:
        return tape
    known, key = InMemoryExampleDatabase(), b"tape"
    choices: list[int | bool] = []
    for digit in tape:
        choices += [True, digit]
    known.save(key + b".secondary", choices_to_bytes([*choices, False]))
    chosen = settings(
        database=known, phases=(Phase.reuse, Phase.shrink), max_examples=max(1, tries), deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    digits = st.lists(st.integers(0, 9), max_size=len(tape))
    try:
        found = find(digits, breaks, settings=chosen, database_key=key)
    except NoSuchExample:
        return tape
    return trimmed(found) if breaks(trimmed(found)) else tape
