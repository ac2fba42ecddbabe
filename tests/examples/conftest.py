"""A source tree to review, and processes that find this checkout's package."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import windlass

EXAMPLES = Path(__file__).parents[2] / "examples"
SOURCE = Path(windlass.__file__).parents[1]
Program = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def _package_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes that a test starts find the package, installed or not."""
    known = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SOURCE), *([known] if known else [])]))
    monkeypatch.delenv("WINDLASS_STORE", raising=False)


@pytest.fixture
def program() -> Program:
    """Run an example as a user does."""

    def run(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, str(EXAMPLES / name), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    return run


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a package of nine files: one imported by most, one knotty, one that cannot be parsed."""
    package = tmp_path / "tree" / "pack"
    (package / "inner").mkdir(parents=True)
    (package / ".hidden").mkdir()
    (package / "env").mkdir()
    (package / "env" / "pyvenv.cfg").touch()
    for skipped in (package / ".hidden" / "no.py", package / "env" / "no.py"):
        skipped.write_text("x = 1\n")
    (package / "__init__.py").write_text("")
    (package / "inner" / "__init__.py").write_text("from ..hub import x\n")
    (package / "hub.py").write_text("x = 1\n")
    for number in range(4):
        (package / f"part{number}.py").write_text(f"from pack.hub import x\nimport os\n\ny = x + {number}\n")
    body = "".join(f"    if a == {n} and b:\n        return {n}\n" for n in range(8))
    (package / "inner" / "knot.py").write_text(f"from pack import hub\n\ndef tie(a, b):\n{body}    return hub.x\n")
    (package / "broken.py").write_text("def (:\n")
    return tmp_path / "tree"
