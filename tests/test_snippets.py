"""Every program that the README and the docs show runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = [
    pytest.param(block, id=f"{page.relative_to(ROOT)}-{place}")
    for page in PAGES
    for place, block in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_block_runs_in_an_empty_folder(program: str, tmp_path: Path) -> None:
    (tmp_path / "block.py").write_text(program, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "block.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr


def test_there_are_programs() -> None:
    assert len(PROGRAMS) >= 10
