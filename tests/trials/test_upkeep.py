"""Chores on a failing disk in small: each chore with each way to fail, once."""

from trials import upkeep
from trials.rooms import run_apart
from trials.sweep import SWEPT


def test_a_fault_during_a_chore_loses_nothing() -> None:
    figures = run_apart("upkeep", upkeep.TRIALS[0], {"points": len(upkeep.CHORES) * len(SWEPT)}).figures
    assert figures.trouble == []
    assert figures.passes
