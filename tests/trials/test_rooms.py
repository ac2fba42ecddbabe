"""How trials are found, run and told, and what makes one hold."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trials import page
from trials.figures import Figures, Trial
from trials.mutants import DETECTORS, MUTANTS, infect
from trials.rooms import ROOT, NameUnknown, Run, a_trial, every_trial, run_here

WANTED = {
    *range(1, 7), *range(8, 15), 17, 18, *range(26, 29), *range(31, 34), *range(37, 44), *range(47, 51), 53, 54
}  # fmt: skip


def test_a_trial_holds_if_nothing_was_bad_and_all_was_reached() -> None:
    assert Figures(trials=1).passes
    assert Figures(trials=1, bad={"lost": 0}, reached={"killed": 3}).passes
    assert not Figures().passes
    assert not Figures(trials=1, bad={"lost": 1}).passes
    assert not Figures(trials=1, reached={"killed": 0}).passes
    blamed = Figures(trials=300)
    blamed.blame("lost", "there")
    assert not blamed.passes
    assert (blamed.bound, blamed.trouble) == (0.01, ["lost: there"])


def test_what_a_trial_raises_is_trouble() -> None:
    def breaks(folder: Path, **options: Any) -> Figures:
        raise ValueError(folder.is_dir(), options)

    figures = run_here(Trial("broken", "F1", "It breaks.", breaks), {"n": 1})
    assert not figures.passes
    assert figures.trouble == ["broke down: ValueError(True, {'n': 1})"]


def test_every_fault_class_has_a_trial_and_every_trial_a_short_and_a_long_form() -> None:
    faults = [fault for _, trial in every_trial().values() for fault in trial.faults.replace(",", "").split()]
    covered = {int(fault[1:]) for fault in faults if fault.startswith("F")}
    assert covered >= WANTED
    assert all(trial.says and isinstance(trial.long, dict) for _, trial in every_trial().values())
    assert {name for name, _ in DETECTORS} <= set(every_trial())


def test_a_name_that_is_not_there_is_told_with_the_nearest() -> None:
    with pytest.raises(NameUnknown, match="there is no trial 'kill'; there is kills"):
        a_trial("kill")
    with pytest.raises(NameUnknown, match="there is no mutant 'nokey'; there is no-key"):
        infect("nokey")
    for words in (["mutants", "nokey"], ["prove", "kill"], ["one", "kill"]):
        ended = subprocess.run(
            [sys.executable, "-m", "trials", *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 2
        assert "there is no " in ended.stderr
        assert "Traceback" not in ended.stderr


def test_a_mutant_is_noticed_and_the_product_is_not() -> None:
    options = json.dumps({"stores": ["memory"]})
    for mutant, code in (("no-compare-and-set", 1), ("", 0)):
        words = ["one", "conform", "--options", options, *(["--mutant", mutant] if mutant else [])]
        ended = subprocess.run(
            [sys.executable, "-m", "trials", *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert ended.returncode == code, ended.stderr
    assert len(MUTANTS) >= 12


def test_a_run_is_told_in_a_line_and_in_a_row() -> None:
    figures = Figures(trials=2_000, bad={"lost": 0}, reached={"killed": 1_234}, shown={"p99": "1 ms"})
    run = Run("kills", figures, 1.25)
    assert page.line(run) == "kills: yes; 2,000 trials; lost 0; killed 1,234, p99 1 ms; 1.2 s"
    row = page.row(Trial("kills", "F1", "Kill | resume.", lambda _: figures), run)
    said = "| kills | F1 | Kill / resume. | 2,000 | lost 0 | 0.0015 | killed 1,234, p99 1 ms | yes | "
    assert re.fullmatch(re.escape(said) + r"\d{4}-\d\d-\d\d, 1 s \|", row)
    assert page.verdict(Figures(shown={"skipped": "no root"})) == "skipped"
    assert page.verdict(Figures()) == "**no**"
