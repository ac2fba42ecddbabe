"""Events as lines and as objects."""

from typing import Any

import pytest

from windlass.cli.telling import DETAILS, as_line, as_object, details
from windlass.core.events import EVENTS, ITEMS, Event


def event(kind: str, address: str = "", **data: Any) -> Event:
    return Event(run="r", type=kind, address=address, seq=3, at=1.5, data=data)


def test_only_events_that_exist_are_spelled_out() -> None:
    assert set(DETAILS) <= set(EVENTS) | set(ITEMS)


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (event("run.completed"), ""),
        (event("run.parked", questions=["q"], due_at=None), "1 question"),
        (event("step.committed", n=2, planned=["a#1"]), "checkpoint 2, next a#1"),
        (event("attempt.failed", "a#1", attempt=1, failure={"kind": "E", "message": "m"}), "attempt 1: E: m"),
        (event("activation.failed", "a#1", failure={"kind": "E", "message": "m"}), "E: m"),
        (event("question.asked", "a#1", id="q1", prompt="Ship?"), "q1: Ship?"),
        (event("effect.in_doubt", "a#1", name="n", settled=""), '{"name": "n", "settled": ""}'),
        (event("item", "a#1", value=[1]), "[1]"),
    ],
    ids=lambda one: getattr(one, "type", ""),
)
def test_the_one_thing_that_matters(one: Event, said: str) -> None:
    assert details(one) == said


def test_a_line_and_an_object() -> None:
    one = event("item", "a#1[2]", value=1)
    assert as_line(one).endswith("item                  a#1[2]  1")
    assert as_object(one) == {
        "run": "r", "seq": 3, "at": "1970-01-01T00:00:01.500Z", "type": "item", "address": "a#1[2]", "node": "a",
        "data": {"value": 1},
    }  # fmt: skip
