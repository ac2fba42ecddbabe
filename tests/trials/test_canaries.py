"""The canaries in small: none is found; and where nothing is masked, all are."""

import pytest

from trials import canaries
from trials.rooms import run_apart


def test_no_canary_is_found() -> None:
    figures = run_apart("canaries", canaries.TRIALS[0], {"kills": 3}).figures
    assert figures.trouble == []
    assert figures.passes


def test_every_spelling_is_in_some_canary() -> None:
    there = {name.partition(" ")[2] for name in canaries.load()}
    assert there == set(canaries.spellings("x"))
    assert {name.partition(" ")[0] for name in canaries.load()} == set(map(str, range(canaries.CANARIES)))


@pytest.mark.parametrize("value", canaries.canaries()[:6])
def test_the_search_sees_every_spelling(value: str) -> None:
    for how, text in canaries.spellings(value).items():
        assert any(trace in text.encode() for trace in canaries.traces(value)) or how == "json in json", how
