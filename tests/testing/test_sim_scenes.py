"""Every scene of the simulation: whole without a fault, the same for the same tape, unbroken for a few seeds."""

from random import Random

import pytest

from windlass.testing.sim import search
from windlass.testing.sim_scenes import SCENES
from windlass.testing.sim_tape import Tape


@pytest.mark.parametrize("name", SCENES)
def test_a_scene_comes_to_its_end_without_a_fault(name: str) -> None:
    outcome = SCENES[name].play(Tape())
    assert outcome.trouble == []
    assert {status for status, _ in outcome.runs.values()} == {"completed"}
    assert outcome.faults == 0


@pytest.mark.parametrize("name", SCENES)
def test_the_same_tape_gives_the_same_schedule(name: str) -> None:
    for seed in range(5):
        drawn = SCENES[name].play(Tape(dice=Random(seed)))
        again = SCENES[name].play(Tape(drawn.tape))
        assert (again.tape, again.reached, again.turns) == (drawn.tape, drawn.reached, drawn.turns)


@pytest.mark.parametrize("name", SCENES)
def test_a_few_seeds_break_nothing(name: str) -> None:
    assert search(SCENES[name], range(30)).violations == []
