"""Strategy and durability, a test for each cell: what kill -9 loses, and where a rollback may go (D25)."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import windlass
from tests.durability.table import DURABILITIES, EFFECT, KILLED, LAST, STRATEGIES

ROOT = Path(__file__).parents[2]
SOURCE = Path(windlass.__file__).parents[1]
OUTPUT = {"n": LAST + 1, "marks": list(range(10, LAST + 1, 10))}
MOST_BEHIND = 64


@pytest.fixture(scope="module")
def table() -> dict[str, dict[str, Any]]:
    """The trials of all cells: they fork, so they have a process of their own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(SOURCE), str(ROOT)))}
    command = [sys.executable, "-m", "tests.durability.table", "--json"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.stdout, ended.stderr
    found: dict[str, dict[str, Any]] = json.loads(ended.stdout)
    return found


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("durability", DURABILITIES)
def test_the_cell(table: dict[str, dict[str, Any]], strategy: str, durability: str) -> None:
    cell = table[f"{strategy} {durability}"]
    assert cell["killed"]
    assert cell["ended"]
    assert cell["finished"] == KILLED - 1
    lost = cell["finished"] - cell["durable"]
    if durability == "sync":
        assert lost == 0
    elif durability == "async":
        assert 0 < lost <= MOST_BEHIND
    else:
        assert lost == KILLED - EFFECT  # back to the effect, which is a flush point
    assert cell["again from"] == cell["durable"] + 1
    assert cell["paid"] == 1
    assert cell["output"] == cell["again"] == OUTPUT
    numbers = cell["all"]
    ends = {numbers[0], numbers[-1]}  # the beginning and the head are always there
    named = {"every": numbers, "nodes": cell["marked"], "savepoints": cell["saved"], "end": []}[strategy]
    assert set(cell["reached"]) == ends | set(named)
    assert cell["refused"]
    assert cell["back"]
