"""Shrinking ends at the plainest tape that breaks."""

from collections.abc import Sequence

from windlass.testing.sim_shrink import shrink
from windlass.testing.sim_tape import Tape, trimmed


def test_what_does_not_matter_goes() -> None:
    tape = [6, *[3, 1, 4, 1, 5, 9, 2, 6] * 9]

    def breaks(given: Sequence[int]) -> bool:
        return len(given) > 4 and given[0] >= 2 and max(given[1:]) >= 7

    assert shrink(tape, breaks) == [2, 0, 0, 0, 7]


def test_a_tape_that_is_as_plain_as_it_gets_stays() -> None:
    assert shrink([1, 2], lambda given: list(given) == [1, 2]) == [1, 2]


def test_a_tape_that_has_run_out_goes_on_with_zeros() -> None:
    tape = Tape([2, 1])
    assert [tape.order(3), tape.order(3), tape.fault()] == [1, 0, 0]
    assert trimmed(tape.taken) == [2, 1]
    tape.calm()
    assert (tape.is_quiet, tape.fault(), tape.turn(), tape.order(5)) == (True, 0, 0, 0)
