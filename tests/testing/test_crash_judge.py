"""The judge sees what is wrong, each kind for itself."""

from typing import Any

import pytest
from msgspec.structs import replace

from windlass.testing.crash_judge import End, Evidence, Kept, Look, is_between, judge, settle
from windlass.testing.crash_world import Line

A = {"address": "a#1", "name": "pay", "key": "ka"}
B = {"address": "b#1", "name": "pay", "key": "kb"}


def line(at: int, turn: int, kind: str, about: dict[str, str], value: Any = None) -> Line:
    return Line(at, turn, kind, **about, value=value)


def effect(about: dict[str, str], status: str = "done", on_doubt: str = "ask") -> Kept:
    return Kept(about["address"], about["name"], "", about["key"], status, on_doubt, "arguments")


LEDGER = [
    line(1, 0, "body", A), line(2, 0, "call", {**A, "name": "think"}), line(3, 0, "intended", A),
    line(4, 0, "begun", A), line(5, 0, "done", A, 10), line(6, 0, "outcome", A),
    line(7, 0, "body", B), line(8, 0, "call", {**B, "name": "think"}), line(9, 0, "intended", B),
    line(10, 0, "begun", B), Line(11, 0, "killed"),
    line(12, 1, "body", B), line(13, 1, "begun", B), line(14, 1, "done", B, 20), line(15, 1, "outcome", B),
]  # fmt: skip
LOOK = Look(5, "m5", ["a#1"], [("a#1", "think"), ("b#1", "think")], ["ka"], ["kb"], 1)
END = End(
    "completed", "30", "digest", ["m1", "m2", "m3", "m4", "m5", "m6", "m7"], True, [("a#1", "{}"), ("b#1", "{}")],
    [effect(A), effect(B)], [("b#1", "pay")], asked=[(6, "kb")],
)  # fmt: skip
GOOD = Evidence([LOOK], END, LEDGER, was_told=True)
MODEL = Evidence([], replace(END, asked=[], permits=[]), [one for one in LEDGER if one.turn == 0])


def end(**changed: Any) -> Evidence:
    return replace(GOOD, end=replace(END, **changed))


def more(*lines: Line) -> Evidence:
    return replace(GOOD, ledger=[*LEDGER, *lines])


def test_a_good_trial() -> None:
    verdict = judge(GOOD, MODEL)
    assert verdict.trouble() == []
    assert (verdict.parked, verdict.doubts, verdict.is_between) == (1, 1, True)


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (replace(GOOD, ledger=LEDGER[:-2]), "b#1: its effect pay is recorded as done, and did not happen"),
        (end(completed=[("a#1", "{}")]), "b#1: completed 1 times too few"),
        (end(completed=[("a#1", "{}"), ("b#1", "[]")]), "b#1: completed 1 times too few with {}, and wrote []"),
        (end(output="10"), "the output is 10, not 30"),
        (end(digest="other"), "the state's digest is other, not digest"),
        (end(is_gapless=False), "without a gap"),
        (end(differing=[2]), "a replay differs at [2]"),
        (end(effects=[effect(A)]), "b#1: no effect pay"),
        (replace(GOOD, looks=[replace(LOOK, seq=9)]), "process 1 finds 9"),
        (replace(GOOD, looks=[replace(LOOK, mark="other")]), "are others at the end"),
        (replace(GOOD, looks=[Look(doubtful=["kb"])]), "events up to 1 were there, process 1 finds 0"),
    ],
)
def test_what_is_lost(evidence: Evidence, said: str) -> None:
    assert any(said in what for kind, what in judge(evidence, MODEL).trouble() if kind == "lost")


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (more(line(16, 1, "done", A, 10)), "a#1: pay done 2 times with one key"),
        (more(line(16, 1, "did", A), line(17, 1, "did", A)), "a#1: pay did 2 times with one key"),
        (more(line(16, 1, "undid", A), line(17, 1, "undid", A)), "a#1: pay undid 2 times with one key"),
        (more(line(16, 1, "body", A)), "a#1: completed, and ran again"),
        (more(line(16, 1, "call", {**B, "name": "think"})), "b#1: think was recorded, and called again"),
        (end(completed=[*END.completed, ("a#1", "{}")]), "a#1: completed 2 times"),
    ],
)
def test_what_is_duplicated(evidence: Evidence, said: str) -> None:
    assert said in judge(evidence, MODEL).duplicated


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (more(line(16, 1, "undoing", A)), "a#1: the undo of pay was called 1 times, meant 0 times"),
        (more(line(16, 1, "begun", A)), "an effect with the key ka was done, and called again"),
        (end(permits=[]), "b#1: its effect pay was called 1 times more, with leave for 0"),
        (more(line(16, 1, "begun", {**B, "key": "kc"})), "b#1: its effect pay was called with 2 keys"),
        (more(line(16, 1, "begun", {**B, "key": "kc"})), "b#1: its effect pay was called without an intent"),
    ],
)
def test_what_is_called_again_without_leave(evidence: Evidence, said: str) -> None:
    assert said in judge(evidence, MODEL).rerun


def test_what_may_be_called_again_may_be_done_again() -> None:
    kept = [effect(A, on_doubt="retry"), effect(B)]
    again = replace(end(effects=kept), ledger=[*LEDGER, line(16, 0, "begun", A), line(17, 0, "done", A, 10)])
    assert judge(again, MODEL).rerun == ["a#1: its effect pay was called 1 times more, with leave for 0"]
    assert not judge(replace(again, end=replace(again.end, permits=[*END.permits, ("a#1", "pay")])), MODEL).trouble()


def test_a_rollback_lets_things_run_again() -> None:
    once = replace(END, rollbacks=1, completed=[*END.completed, ("b#1", "{}")])
    again = replace(GOOD, end=once, ledger=[*LEDGER, line(16, 1, "body", A)])
    assert judge(again, MODEL).duplicated == []
    assert judge(replace(again, looks=[replace(LOOK, rollbacks=1)]), MODEL).duplicated


def test_what_is_asked_wrongly() -> None:
    for asked in ([], [(6, "kb"), (7, "ka")]):
        assert judge(end(asked=asked), MODEL).asked_wrongly
    # A process that was killed before it could ask leaves it to the next.
    assert not judge(replace(GOOD, looks=[LOOK, LOOK]), MODEL).asked_wrongly
    # What is asked without a kill, too, says nothing about one.
    by_itself = replace(MODEL, end=replace(MODEL.end, asked=[(3, "ka")]))
    assert not judge(end(asked=[(6, "kb"), (7, "ka")]), by_itself).asked_wrongly


def test_what_is_stuck() -> None:
    verdict = judge(end(status="waiting"), MODEL)
    assert verdict.trouble() == [("stuck", "the run ended waiting")]
    assert judge(replace(GOOD, end=End()), MODEL).stuck == ["the run ended never"]


def test_where_a_kill_falls() -> None:
    assert is_between(LEDGER)
    assert not is_between([one for one in LEDGER if one.address != "b#1"])
    assert not is_between([one for one in LEDGER if one.kind != "killed"])


def test_what_the_ledger_answers() -> None:
    assert settle(LEDGER, "doubt", "ka") == {"happened": True, "value": 10}
    assert settle(LEDGER, "doubt", "kc") == {"happened": False}
    assert settle([*LEDGER, line(16, 1, "undone", A)], "undo", "ka") == {"undone": True}
    assert settle(LEDGER, "undo", "ka") == {"undone": False}
    assert settle(LEDGER, "stand", "ka") == {"stand": True}
