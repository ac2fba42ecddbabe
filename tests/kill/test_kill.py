"""Runs are killed with SIGKILL, and go on: nothing lost, nothing repeated, parked exactly what is in doubt, none stuck.

The trials fork, so they run in a process of their own that has neither loop nor connection nor thread.
"""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import windlass
from tests.kill.sabotage import SABOTAGES

PACKAGE = Path(windlass.__file__).parent
ROOT = Path(__file__).parents[2]
SEVERAL = ("before", "inside", "after")  # of each write of a store


def program(name: str, *arguments: str) -> tuple[int, Any]:
    """Run one of this folder's programs; return its exit code and what it found."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(PACKAGE.parent), str(ROOT)))}
    command = [sys.executable, "-m", f"tests.kill.{name}", "--json", *arguments]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.stdout, ended.stderr
    return ended.returncode, json.loads(ended.stdout)


def test_a_run_of_twelve_steps_is_killed_at_each_and_forty_times_at_random() -> None:
    code, figures = program("harness", "--trials", "40")
    print(figures)  # noqa: T201 -- the figures are what this is about: pytest -s shows them
    assert figures["trouble"] == []
    assert [figures[column] for column in ("lost", "repeated", "parked_wrongly", "stuck")] == [0, 0, 0, 0]
    assert figures["trials"] == 2 * 12 + 40
    assert figures["between"] >= 0.4 * figures["trials"]
    assert figures["parked"] > 0
    assert code == 0


@pytest.mark.parametrize("sabotage", SABOTAGES)
def test_the_figures_show_a_product_that_is_broken(sabotage: str) -> None:
    code, figures = program("harness", "--trials", "0", "--most", "5", "--sabotage", sabotage)
    assert figures["trouble"]
    assert code == 1


def test_a_run_is_killed_at_every_label_of_the_product() -> None:
    _, found = program("tour")
    assert found["wrong"] == {}
    assert set(found["labels"]) == labels()


def test_an_owner_that_was_stopped_can_write_nothing_when_it_goes_on() -> None:
    _, found = program("zombie")
    assert found["wrong"] == {}
    assert found["refused"] >= found["trials"] == 10


def test_without_its_fence_a_zombie_would_write() -> None:
    code, found = program("zombie", "--sabotage")
    assert found["wrong"]
    assert code == 1


def test_a_fan_out_of_a_thousand_that_is_killed_half_way_repeats_nothing_acknowledged() -> None:
    code, figures = program("fan_out")
    for one in figures.values():
        assert one["killed"] == one["ended"] == 1
        assert 300 <= one["acknowledged"] <= 700
        assert one["again"] == one["twice"] == one["never"] == 0
    assert code == 0


def test_what_is_gathered_in_one_node_is_never_swapped() -> None:
    code, found = program("gather")
    assert found["wrong"] == []
    assert found["killed"] > found["trials"]
    assert code == 0


def labels() -> set[str]:
    """Read the labels from the source: those given as they are, and those that a store makes for each write."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="crashpoint"), args=[ast.Constant(value=str(label))]):
                    found.add(label)
                case ast.Assign(targets=[ast.Name(id="label")], value=ast.Constant(value=str(label))):
                    found.update(f"{label}.{place}" for place in SEVERAL)
    return found
