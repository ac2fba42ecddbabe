"""The judge sees what is wrong, each kind for itself."""

from dataclasses import replace

import pytest

from tests.kill.judge import End, Evidence, Look, is_between, judge, settle
from tests.kill.world import Line

STEPS = {"a#1": 10, "b#1": 20}
LEDGER = [
    Line(1, 0, "body", "a#1"), Line(2, 0, "call", "a#1"), Line(3, 0, "intended", "a#1"), Line(4, 0, "begun", "a#1"),
    Line(5, 0, "done", "a#1", 10), Line(6, 0, "outcome", "a#1"), Line(7, 0, "body", "b#1"), Line(8, 0, "call", "b#1"),
    Line(9, 0, "intended", "b#1"), Line(10, 0, "begun", "b#1"), Line(11, 0, "killed", "-"),
    Line(12, 1, "body", "b#1"), Line(13, 1, "begun", "b#1"), Line(14, 1, "done", "b#1", 20),
]  # fmt: skip
LOOK = Look(5, ["a#1"], ["a#1", "b#1"], ["a#1"], ["b#1"])
END = End("completed", 30, [1, 2, 3, 4, 5, 6, 7], ["a#1", "b#1"], [(6, "b#1")])
GOOD = Evidence([LOOK], END, LEDGER)


def test_a_good_trial() -> None:
    verdict = judge(GOOD, STEPS, 30)
    assert (verdict.lost, verdict.repeated, verdict.parked_wrongly, verdict.stuck) == ([], [], [], [])
    assert (verdict.parked, verdict.is_between) == (1, True)


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (replace(GOOD, ledger=LEDGER[:-1]), "b#1: its effect did not happen"),
        (replace(GOOD, end=replace(END, completed=["a#1"])), "b#1: not completed"),
        (replace(GOOD, end=replace(END, output=10)), "the output is 10, not 30"),
        (replace(GOOD, end=replace(END, numbers=[1, 2, 4, 5, 6])), "without a gap"),
        (replace(GOOD, looks=[replace(LOOK, seq=9)]), "events that were there before"),
        (replace(GOOD, end=replace(END, differing=[2])), "replay differs"),
    ],
)
def test_what_is_lost(evidence: Evidence, said: str) -> None:
    assert any(said in one for one in judge(evidence, STEPS, 30).lost)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (Line(15, 1, "done", "a#1", 10), "a#1: its effect happened 2 times"),
        (Line(15, 1, "body", "a#1"), "a#1: completed, and ran again"),
        (Line(15, 1, "call", "b#1"), "b#1: recorded, and called again"),
        (Line(15, 1, "begun", "a#1"), "a#1: paid, and called again"),
    ],
)
def test_what_is_repeated(line: Line, said: str) -> None:
    assert judge(replace(GOOD, ledger=[*LEDGER, line]), STEPS, 30).repeated == [said]


def test_what_is_parked_wrongly_or_stuck() -> None:
    silent = replace(GOOD, end=replace(END, asked=[]))
    curious = replace(GOOD, end=replace(END, asked=[(6, "b#1"), (7, "a#1")]))
    assert all(judge(evidence, STEPS, 30).parked_wrongly for evidence in (silent, curious))
    assert judge(replace(GOOD, end=End("waiting")), STEPS, 30).stuck
    # A process that was killed before it could ask leaves it to the next.
    assert not judge(replace(GOOD, looks=[LOOK, LOOK]), STEPS, 30).parked_wrongly


def test_where_a_kill_falls_and_what_the_ledger_answers() -> None:
    assert is_between(LEDGER)
    assert not is_between([line for line in LEDGER if line.address != "b#1"])
    assert not is_between([line for line in LEDGER if line.kind != "killed"])
    assert settle(LEDGER, "a#1") == {"happened": True, "value": 10}
    assert settle(LEDGER, "c#1") == {"happened": False}
