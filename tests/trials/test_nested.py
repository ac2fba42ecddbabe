"""The trial of nesting holds in small, and its generator and its interpreter are not blind."""

from random import Random

from trials.nested import DEPTH, expected, judge, make, nested, places, play
from trials.rooms import ROOT


def test_trees_come_to_what_the_interpreter_says() -> None:
    figures = nested(ROOT, trees=12, seed=40)
    assert not any(figures.bad.values()), figures.trouble
    assert figures.reached["child completed"]


def test_programs_are_of_every_kind() -> None:
    drawn = [make(Random(seed), DEPTH, []) for seed in range(40)]
    for what in ("ask", "effect", "sleep", "flaky", "call"):
        assert any(places(program, what) for program in drawn)


def test_what_differs_is_noticed() -> None:
    program = make(Random(3), DEPTH, [])
    sim, outcome = play(program, None)
    assert judge(program, sim, outcome) == []
    program["steps"].append({"do": "call", "id": 1000})
    assert expected(program)[-1] == 2000
    assert judge(program, sim, outcome)
