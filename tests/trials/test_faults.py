"""The trials of the smaller fault classes pass at small sizes, reach what they must, and have teeth."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from trials import faults_cancel, faults_change, faults_clock, faults_graph, faults_slow, faults_version
from trials.figures import Figures, Trial
from windlass.core.events import Event
from windlass.engine import drives, reads
from windlass.engine.control import Control

SMALL: dict[str, dict[str, Any]] = {
    "clock-jumps": {"schedules": 12, "leases": 1},
    "slow": {"runs": 2, "steps": 30},
    "hung": {"nodes": 10, "real": 0},
    "cancel": {"depth": 2, "commits": 6},
    "reducers": {"graphs": 10},
    "edits": {"rounds": 1},
    "environments": {"processes": 2},
    "wrong-graphs": {"graphs": 200},
    "versions": {"rounds": 1},
}
ALL = [
    trial
    for module in (faults_cancel, faults_change, faults_clock, faults_graph, faults_slow, faults_version)
    for trial in module.TRIALS
]


@pytest.mark.parametrize("trial", [one for one in ALL if one.name in SMALL], ids=lambda one: one.name)
def test_a_trial_passes(trial: Trial, tmp_path: Path) -> None:
    figures = trial.run(tmp_path, **SMALL[trial.name])
    assert figures.trouble == []
    assert figures.passes


def test_events_told_by_time_instead_of_sequence_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_time(told: list[Event], items: list[Event]) -> list[Event]:
        return sorted([*told, *items], key=lambda event: event.at)

    monkeypatch.setattr(reads, "_merged", by_time)
    figures = Figures()
    for seed in range(12):
        faults_clock._simulate(seed, figures)
    assert figures.bad.keys() == {"out of order"}


def test_a_timer_that_trusts_the_time_of_day_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drives, "LOOK_SECONDS", 1e9)
    figures = Figures()
    for seed in range(12):
        faults_clock._simulate(seed, figures)
    assert figures.bad.keys() == {"late"}


def test_a_cancel_that_fences_its_own_drive_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    async def is_free(self: drives.Drives, run: str) -> bool:
        return not self.is_driving(run)

    monkeypatch.setattr(drives.Drives, "is_free", is_free)
    figures = Figures()
    assert list(faults_cancel.orders(4, 6, "here", figures))
    assert "owner's wait failed" in figures.bad


def test_a_cancel_that_never_hears_of_the_end_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    async def _take_up(self: Control, run: str, verb: str) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(Control, "_take_up", _take_up)
    monkeypatch.setattr(faults_cancel, "LAST_TURNS", 2_000)
    figures = Figures()
    assert list(faults_cancel.orders(0, 0, "unheard", figures))
    assert "stuck" in figures.bad


def test_a_cycle_that_is_not_noticed_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("windlass.graph.pipeline.check_acyclic", lambda successors, where: None)
    assert faults_graph.wrong(tmp_path, 50).bad["disagrees"]


@pytest.mark.parametrize("trial", ALL, ids=lambda one: one.name)
def test_a_trial_says_what_it_does(trial: Trial) -> None:
    assert trial.says.endswith(".")
    assert trial.faults.startswith("F")
    assert trial.short.keys() == trial.long.keys()
