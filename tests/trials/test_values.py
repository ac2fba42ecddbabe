"""The quick part of the value trials: every value in the places that differ most, and a few that hypothesis draws."""

from pathlib import Path

import pytest

from trials.value_cases import CASES
from trials.values import DEFINITIONS, drawn, matrix


@pytest.mark.parametrize("places", [["channel", "input"], ["outcome", "arguments"], ["answer", "edit"]], ids="-".join)
def test_no_value_changes(tmp_path: Path, places: list[str]) -> None:
    figures = matrix(tmp_path, stores=["memory"], places=places)
    assert figures.passes, figures.trouble
    assert figures.trials >= len(CASES) * 2


def test_drawn_values_do_not_change(tmp_path: Path) -> None:
    figures = drawn(tmp_path, examples=25, stores=["memory"])
    assert figures.passes, figures.trouble


def test_there_is_a_place_for_everything_that_is_kept() -> None:
    assert set(DEFINITIONS) >= {
        "channel", "input", "output", "call", "arguments", "outcome", "answer", "item", "edit", "payload",
    }  # fmt: skip
