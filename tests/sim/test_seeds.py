"""Tapes that once broke something, each replayed for ever."""

from pathlib import Path

import pytest

from windlass.testing.sim import load, replay

SEEDS = sorted((Path(__file__).parent / "seeds").glob("*.json"))


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: path.stem)
def test_a_tape_that_once_broke_something_breaks_nothing(path: Path) -> None:
    assert replay(load(path)).trouble == []


def test_there_are_tapes() -> None:
    assert SEEDS
