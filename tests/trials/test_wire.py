"""The trial of clients holds in small, and notices a product that forgets what was recorded."""

from pathlib import Path

import pytest

pytest.importorskip("httpx2", reason="the clients are not installed: httpx2, openai, anthropic")

from trials.figures import Trial
from trials.rooms import a_trial, run_apart


def a_small_one() -> Trial:
    return a_trial("wire", "wire")


def test_killed_clients_ask_for_nothing_again() -> None:
    figures = run_apart("wire", a_small_one(), {"stories": 4}).figures
    assert figures.passes, (figures.bad, figures.reached, figures.trouble)


def test_a_product_that_forgets_calls_is_noticed(tmp_path: Path) -> None:
    figures = run_apart("wire", a_small_one(), {"stories": 4}, "forget-calls").figures
    assert figures.bad["asked again"]
