"""What it costs to read an answer is measured, at a tiny size."""

import json
from pathlib import Path

from benchmarks import output


def test_it_is_measured(tmp_path: Path) -> None:
    assert output.main(["--quick", "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert len(found) == 2 * len(output.SCHEMAS) + 1
