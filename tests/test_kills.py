"""The comparison under SIGKILL runs, without the peers, and its table goes where it belongs."""

import json
from pathlib import Path

import pytest

from benchmarks import kills
from benchmarks.__main__ import main

FOUND = {
    "ours-ask": {
        "trials": 2, "killed": 2, "resume failed": 0, "parked": 1, "missing": 0, "duplicated": 0,
        "duplicated per kill": 0.0,
    }
}  # fmt: skip


def test_nothing_of_ours_is_made_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["kills", "--trials", "2", "--only", "ours-ask", "--only", "ours-retry", "--json", "--folder"]
    assert main([*asked, str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)["systems"]
    assert found.keys() == {"ours-ask", "ours-retry"}
    for one in found.values():
        assert (one["trials"], one["missing"], one["duplicated"], one["resume failed"]) == (2, 0, 0, 0)


def test_the_table_is_written_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "reliability.md"
    assert not kills.write(page, FOUND, {})
    page.write_text(f"before\n{kills.BEGIN}\nold\n{kills.END}\nafter\n")
    for _ in range(2):
        assert kills.write(page, FOUND, {"date": "today"})
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert '| Windlass, `on_doubt="ask"` | 2 | 0 | 1 | 0 | 0 | 0.00 |' in text
