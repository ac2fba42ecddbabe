"""What policies cost is measured, at tiny sizes; both sides make the same commits, and the table goes to its place."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import policies
from benchmarks.__main__ import main
from benchmarks.policies import ALL, BARE, Sizes, compare

TINY = Sizes(pairs=2, memory=12, file=6, decisions=20)


@pytest.mark.parametrize("work", ["nothing", "tool", "model"])
async def test_on_the_fast_path_policies_make_no_call_of_the_store(work: str) -> None:
    few, many = [await compare(f"memory:{work}{steps}$", (BARE, ALL), work, steps, 1) for steps in (20, 60)]
    for which in ("plain_calls", "guarded_calls"):
        assert getattr(many, which)["commit"] - getattr(few, which)["commit"] == 40 * (1 if work == "nothing" else 2)
    assert max(few.guarded_calls["adjust"], many.guarded_calls["adjust"]) <= 3  # at the start of a run, never again


def test_it_is_measured_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "QUICK", TINY)
    before = policies.PAGE.read_bytes()
    assert main(["policies", "--quick", "--folder", str(tmp_path), "--json", str(tmp_path / "found.json")]) == 0
    found: dict[str, Any] = json.loads((tmp_path / "found.json").read_text())
    assert len(found["steps"]) == 6
    assert found["alone"].keys() == policies.ALONE.keys()
    assert len(found["decisions"]) == 3
    assert policies.PAGE.read_bytes() == before
    page = tmp_path / "page.md"
    page.write_text("no markers")
    assert not policies.write(page, found, {})
    page.write_text(f"before\n{policies.BEGIN}\nold\n{policies.END_MARK}\nafter\n")
    assert policies.write(page, found, {"date": "today"})
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| a step, SQLite | ≤ 1.25 × |" in text


def test_the_projects_page_has_the_markers() -> None:
    text = policies.PAGE.read_text()
    assert text.index(policies.BEGIN) < text.index(policies.END_MARK)
