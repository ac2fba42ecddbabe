"""The trials of boundaries hold in small, and notice what they are there to notice.

They fork, so each runs in a process of its own that has neither loop nor connection nor thread.
"""

from typing import Any

import pytest

from trials.boundaries import judged, outlived
from trials.mutants import BOUNDARIES, LIMITED
from trials.rooms import a_trial, run_apart

SMALL: dict[str, dict[str, Any]] = {
    "half-open": {"rounds": 12},
    "kept": {"trials": 6},
    "budgets": {"rounds": 1, "killed": 1},
}
NOTICED = {"escrow-not-written-off": "kept", "probe-for-everybody": "half-open", "attempts-reset-at-claim": "kept"}


@pytest.mark.parametrize("name", SMALL)
def test_limits_hold(name: str) -> None:
    figures = run_apart("boundaries", a_trial(name, "boundaries"), SMALL[name]).figures
    assert figures.passes, (figures.bad, figures.reached, figures.trouble)


@pytest.mark.parametrize("mutant", NOTICED)
def test_a_product_that_is_broken_is_noticed(mutant: str) -> None:
    options = dict(BOUNDARIES)[NOTICED[mutant]]
    figures = run_apart("boundaries", a_trial(NOTICED[mutant], "boundaries"), options, mutant).figures
    assert not figures.passes
    assert any(figures.bad.values())


def test_every_mutant_of_limits_is_tried() -> None:
    assert {mutant.__name__.replace("_", "-") for mutant in LIMITED} == set(NOTICED)


@pytest.mark.parametrize(
    ("spent", "held", "killed", "kinds"),
    [
        (3, {}, False, []),
        (2, {}, False, ["forgotten", "miscounted"]),
        (4, {}, True, []),
        (2, {}, True, ["forgotten"]),
        (61, {}, True, ["over"]),
        (3, {"money": 1}, False, ["held"]),
    ],
)
def test_a_tally_is_held_against_what_was_paid(spent: float, held: Any, killed: bool, kinds: list[str]) -> None:
    assert [kind for kind, _ in judged({"held": held}, spent, 3, 3, 1, killed=killed)] == kinds


KEPT: dict[str, Any] = {
    "status": "failed", "failed": [[1, 10.0], [2, 11.0], [3, 12.0], [4, 13.0], [5, 14.0]],
    "due": [[2, 10.5], [3, 11.5]], "letters": [["attempts", 5]],
    "tallies": {"budget|run|r": {"spent": {"money": 5_000_000}}, "breaker|fleet||api": {"status": "open"}},
}  # fmt: skip
BODIES = [[1, 9.9], [2, 10.9], [3, 11.9], [4, 12.9], [5, 13.9]]


@pytest.mark.parametrize(
    ("change", "bodies", "kinds"),
    [
        ({}, BODIES, []),
        ({"failed": KEPT["failed"][:2] + KEPT["failed"]}, BODIES, ["attempts"]),
        ({}, [*BODIES, [5, 15.0]], ["attempts"]),
        ({}, [BODIES[0], BODIES[0], *BODIES[1:]], ["attempts"]),
        ({}, [BODIES[0], [2, 10.4], *BODIES[2:]], ["early"]),
        ({}, [*BODIES[:3], [4, 12.05], BODIES[4]], ["breaker"]),
        ({"letters": []}, BODIES, ["letter"]),
        ({"status": "completed"}, BODIES, ["stuck"]),
        ({"tallies": {**KEPT["tallies"], "budget|run|r": {"spent": {"money": 4_000_000}}}}, BODIES, ["budget"]),
        ({"tallies": {"budget|run|r": KEPT["tallies"]["budget|run|r"]}}, BODIES, ["breaker"]),
    ],
)
def test_a_log_is_held_against_what_the_world_saw(change: Any, bodies: Any, kinds: list[str]) -> None:
    assert [kind for kind, _ in outlived({**KEPT, **change}, bodies, 5, None, 0)] == kinds
