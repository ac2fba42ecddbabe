"""The trial of nested graphs holds in small; its generator is not blind, and what it finds is made small."""

import pytest

from trials import nested_graphs as trial
from trials.nested_graphs import DEPTH, Draw, judge, nested_graphs, play, shrink, written
from trials.nested_reference import Program
from trials.rooms import ROOT


def parts(program: Program) -> list[str]:
    """List what a program is made of, at any depth."""
    of = program.get("phases") or program.get("nodes") or program.get("of") or []
    below = [name for one in (of if isinstance(of, list) else [of]) for name in parts(one)]
    return [program.get("do") or program["kind"], *below]


def test_graphs_come_to_what_the_interpreter_says() -> None:
    figures = nested_graphs(ROOT, programs=25, seed=40)
    assert not any(figures.bad.values()), figures.trouble
    assert all(figures.reached.values()), figures.reached


def test_programs_are_of_every_kind() -> None:
    drawn = {name for seed in range(60) for name in parts(Draw(seed).definition(DEPTH))}
    assert drawn == {
        "graph", "pipeline", "sub", "child", "each", "parallel", "send", "loop",
        "ask", "call", "effect", "sleep", "flaky", "once", "plain",
    }  # fmt: skip


def test_what_differs_is_noticed() -> None:
    program = Draw(2).definition(DEPTH)
    sim, outcome = play(program, 0)
    assert judge(program, sim, outcome) == []
    other = {**program, "id": program["id"] + 1, "nodes": [], "phases": []}
    assert judge(other, sim, outcome)


def test_what_is_wrong_is_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong_with_effects(program: Program, *_: object) -> list[str]:
        return ["an effect"] if "effect" in parts(program) else []

    monkeypatch.setattr(trial, "judge", wrong_with_effects)
    monkeypatch.setattr(trial, "play", lambda *_: (None, None))
    program = next(p for p in (Draw(seed).definition(DEPTH) for seed in range(60)) if "effect" in parts(p))
    least, wrong = shrink(program, 1)
    assert wrong == ["an effect"]
    assert sorted(set(parts(least)) - {"graph", "pipeline", "sub", "child", "each", "send", "loop", "parallel"}) == [
        "effect"
    ]
    assert len(written(least).splitlines()) <= 2 * DEPTH
