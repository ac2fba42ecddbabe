"""The sweep in small: each way to fail once at each kind of call, in a process of its own."""

from trials import sweep
from trials.rooms import run_apart


def test_a_fault_at_any_call_of_the_disk_loses_nothing() -> None:
    kinds = sum(len(kinds) for kinds in sweep.SWEPT.values())
    figures = run_apart("sweep", sweep.TRIALS[0], {"points": kinds}).figures
    assert figures.trouble == []
    assert figures.passes
