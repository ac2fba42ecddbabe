"""The trials of who may not answer hold in small, and see a product that lets anybody or anything in."""

from pathlib import Path
from typing import Any

import pytest

from trials import strangers
from trials.figures import Figures
from windlass.engine import answers, approvals


def test_nobody_is_let_in(tmp_path: Path) -> None:
    assert strangers.strangers(tmp_path, tries=150).passes


def test_what_is_no_answer_is_refused(tmp_path: Path) -> None:
    assert strangers.poisoned(tmp_path, values=150).passes


def test_a_flood_is_cut_off(tmp_path: Path) -> None:
    assert strangers.flood(tmp_path, requests=200).passes


async def _yes(*_: Any) -> bool:
    return True


@pytest.mark.parametrize(
    ("where", "name", "broken", "trial", "seen"),
    [
        (answers, "may_answer", lambda *_: True, lambda home: strangers.strangers(home, tries=20), "let in"),
        (answers, "unfit", lambda *_: "", lambda home: strangers.poisoned(home, values=20), "let in"),
        (approvals, "_is_let", _yes, lambda home: strangers.flood(home, requests=400), "too many of an approver"),
        (approvals, "WINDOW_SECONDS", 1e-6, lambda home: strangers.flood(home, requests=200), "too many of a run"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_product_that_is_broken_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Any, name: str, broken: Any, trial: Any, seen: str
) -> None:
    monkeypatch.setattr(where, name, broken)
    figures: Figures = trial(tmp_path)
    assert figures.bad[seen] > 0
