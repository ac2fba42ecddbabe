"""The trial of sub-graphs holds in small, and has what it is about."""

from random import Random

from trials.framed import build, framed, play
from trials.nested import DEPTH, judge, make
from trials.rooms import ROOT


def test_trees_come_to_what_the_interpreter_says() -> None:
    figures = framed(ROOT, trees=12, seed=40)
    assert not any(figures.bad.values()), figures.trouble
    assert figures.reached["frames"]


def test_definitions_nest_each_other() -> None:
    paths = [one.path for seed in range(20) for one in build(make(Random(seed), DEPTH, [])).compile().tree()]
    assert max(path.count("/") for path in paths) == DEPTH - 1


def test_what_differs_is_noticed() -> None:
    program = make(Random(3), DEPTH, [])
    sim, outcome = play(program, None)
    assert judge(program, sim, outcome) == []
    program["steps"].append({"do": "call", "id": 1000})
    assert judge(program, sim, outcome)
